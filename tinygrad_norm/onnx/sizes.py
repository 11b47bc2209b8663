"""Sizes that depend on those of the inputs, found by comparing recordings with different input sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from .onnx_package import OnnxError
from .recorder import Recording, Ref


@dataclass(frozen=True)
class Size:
    """A size that is another one in each recording."""

    values: tuple[int, ...]


AnyShape = tuple[int | Size, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the inputs."""

    ref: Ref
    shape: AnyShape
    dtype: numpy.dtype[Any]


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not; if its shape has Sizes, the array has size 1 there and is repeated."""

    array: Any
    shape: AnyShape
    tensor: Any = None

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """The type of its elements."""
        return self.array.dtype


@dataclass(frozen=True, eq=False)
class Call:
    """A recorded call; its inputs are Values, Constants, numbers, Sizes or None."""

    function: type[Function]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[Value, ...]
    path: str


class Merged:
    """Several recordings of one computation as one: what differs between them is a Size."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings
        names = [[call.function for call in recording.calls] for recording in recordings]
        if any(other != names[0] for other in names):
            raise OnnxError(
                "the model runs other operators for inputs of other sizes or values, and a file holds only "
                "one sequence of them: leave such axes out of dynamic_axes, or export a part without branches"
            )
        self.inputs = [self._value(Ref(-1, i), "") for i in range(len(recordings[0].inputs))]
        self.values = {value.ref: value for value in self.inputs}
        self.calls = [self._call(i) for i in range(len(names[0]))]
        self.outputs = [
            self._merge([recording.outputs[i] for recording in recordings], "the output")
            for i in range(len(recordings[0].outputs))
        ]

    def _call(self, i: int) -> Call:
        calls = [recording.calls[i] for recording in self._recordings]
        first = calls[0]
        where = f"{first.function.__name__} in {first.path or 'the model'}"
        inputs = tuple(
            self._merge(list(found), where) for found in zip(*[c.inputs for c in calls], strict=True)
        )
        options = {name: self._merge([c.options[name] for c in calls], where) for name in first.options}
        outputs = tuple(self._value(Ref(i, k), where) for k in range(len(first.outputs)))
        self.values.update({value.ref: value for value in outputs})
        return Call(first.function, inputs, options, outputs, first.path)

    def _value(self, ref: Ref, where: str) -> Value:
        call, i = ref
        tensors = [r.inputs[i] if call < 0 else r.calls[call].outputs[i] for r in self._recordings]
        return Value(ref, self._shape([t.shape for t in tensors], where), tensors[0].array.dtype)

    def _shape(self, shapes: Sequence[tuple[int, ...]], where: str) -> AnyShape:
        if len({len(shape) for shape in shapes}) > 1:
            raise OnnxError(f"{where}: the number of axes depends on the sizes of the inputs")
        return tuple(same_or_size(sizes) for sizes in zip(*shapes, strict=True))

    def _merge(self, found: list[Any], where: str) -> Any:
        """Return what was found in all recordings, with a Size in place of integers that differ."""
        first = found[0]
        if isinstance(first, Ref) and all(x == first for x in found):
            return self.values[first]
        if isinstance(first, Tensor):
            return self._constant([x.array for x in found], first, where)
        if hasattr(first, "dtype") and hasattr(first, "shape") and not callable(first):
            return self._constant([numpy.asarray(x) for x in found], None, where)
        if type(first) is slice:
            parts = [self._merge([getattr(x, n) for x in found], where) for n in ("start", "stop", "step")]
            return slice(*parts)
        if isinstance(first, tuple | list):
            return self._merge_parts(found, where)
        if isinstance(first, int) and any(x != first for x in found):
            return Size(tuple(found))
        if isinstance(first, float) and any(x != first for x in found):
            raise OnnxError(f"{where}: the number {first} depends on the sizes or values of the inputs")
        return first

    def _merge_parts(self, found: list[Any], where: str) -> Any:
        if len({len(x) for x in found}) > 1:
            raise OnnxError(f"{where}: the number of its parts depends on the sizes of the inputs")
        parts = [self._merge(list(part), where) for part in zip(*found, strict=True)]
        make: Callable[..., Any] = type(found[0])
        return make(*parts) if hasattr(found[0], "_fields") else make(parts)

    def _constant(self, arrays: list[Any], tensor: Tensor | None, where: str) -> Constant:
        first = numpy.asarray(arrays[0])
        shape = self._shape([a.shape for a in arrays], where)
        if all(
            a is arrays[0] or numpy.array_equal(a, first, equal_nan=first.dtype.kind == "f") for a in arrays
        ):
            return Constant(first, shape, tensor)
        row = first[tuple(slice(0, 1) if isinstance(size, Size) else slice(None) for size in shape)]
        if any(
            not numpy.array_equal(a, numpy.broadcast_to(row, a.shape)) for a in map(numpy.asarray, arrays)
        ):
            raise OnnxError(
                f"{where}: a tensor of shape {first.shape} depends on the inputs, but was computed outside "
                "of the recorded operators (NumPy, argmax, .item()): compute it with operators, or pass it "
                "as an input"
            )
        return Constant(row, shape, tensor)


def same_or_size(sizes: Sequence[int]) -> int | Size:
    """Return the size if it is the same in all recordings."""
    return sizes[0] if all(size == sizes[0] for size in sizes) else Size(tuple(sizes))
