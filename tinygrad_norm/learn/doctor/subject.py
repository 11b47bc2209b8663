"""What the doctor examines: a Function, a pair of array functions, a module or a function of tensors.

All become one function of tensors, `apply`. Gradients of the wrong shape are noted, and summed to the right
one if they are only not summed over the broadcast axes, so that the other gradients can still be compared.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from ...autograd.function import Function
from ...autograd.tensor import Tensor
from ...backends import to_numpy
from ...gradient_check.probing import Key
from ...module import Module
from ...ops.broadcast import unbroadcast
from .roles import is_constant, role_of

_PLAIN = {
    "the backward of output 0 failed: ": "",
    "the analytic gradient is": "it is",
    "the analytic gradient of output 0 with respect to": "the gradient of",
    "the gradient of output 0 with respect to": "the gradient of",
    "the numeric one": "the right one",
    ", or pass nondet_tol": "",
}
"""The words of gradcheck, and those of the doctor, who says whose gradient it is."""


@dataclass
class Subject:
    """A function of tensors under examination: its name, its parameters, and what its backward did wrong.

    `through_constants` are running statistics to which backward gave a gradient, `numbers` arguments that
    are numbers to which it did.
    """

    name: str
    apply: Callable[..., Any]
    parameters: tuple[str, ...]
    signature: tuple[inspect.Parameter, ...] = ()
    backward: str = "backward"
    module: Module | None = None
    problems: dict[int, str] = field(default_factory=dict)
    through_constants: set[int] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)

    def __call__(self, *arguments: Any) -> Any:
        """Return what forward returns; nested tuples, such as y, (h, c), as one.

        Raises:
            ValueError: if it raises, at any call: that it ran once with such arguments says nothing.
        """
        try:
            result = self.apply(*arguments)
            return tuple(_flat(result)) if isinstance(result, tuple | list) else result
        except Exception as error:
            raise ValueError(
                f"the forward of {self.name}, called with {self._told(arguments)}, raised "
                f"{type(error).__name__}: {error}"
            ) from error

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Return the parameters of the module, if it is one: these are checked too."""
        return self.module.named_parameters() if self.module is not None else ()

    def label(self, key: Key) -> str:
        """Return the name of an input, or of a module's parameter."""
        if isinstance(key, str):
            return key
        return self.parameters[key] if key < len(self.parameters) else f"input {key}"

    def in_words(self, message: str) -> str:
        """Return a message of gradcheck with the names that the user gave."""
        message = message.replace(f"{self.name}.backward", self.backward)
        return re.sub(
            r"(?<!\w)(?:its )?input (\d+)", lambda found: self.label(int(found[1])), in_plain_words(message)
        )

    def vary_parameters(self) -> None:
        """Move parameters and statistics of the copied module that are all 1 or 0, by random numbers."""
        if self.module is None:
            return
        rng = numpy.random.default_rng(0)
        for name, x in (*self.module.named_parameters(), *self.module.named_buffers()):
            role = role_of(name)
            if role and x.array.dtype.kind == "f" and numpy.ptp(to_numpy(x.array)) == 0:
                x.array = x.array + rng.uniform(0.2, 0.9, x.shape)

    def arguments(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Return inputs as `apply` takes them: float64 tensors; running statistics without a gradient.

        Tensors of which some require grad keep what they require.
        """
        if any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
            return tuple(_tensor(x, isinstance(x, Tensor) and x.requires_grad) for x in inputs)
        checked = [not is_constant(self.label(i)) for i in range(len(inputs))]
        every = self.module is None and not any(checked)
        return tuple(_tensor(x, every or own) for x, own in zip(inputs, checked, strict=True))

    def hiding(self, arguments: Sequence[Any]) -> tuple[str, ...]:
        """Return a warning for every weight that is 1, and for inputs that are constant."""
        names = [
            self.label(i)
            for i, x in enumerate(arguments)
            if role_of(self.label(i)) in ("weight", "length")
            and isinstance(x, Tensor)
            and x.is_floating_point()
            and (to_numpy(x.array) == 1).all()
        ]
        constant = [
            self.label(i)
            for i, x in enumerate(arguments)
            if isinstance(x, Tensor) and x.numel() > 1 and x.requires_grad and self.label(i) not in names
            if numpy.ptp(to_numpy(x.array)) == 0
        ]
        return (
            *(f"{name} is 1 everywhere: it would not show if it were forgotten" for name in names),
            *(
                f"all entries of {name} are the same, which hides mistakes: let them differ"
                for name in constant
            ),
        )

    def forget(self) -> None:
        """Forget what its backward did wrong for other inputs."""
        self.problems.clear()
        self.through_constants.clear()
        self.numbers.clear()

    def output(self, arguments: Sequence[Any]) -> numpy.ndarray:
        """Return y; the first, if there are several.

        Raises:
            ValueError: if it cannot be computed, is not an array of floating-point numbers, or not finite.
        """
        with numpy.errstate(all="ignore"):
            result = self(*arguments)
        y = result[0] if isinstance(result, tuple) else result
        if not isinstance(y, Tensor) or y.array.dtype.kind != "f":
            kind = "an array of integers" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ValueError(f"the forward of {self.name} returned {kind}: return floating-point numbers")
        if not numpy.isfinite(to_numpy(y.array)).all():
            told = self._told(arguments)
            raise ValueError(f"the forward of {self.name} is NaN or infinite, called with {told}")
        return to_numpy(y.array)

    def _told(self, arguments: Sequence[Any]) -> str:
        return ", ".join(
            f"{self.label(i)} {x.shape if isinstance(x, Tensor) else repr(x)}"
            for i, x in enumerate(arguments)
        )


def in_plain_words(message: str) -> str:
    """Return a message of gradcheck as the doctor says it."""
    for words, plain in _PLAIN.items():
        message = message.replace(words, plain)
    return message


def subject_of(function: Any, name: str = "") -> Subject:
    """Return what is examined, given what the user wrote.

    Raises:
        TypeError: if it is none of a Function class, a pair of functions, a module or a function.
    """
    if isinstance(function, type) and issubclass(function, Function):
        return _of_function(function, _parameters(function.forward, skip=1), name or function.__name__)
    if isinstance(function, type) and issubclass(function, Module):
        raise TypeError(f"{function.__name__} is a class: pass a module, such as {function.__name__}(…)")
    if isinstance(function, Module):
        own = copy.deepcopy(function).double()
        signature = _parameters(own.forward)
        return Subject(name or type(own).__name__, own, _names(signature), signature, module=own)
    if isinstance(function, tuple | list) and len(function) == 2 and all(map(callable, function)):
        forward, backward = function
        pair = _as_function(forward, backward)
        pair.__name__ = name or getattr(forward, "__name__", "forward")
        subject = _of_function(pair, _parameters(forward), pair.__name__)
        subject.backward = getattr(backward, "__name__", "backward")
        return subject
    if callable(function):
        signature = _parameters(function)
        name = name or getattr(function, "__name__", "function")
        return Subject(name, function, _names(signature), signature)
    raise TypeError(
        "pass a Function class, a pair of functions (forward, backward), a module or a function of "
        f"tensors, got {function!r}"
    )


def _flat(result: Any) -> Iterator[Any]:
    for y in result:
        if isinstance(y, tuple | list):
            yield from _flat(y)
        else:
            yield y


def _parameters(function: Callable[..., Any], skip: int = 0) -> tuple[inspect.Parameter, ...]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return ()
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return tuple(p for p in parameters if p.kind in kinds)


def _names(signature: tuple[inspect.Parameter, ...]) -> tuple[str, ...]:
    return tuple(p.name for p in signature)


def _tensor(x: Any, differentiable: bool) -> Any:
    if isinstance(x, Tensor):
        x = to_numpy(x.array)
    if not isinstance(x, numpy.ndarray | list):
        return x
    array = numpy.array(x)
    if array.dtype.kind == "f":
        return Tensor(array.astype(numpy.float64), requires_grad=differentiable)
    return Tensor(array)


def _as_function(forward: Callable[..., Any], backward: Callable[..., Any]) -> type[Function]:
    """Return a Function of a pair: backward takes dy, and then what forward kept or its arguments.

    forward returns y, or a tuple of y and what backward needs.
    """

    class Pair(Function):
        """y = forward(*x) · dx = backward(dy, *x)"""

        def forward(self, *arrays: Any) -> Any:
            given = tuple(a.copy() if isinstance(a, numpy.ndarray) else a for a in arrays)
            result = forward(*given)
            y, *kept = result if isinstance(result, tuple) else (result,)
            self.saved = tuple(kept) if kept else given
            return numpy.asarray(y)

        def backward(self, dy: Any) -> Any:
            found = backward(dy, *_fitting(backward, self.saved, forward.__name__))
            if found is None:
                raise TypeError("it returned None: is `return` missing?")
            if isinstance(found, dict):
                raise TypeError(
                    "return the gradients as a tuple in the order of forward's arguments, not a dict"
                )
            if isinstance(found, list) and len(self.inputs) == 1:
                raise TypeError("it returned a list, not an array: return np.array(…) of it")
            parts = tuple(found) if isinstance(found, tuple | list) else (found,)
            if len(parts) > len(self.inputs):
                raise ValueError(
                    f"it returned {len(parts)} gradients for {len(self.inputs)} inputs of forward: return "
                    "one for each, in the same order"
                )
            return (*parts, *[None] * (len(self.inputs) - len(parts)))

    return Pair


def _fitting(backward: Callable[..., Any], kept: tuple[Any, ...], forward: str) -> tuple[Any, ...]:
    """Return the arguments after dy: what is kept, or all of it as one cache."""
    try:
        inspect.signature(backward).bind(None, *kept)
    except TypeError:
        try:
            inspect.signature(backward).bind(None, kept)
        except TypeError as error:
            raise TypeError(
                f"backward takes dy and then what {forward} returned after y, or {forward}'s arguments: it "
                f"was given dy and {len(kept)} more ({error})"
            ) from None
        return (kept,)
    except ValueError:  # no signature
        pass
    return kept


def _of_function(cls: type[Function], signature: tuple[inspect.Parameter, ...], name: str) -> Subject:
    subject = Subject(name, cls.apply, _names(signature), signature)

    def backward(self: Function, *dys: Any) -> Any:
        found = cls.backward(self, *dys)
        parts = found if isinstance(found, tuple) else (found,)
        if len(parts) != len(self.inputs) or found is None:
            return found  # the sweep says what is wrong
        return tuple(
            _reduced(subject, i, x, dx) if needed else _unneeded(subject, i, x, dx)
            for i, (x, dx, needed) in enumerate(zip(self.inputs, parts, self.needs, strict=True))
        )

    watched: type[Function] = type(cls.__name__, (cls,), {"backward": backward, "__doc__": cls.__doc__})
    subject.apply = watched.apply
    return subject


def _unneeded(subject: Subject, i: int, x: Any, dx: Any) -> Any:
    """Note a gradient of running statistics, or of a number."""
    if isinstance(x, int | float) and dx is not None:
        subject.numbers.add(i)
        return None
    if isinstance(dx, numpy.ndarray) and dx.dtype.kind == "f" and dx.any() and is_constant(subject.label(i)):
        subject.through_constants.add(i)
    return dx


def _reduced(subject: Subject, i: int, x: Any, dx: Any) -> Any:
    """Return a gradient in its input's shape if it is only not reduced; note what was wrong."""
    if isinstance(dx, int | float) and x.shape == ():
        return numpy.asarray(float(dx))
    if not isinstance(dx, numpy.ndarray) or dx.shape == x.shape:
        return dx
    if dx.ndim > 1 and dx.shape == x.shape[::-1]:
        subject.problems[i] = f"its shape is {dx.shape}, that of the input {x.shape}: transpose it"
        return dx.T
    try:
        reduced = unbroadcast(dx, x.shape)
    except (ValueError, IndexError):
        return dx
    if reduced.shape != x.shape:
        return dx
    axes = [k for k in range(dx.ndim) if k < dx.ndim - x.ndim or x.shape[k - dx.ndim + x.ndim] != dx.shape[k]]
    if dx.size == x.numel():
        subject.problems[i] = f"its shape is {dx.shape}, that of the input {x.shape}: reshape it"
    else:
        subject.problems[i] = (
            f"it is not summed over the axes along which the input is broadcast: its shape is {dx.shape}, "
            f"that of the input {x.shape}; sum it over axis {', '.join(map(str, axes))}"
        )
    return reduced
