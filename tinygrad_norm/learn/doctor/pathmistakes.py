"""Mistakes in the paths of any registered op: the paths that `explain` shows, dropped, or with wrong factors.

The composed form of the op is traced, and every dy is swept back along one path at a time (`pathways.py`). So
no formula is written here; the names and formulas are those of the op's own derivation. A weight that is
forgotten is one that is 1: the op is traced again with it.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import to_numpy
from ...registry import Op
from ..formulas import argument_names
from ..pathways import gradients_of_paths
from ..steps import names_of
from ..tracing import traced
from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times
from .poolfit import views
from .roles import role_of

EPSILONS = (1e-5, 1e-6, 1e-8, 1e-12, 1e-3)
Contribution = tuple[str, str, list[numpy.ndarray]]
Paths = Callable[[numpy.ndarray], list[Contribution]]
"""The contribution of every path to the gradient of every input, for a dy."""


def fit_paths(op: Op, names: Sequence[str], inputs: Sequence[Any], y: numpy.ndarray) -> Iterator[Derivation]:
    """Yield the derivation of a registered op, with the options of the first of its cases that gives `y`.

    `inputs` are in the order of the op's own, and `names` the user's names for them.
    """
    if op.composed is None:
        return
    arguments = (op.inputs or argument_names(op.function, len(inputs)))[: len(inputs)]
    for options in _options(op, inputs):
        try:
            output, paths = _traced(op, arguments, inputs, options)
        except Exception:
            continue
        if not fits_output(output, y):
            continue
        contributions = paths(numpy.random.default_rng(0).normal(size=y.shape))
        if not contributions:
            return
        steps: Steps = {"paths": _by_label(paths)}
        for k, argument in enumerate(arguments):
            if role_of(argument) in ("weight", "length") and _floats(inputs[k]):
                for power in (0, 2):
                    changed = _traced(op, arguments, _with_power(inputs, k, power), options)[1]
                    steps[f"paths, {names[k]}^{power}"] = _by_label(changed)
        given = {name: to_numpy(x.array) for name, x in zip(names, inputs, strict=False) if _floats(x)}
        yield _derivation(op, contributions, steps, given, y.size)
        return


def _options(op: Op, inputs: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the options of the op's cases, for an input of this shape, and with usual values of eps."""
    known = inspect.signature(op.function).parameters
    for options in ({}, *(case.options for case in op.cases)):
        if "normalized_shape" in known:
            shape = options.get("normalized_shape", (1,))
            count = 1 if isinstance(shape, int) else len(shape)
            options = options | {"normalized_shape": inputs[0].shape[-count:]}
        yield options
        for eps in EPSILONS if "eps" in known else ():
            yield options | {"eps": eps}


def _traced(
    op: Op, arguments: Sequence[str], inputs: Sequence[Any], options: dict[str, Any]
) -> tuple[numpy.ndarray, Paths]:
    """Return the first output of the op, and its paths to the inputs that are floating-point tensors."""
    leaves = [Tensor(x.array.copy(), requires_grad=True) if _floats(x) else x for x in inputs]
    with traced() as trace:
        for argument, leaf in zip(arguments, leaves, strict=False):
            trace.name(leaf, argument)
        result = op.call(leaves, options, op.composed)
    first = result[0] if isinstance(result, tuple) else result
    xs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    known = names_of(op, trace, trace.calls, [first])

    def paths(dy: numpy.ndarray) -> list[Contribution]:
        found = gradients_of_paths(op, trace, xs, [first], [dy], known)
        return [
            (name, formula, [_array(dx, x) for dx, x in zip(dxs, xs, strict=True)])
            for name, formula, dxs in found
        ]

    return to_numpy(first.array), paths


def _with_power(inputs: Sequence[Any], k: int, power: int) -> list[Any]:
    """Return inputs, with a power of the one at `k`."""
    return [Tensor(x.array**power) if i == k else x for i, x in enumerate(inputs)]


def _by_label(paths: Paths) -> Step:
    """Return the contributions by the path's label; swept back once for each dy, not for each mistake."""
    known: dict[bytes, dict[str, list[numpy.ndarray]]] = {}

    def contributions(s: Any) -> dict[str, list[numpy.ndarray]]:
        key = s.dy.tobytes()
        if key not in known:
            known[key] = {label: dxs for label, _, dxs in paths(s.dy)}
        return known[key]

    return contributions


def _floats(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _array(dx: Any, x: Tensor) -> numpy.ndarray:
    return numpy.zeros(x.shape) if dx is None else to_numpy(dx)


def _derivation(
    op: Op,
    contributions: Sequence[Contribution],
    steps: Steps,
    given: dict[str, numpy.ndarray],
    size: int,
) -> Derivation:
    mistakes: list[Mistake] = []
    explain = f"see `tinygrad-norm explain {op.name}`"
    again = [step for step in steps if step.startswith("paths, ")]
    every = [label for label, _, _ in contributions]
    for i, (argument, x) in enumerate(given.items()):
        for label in every:
            steps[f"{argument}, {label}"] = _sum_of("paths", [label], i)
        whole = f"d{argument}"
        steps[whole] = _total([f"{argument}, {label}" for label in every])
        leading = [(label, formula) for label, formula, dxs in contributions if dxs[i].any()]
        for label, formula in leading if len(leading) > 1 else ():
            key, line = f"{argument}, {label}", (label, formula or explain)
            where = "the straight path" if label == "straight" else f"the path {label}"
            mistakes += _of_step(where, key, steps, line, x.shape, size)
            mistakes += _of_weights(where, key, line, again, _sums_of([label], i))
            mistakes += _at_the_end(where, key, line, again, steps[key], given, x.shape)
        line = whole, "the sum of the paths"
        mistakes += _of_step("", whole, steps, line, x.shape, size)
        mistakes += _of_weights("", whole, line, again, _sums_of(every, i))
        mistakes += _at_the_end("", whole, line, again, steps[whole], given, x.shape)
    gradients = {argument: f"d{argument}" for argument in given}
    return Derivation(op.name, {}, steps, gradients, tuple(mistakes))


def _of_step(
    where: str, key: str, steps: Steps, line: tuple[str, str], shape: tuple[int, ...], size: int
) -> Iterator[Mistake]:
    """Yield wrong factors of one path, or of a whole gradient if `where` is ""."""
    label, right = line

    def mistake(name: str, wrong: str, factor: float) -> Mistake:
        return Mistake(name, label, wrong, right, {key: times(steps[key], factor)})

    of, it = (f" of {where}", where) if where else ("", "it")
    if where:
        yield mistake(f"{where} is dropped", "0", 0.0)
    yield mistake(f"the sign{of} is wrong", "its negative", -1.0)
    yield mistake(f"{it} counts twice", "2 times", 2.0)
    yield mistake(f"{it} counts half", "half of", 0.5)
    counts = [math.prod(shape[k:]) for k in range(len(shape))] + [size // max(math.prod(shape), 1)]
    for n in sorted({n for n in counts if n > 2}):
        sum_for_mean = f"{it} is {n} times too large: does a sum of {n} stand where their mean belongs?"
        yield mistake(sum_for_mean, f"{n} times", float(n))
        mean_for_sum = f"{it} is {n} times too small: does a mean of {n} stand where their sum belongs?"
        yield mistake(mean_for_sum, f"1/{n} of", 1 / n)


def _of_weights(
    where: str, key: str, line: tuple[str, str], again: Sequence[str], sums_of: Callable[[str], Step]
) -> Iterator[Mistake]:
    """Yield a weight that is forgotten, or applied twice, in one path or in all."""
    label, right = line
    for step in again:
        weight, power = step.removeprefix("paths, ").split("^")
        what = "is forgotten" if power == "0" else "is applied twice"
        wrong = f"with {weight} = 1" if power == "0" else f"with {weight}²"
        name = f"{weight} {what} in {where}" if where else f"{weight} {what}"
        yield Mistake(name, label, wrong, right, {key: sums_of(step)})


def _at_the_end(
    where: str,
    key: str,
    line: tuple[str, str],
    again: Sequence[str],
    step: Step,
    given: dict[str, numpy.ndarray],
    shape: tuple[int, ...],
) -> Iterator[Mistake]:
    """Yield a weight that is a factor, or a divisor, of what a path brings back, or of the whole gradient."""
    label, right = line
    place = f" in {where}" if where else ""
    for weight in dict.fromkeys(name.removeprefix("paths, ").split("^")[0] for name in again):
        for view in views(given[weight], shape):
            w = given[weight].reshape(view)
            name = f"{weight} is applied once more at the end{place}"
            yield Mistake(name, label, f"{weight} times", right, {key: times(step, _constant(w))})
            name = f"{weight} is forgotten{place}, or divided by at the end"
            yield Mistake(name, label, f"1/{weight} of", right, {key: times(step, _constant(1 / w))})


def _sums_of(labels: Sequence[str], i: int) -> Callable[[str], Step]:
    return lambda step: _sum_of(step, labels, i)


def _sum_of(step: str, labels: Sequence[str], i: int) -> Step:
    """Return the sum of the contributions of some paths to the gradient of input `i`."""

    def total(s: Any) -> Any:
        found = getattr(s, step)
        return sum((found[label][i] for label in labels if label in found), 0.0)

    return total


def _total(keys: Sequence[str]) -> Step:
    return lambda s: sum(getattr(s, key) for key in keys)


def _constant(x: numpy.ndarray) -> Step:
    return lambda s: x
