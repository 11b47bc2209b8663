"""Record one call of a model: every Function that the inputs flow through, with the layer that called it.

A Function without a converter is replaced by its composed form while recording, so only convertible calls are
left. What does not depend on the inputs is a constant: a parametrized weight is recorded as its value.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..autograd.function import Function
from ..autograd.grad_mode import enable_grad
from ..autograd.memory import tick
from ..autograd.tensor import Tensor
from ..module import Module
from ..nn.utils.parametrize import ParametrizationList
from ..ops import comparison
from ..ops.operands import promote
from .onnx_package import OnnxError


class Ref(NamedTuple):
    """Which tensor: the number of the call and of its output; call −1 gives the inputs of the model."""

    call: int
    output: int


Rewrite = Callable[[type[Function], tuple[Any, ...], dict[str, Any], str], Callable[..., Any] | None]
"""Returns the composed form to run in place of a Function at a layer, or None if it is recorded as it is."""

_recording = threading.Lock()  # `Function.apply` is one for all threads


class Comparison(Function):
    """y = a < b, or another relation · da = db = 0; recorded, but never a node of the tape"""


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """One call: inputs that are Refs depend on the inputs of the model, all others are constants."""

    function: type[Function]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[Tensor, ...]
    path: str


@dataclass
class Recording:
    """The calls of one run in order, and the outputs of the model: Refs, or tensors that are constant."""

    inputs: Sequence[Tensor]
    calls: list[RecordedCall] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)  # the layers that are running, outermost first
    refs: dict[int, Ref] = field(default_factory=dict)  # by id of tensor and of array
    weights: dict[int, str] = field(default_factory=dict)  # names of parametrized weights, by id of the array
    kept: list[Any] = field(default_factory=list)  # so that no id is used again

    def know(self, tensor: Tensor, ref: Ref) -> None:
        """Remember that `tensor`, and all others of its array, are `ref`."""
        self.kept += [tensor, tensor.array]
        self.refs[id(tensor)] = self.refs[id(tensor.array)] = ref

    def ref(self, x: Any) -> Any:
        """Return the Ref of a tensor or array that depends on the inputs; all else as it is."""
        found = self.refs.get(id(x))
        if found is None and isinstance(x, Tensor):
            found = self.refs.get(id(x.array))
        if found is None and isinstance(x, Tensor | tuple | list):
            self.kept.append(x)
            if not isinstance(x, Tensor) and any(id(part) in self.refs for part in x):
                return tuple(self.ref(part) for part in x)
        return x if found is None else found

    def add(self, function: type[Function], inputs: Any, options: Any, result: Any) -> Any:
        """Record a call unless it is constant; return its result."""
        refs = tuple(self.ref(x) for x in inputs)
        named = {name: self.ref(value) for name, value in options.items()}
        if any(_has_ref(new, old) for new, old in zip(refs, inputs, strict=True)) or any(
            _has_ref(named[name], options[name]) for name in options
        ):
            outputs = result if isinstance(result, tuple) else (result,)
            path = self.layers[-1] if self.layers else ""
            self.calls.append(RecordedCall(function, refs, named, tuple(outputs), path))
            for i, y in enumerate(outputs):
                self.know(y, Ref(len(self.calls) - 1, i))
        return result


def _has_ref(new: Any, old: Any) -> bool:
    return new is not old


def record(model: Module, args: Sequence[Tensor], rewrite: Rewrite) -> Recording:
    """Run `model(*args)` in evaluation mode and return what it did.

    Modes and hooks of the model are afterwards what they were. The first input requires gradients,
    because then x += y makes a new tensor; others may be targets, which must not.

    Raises:
        OnnxError: if a tensor is changed in place.
    """
    floats = [i for i, x in enumerate(args) if x.is_floating_point()]
    inputs = [x.detach().requires_grad_(i in floats[:1]) for i, x in enumerate(args)]
    recording, start = Recording(inputs), tick()
    for i, x in enumerate(inputs):
        recording.know(x, Ref(-1, i))
    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        for module, mode in modes.items():
            stack.callback(object.__setattr__, module, "training", mode)
        stack.enter_context(enable_grad())
        model.eval()
        for name, module in model.named_modules():
            enter = module.register_forward_pre_hook(_entering(recording, name), prepend=True)
            leave = module.register_forward_hook(_leaving(recording, name))
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        stack.enter_context(_observed(recording, rewrite))
        result = model(*inputs)
    _check_unchanged(recording, start)
    recording.outputs = [recording.ref(y) for y in _tensors(result)]
    return recording


def _check_unchanged(recording: Recording, start: int) -> None:
    for call in recording.calls:
        for y in call.outputs:
            if y.memory is not None and y.memory.written > start:
                name = call.function.__name__.removesuffix("Function")
                raise OnnxError(
                    f"the result of {name} in {call.path or 'the model'} is changed in place, but a file has "
                    "no such changes: make a new tensor, x = x + y or where(…)"
                )


def _entering(recording: Recording, name: str) -> Callable[..., None]:
    def hook(module: Module, args: Any) -> None:
        recording.layers.append(name)

    return hook


def _leaving(recording: Recording, name: str) -> Callable[..., None]:
    def hook(module: Module, args: Any, output: Any) -> None:
        recording.layers.pop()
        if isinstance(module, ParametrizationList):
            recording.kept.append(output.array)
            recording.weights[id(output.array)] = name.replace("parametrizations.", "")

    return hook


def _tensors(result: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested tuples, lists and dicts in order; None is left out."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for part in result:
            yield from _tensors(part)
    elif isinstance(result, dict):
        yield from _tensors(list(result.values()))
    elif result is not None:
        raise TypeError(f"a model to export returns tensors, got {type(result).__name__}")


@contextmanager
def _observed(recording: Recording, rewrite: Rewrite) -> Iterator[None]:
    """Record the calls that this thread makes; those of other threads run as ever."""
    owner = threading.get_ident()
    apply, compare = Function.__dict__["apply"], comparison._compare

    def recorded(function: type[Function], *inputs: Any, **options: Any) -> Any:
        if threading.get_ident() == owner and any(recording.ref(x) is not x for x in inputs):
            path = recording.layers[-1] if recording.layers else ""
            composed = rewrite(function, inputs, options, path)
            if composed is not None:
                return composed(*inputs, **options)
        result = apply.__func__(function, *inputs, **options)
        if threading.get_ident() == owner:
            recording.add(function, inputs, options, result)
        return result

    def compared(relation: Any, input: Any, other: Any) -> Tensor:
        result = compare(relation, input, other)
        if threading.get_ident() == owner:
            recording.add(Comparison, promote(input, other), {"relation": relation.__name__}, result)
        return result

    with _recording:
        Function.apply = classmethod(recorded)  # type: ignore[method-assign, assignment]
        comparison._compare = compared
        try:
            yield
        finally:
            Function.apply = apply  # type: ignore[method-assign]
            comparison._compare = compare
