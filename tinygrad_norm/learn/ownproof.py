"""Prove a function of one's own: a pair of NumPy functions, a Function, a module, a function of tensors.

What is accepted, and how inputs are found, is as for the doctor (`learn/doctor`). The reference is the
composed twin if there is one, else the forward itself: on dual numbers it gives its own derivative.
"""

import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy

from ..autograd.differentiation import grad
from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..backends import to_numpy, use_backend
from ..gradient_check.registered import cotangent
from ..nn.utils.parameter_swap import functional_call
from ..proof.guarded import guarded
from ..proof.identity import Comparison
from ..proof.proving import NOT_TESTED, PROVED, REFUTED, Proof, Skipped, prove_op
from ..proof.residues import real
from ..registry import Case, Input, Op, fixed
from .doctor.diagnosis import chosen_derivation, chosen_inputs, given_arguments
from .doctor.owninputs import more_inputs
from .doctor.roles import roles_of
from .doctor.subject import Subject, subject_of
from .doctor.targets import find
from .doctor.unchecked import constants, require_checkable, require_inputs
from .loading import load_all

OWN = "own"
"""The kind of a function that is not registered."""

Arguments = tuple[Any, ...]


def prove_own(function: Any, inputs: Any = None, name: str = "", points: int = 2, seed: int = 0) -> Proof:
    """Prove that a backward of one's own is the derivative of its forward, or of the composed twin.

    Args:
        function: as for `tn.learn.diagnose`: a Function class; a pair (forward, backward) of functions of
            NumPy arrays; a module; or a function of tensors. The twin of NAME is its attribute `composed`,
            or the function NAME_composed of the same file: of tensors, with the arguments of forward.
        inputs: the arguments of forward: arrays, numbers, None; chosen by the arguments' names if not given.
        name: its name in the proof.
        points: how many random points each case is compared at.
        seed: of the points.

    Raises:
        TypeError: if the function is none of these, or `inputs` are not arguments.
        ValueError: if forward raises, gives another result when it is called again, or has no result to
            differentiate; or if no inputs are given and none were found that it takes.
    """
    subject = subject_of(function, name)
    _guard(subject)
    twin = _twin_of(function)
    prove = partial(_prove, subject, twin, points, seed)
    if inputs is not None:
        arguments = given_arguments(subject, inputs)
        require_inputs(subject, arguments)
        require_checkable(subject, arguments, subject.output(arguments).size)
        return prove([arguments])
    unproved: list[Proof] = []
    for trial in chosen_inputs(subject):
        arguments = subject.arguments(trial.inputs)
        proof = prove([arguments, *_others(subject, trial, arguments)])
        if proof.verdict == PROVED:
            return proof
        unproved.append(proof)
        if not trial.equal and "weight" in roles_of(subject.parameters):
            break  # by its name a weight is broadcast, so equal shapes would prove nothing
    return unproved[0]


def _others(subject: Subject, trial: Any, arguments: Arguments) -> Iterator[Arguments]:
    """Yield inputs of other sizes, and with the other value of a flag such as `training`."""
    ways = more_inputs(subject, trial, arguments)
    for others in islice(ways, 1) if subject.module is not None else ways:
        yield from others[:1]


def _guard(subject: Subject) -> None:
    """Let the Function of a subject, if it is one, tell what exact numbers cannot do."""
    own: Any = _function_of(subject)
    if own is None:
        return

    def forward(self: Any, *arrays: Any, **options: Any) -> Any:
        run = partial(own.forward, self)
        return guarded(run, *arrays, **options) if _are_exact(arrays) else run(*arrays, **options)

    def backward(self: Any, *dys: Any) -> Any:
        run = partial(own.backward, self)
        return guarded(run, *dys) if _are_exact(dys) else run(*dys)

    body = {"forward": forward, "backward": backward, "__doc__": own.__doc__}
    guarded_function: Any = type(own.__name__, (own,), body)
    subject.apply = guarded_function.apply


def _function_of(subject: Subject) -> type[Function] | None:
    """Return the Function that a subject applies; None for a module or a function of tensors."""
    own = getattr(subject.apply, "__self__", None)
    return own if isinstance(own, type) and issubclass(own, Function) else None


def _are_exact(arrays: Any) -> bool:
    return any(isinstance(x, numpy.ndarray) and x.dtype == object for x in arrays)


def _twin_of(function: Any) -> Callable[..., Any] | None:
    """Return the composed form: the attribute `composed` of a Function, or NAME_composed of its file.

    For a class, NAME is also its name as a function is called: center_norm for CenterNormFunction.
    """
    if isinstance(function, tuple | list) or not hasattr(function, "__name__"):
        return None
    own = getattr(function, "composed", None)
    if own is not None:
        return own
    name = function.__name__
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.removesuffix("Function"))
    module = sys.modules.get(function.__module__)
    found = (getattr(module, f"{known}_composed", None) for known in (name, words.lower()))
    return next((twin for twin in found if callable(twin)), None)


def _prove(
    subject: Subject, twin: Callable[..., Any] | None, points: int, seed: int, ways: list[Arguments]
) -> Proof:
    """Return the proof on these inputs, one case for each; refuted if the backward fails on one of them."""
    started = time.perf_counter()
    if twin is None:
        ways = [_with_constants(subject, arguments) for arguments in ways]
    cases = [_case(subject, arguments) for arguments in ways]
    for arguments, case in zip(ways, cases, strict=True):
        problem = _problem(subject, twin, arguments)
        if problem:
            skipped = Skipped(str(case), problem)
            elapsed = time.perf_counter() - started
            return Proof(subject.name, OWN, REFUTED, 0, points, None, None, (skipped,), elapsed)
    op = Op(
        subject.name,
        partial(_call, subject, subject),
        twin and partial(_call, subject, twin),
        tuple(cases),
        inputs=_names(subject, ways[0]),
        kind=OWN,
    )
    reasons = {str(case): _stray(op, case, seed) for case in cases}
    strays = tuple(Skipped(case, reason) for case, reason in reasons.items() if reason)
    if strays:
        elapsed = time.perf_counter() - started
        return Proof(subject.name, OWN, NOT_TESTED, 0, points, None, None, strays, elapsed)
    proof = prove_op(op, points, seed)
    arrays = [(i, x) for i, x in enumerate(ways[0]) if isinstance(x, Tensor) and x.is_floating_point()]
    held = [subject.label(i) for i, x in arrays if not x.requires_grad]
    return replace(proof, seconds=time.perf_counter() - started, constants=tuple(held))


def _with_constants(subject: Subject, arguments: Arguments) -> Arguments:
    """Return arguments in which the constants of the derivation that forward follows have no gradient.

    Such as the vectors of a spectral norm, unless backward has a gradient for one.
    """
    checked = [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    derivation, _ = chosen_derivation(subject, arguments, subject.output(arguments), None)
    held = constants(subject, derivation, checked)
    if not held:
        return arguments
    ys = _outputs(subject(*arguments))
    try:
        dys = [Tensor(cotangent(y.shape, k)) for k, y in enumerate(ys)]
        dxs = grad(ys, [arguments[i] for i in sorted(held)], dys, allow_unused=True)
    except Exception:
        return arguments  # `_problem` says what is wrong
    held = {i for i, dx in zip(sorted(held), dxs, strict=True) if dx is None or not to_numpy(dx.array).any()}
    return tuple(Tensor(x.array) if i in held else x for i, x in enumerate(arguments))


def _stray(op: Op, case: Case, seed: int) -> str:
    """Return which body does something else on exact numbers than on floats, or "": their values then differ.

    It may have caught the exception of a step that they cannot take.
    """
    try:
        exact = Comparison(op, case, random.Random(seed))
    except Exception:
        return ""  # `prove_op` says why
    outputs, inputs = exact.closed.outputs, exact.closed.inputs
    pairs = [("forward", y.array, own) for y, own in zip(outputs, exact.found.outputs, strict=True)]
    xs: Any = [inputs[i] for i in exact.gradients]
    dxs = grad(outputs, xs, [Tensor(_values(dy)) for dy in exact.dys], allow_unused=True)
    pairs += [
        ("backward", dx.array, own)
        for dx, own in zip(dxs, exact.gradients.values(), strict=True)
        if dx is not None
    ]
    for body, ordinary, own in pairs:
        ordinary, values = to_numpy(ordinary), _values(own)
        scale = max(float(abs(ordinary).max(initial=0.0)), 1e-3)
        same = ordinary.shape == values.shape
        if not same or not numpy.allclose(ordinary, values, rtol=0, atol=1e-6 * scale, equal_nan=True):
            return (
                f"the {body} gives other values on exact numbers than on floats: does it catch exceptions, "
                "or ask for the type of its numbers?"
            )
    return ""


def _values(numbers: Any) -> numpy.ndarray:
    """Return the real values of an array of exact numbers."""
    return numpy.array([real(x) for x in numpy.ravel(numbers)], float).reshape(numpy.shape(numbers))


def _call(subject: Subject, form: Callable[..., Any], **given: Any) -> Any:
    """Return form(*arguments), given by name; a module gets its parameters too."""
    parameters = {name: given.pop(name) for name, _ in subject.named_parameters()}
    if subject.module is not None:
        return functional_call(subject.module, parameters, tuple(given.values()))
    return form(*[given[name] for name in sorted(given, key=_place(subject))])


def _place(subject: Subject) -> Callable[[str], int]:
    """Return the function that gives the place of an argument, by its name."""
    places = {name: i for i, name in enumerate(subject.parameters)}
    return lambda name: places[name] if name in places else int(name.rpartition(" ")[2])


def _names(subject: Subject, arguments: Arguments) -> tuple[str, ...]:
    """Return the names of the arguments that are arrays or None, and of a module's parameters."""
    names = [subject.label(i) for i, x in enumerate(arguments) if _is_input(x)]
    return (*names, *(name for name, _ in subject.named_parameters()))


def _case(subject: Subject, arguments: Arguments) -> Case:
    """Return arguments as a case: arrays as inputs, numbers as options."""
    arrays = [x for x in arguments if _is_input(x)]
    arrays += [p for _, p in subject.named_parameters()]
    return Case(
        tuple(map(_input, arrays)),
        {subject.label(i): x for i, x in enumerate(arguments) if not _is_input(x)},
    )


def _is_input(x: Any) -> bool:
    return x is None or isinstance(x, Tensor)


def _input(x: Any) -> Input | None:
    return None if x is None else fixed(to_numpy(x.array), differentiable=x.requires_grad)


def _problem(subject: Subject, twin: Callable[..., Any] | None, arguments: Arguments) -> str:
    """Run forward and backward on ordinary numbers; return what is wrong with the backward, or "".

    Raises:
        ValueError: if there is nothing to prove: forward raises or is not a function of its arguments.
    """
    subject.forget()
    ys, again = _outputs(subject(*arguments)), _outputs(subject(*arguments))
    if not _same([y.array for y in ys], [y.array for y in again]):
        raise ValueError(
            f"the forward of {subject.name} gives other numbers when it is called again: it must not draw "
            "random numbers, nor change what it reads. Draw them before, and pass them as an input"
        )
    if not ys:
        raise ValueError(f"the result of {subject.name} has no gradient: nothing in it depends on the inputs")
    alone = twin is None and subject.module is None and _function_of(subject) is None
    if alone and all(map(_is_ours, _nodes(ys))):
        raise ValueError(
            f"{subject.name} has no backward of its own, only those of this package's ops, which "
            f"`tinygrad-norm prove` proves. For NumPy arrays, write {subject.name}_backward(dy, …) beside it"
        )
    if twin is not None and (problem := _twin_problem(subject, twin, arguments, ys)):
        return problem
    xs = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    xs += [p for _, p in subject.named_parameters() if p.requires_grad]
    dys = [Tensor(cotangent(y.shape, k)) for k, y in enumerate(ys)]
    try:
        first, second = (grad(found, xs, dys, allow_unused=True) for found in (ys, again))
    except Exception as error:
        return f"{subject.in_words(str(error)) or type(error).__name__}{_line(error)}"
    if not _same(*([dx if dx is None else dx.array for dx in dxs] for dxs in (first, second))):
        raise ValueError(
            f"the backward of {subject.name} gives other numbers when it is called again: it must not draw "
            "random numbers, nor change what it reads"
        )
    problems = [f"d{subject.label(i)}: {problem}" for i, problem in sorted(subject.problems.items())]
    problems += [
        f"d{subject.label(i)}: {subject.label(i)} is a running statistic, a constant: return None"
        for i in sorted(subject.through_constants)
    ]
    return "; ".join(problems)


def _twin_problem(subject: Subject, twin: Callable[..., Any], arguments: Arguments, ys: list[Tensor]) -> str:
    """Return in which way a composed twin does not fit, or ""."""
    try:
        shapes = [y.shape for y in _outputs(twin(*arguments))]
    except Exception as error:
        name = getattr(twin, "__name__", "composed")
        raise ValueError(
            f"{name}, the composed form of {subject.name}, raised {type(error).__name__}: {error}"
            f"{_line(error)}. It takes tensors, in the order of forward's arguments"
        ) from error
    own = [y.shape for y in ys]
    return "" if shapes == own else f"forward returns {_shapes(own)}, its composed form {_shapes(shapes)}"


def _shapes(shapes: list[Any]) -> str:
    return " and ".join(map(str, shapes)) or "nothing with a gradient"


def _outputs(result: Any) -> list[Tensor]:
    """Return the results that have a gradient."""
    parts = result if isinstance(result, tuple | list) else (result,)
    return [y for y in parts if isinstance(y, Tensor) and y.requires_grad]


def _nodes(ys: list[Tensor]) -> Iterator[Any]:
    """Yield the nodes of the graph behind results."""
    waiting, found = [y.creator for y in ys], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function) and id(node) not in found:
            found.add(id(node))
            yield node
            waiting += [x.creator for x in node.inputs if isinstance(x, Tensor)]


def _is_ours(node: Any) -> bool:
    return type(node).__module__.partition(".")[0] == __name__.partition(".")[0]


def _same(first: list[Any], second: list[Any]) -> bool:
    return all(
        a is b if a is None or b is None else numpy.array_equal(to_numpy(a), to_numpy(b), equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )


def _line(error: BaseException) -> str:
    """Return the line of a user's file that raised an error, " (mine.py:12)", or ""."""
    package = Path(__file__).parent.parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if package not in Path(frame.filename).parents]
    own = [frame for frame in own if "site-packages" not in frame.filename and frame.filename[:1] != "<"]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def proof_on(target: str, points: int, seed: int, loaded: Iterable[str] = ()) -> Proof | str:
    """Return the proof of FILE.py:NAME, or what kept it from being tried, whatever the file does.

    `loaded` are files whose ops are registered first.
    """
    try:
        load_all(loaded)
        use_backend("numpy")
        return prove_own(*find(target), target.rpartition(":")[2], points, seed)
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        return f"{target}: {error or type(error).__name__}"
    except SystemExit:
        return f"{target} ends the program: leave out exit()"
    except BaseException as error:  # in a process of its own Ctrl-C raises nothing: the file did
        return f"{target} cannot be proved: it raised {type(error).__name__}: {error}"
