"""Class indices as targets: check them, and find their entries in the array of scores per class."""

from typing import NamedTuple

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, backend_of, namespace
from ...backends.cpu.half import upcast
from ...backends.cpu.sums import largest, row_starts
from ...backends.cuda.deferred import check_later
from ...ops.checks import check_input
from ..activation.softmax_axis import lay_out


class TargetEntries(NamedTuple):
    """The targets' entries in x (N, C) or (N, C, S), and their weights.

    index    (N,) or (N, S), positions in the flattened x
    scale    the weight of the target's class, 0 if the target is ignored; None if all are 1
    divisor  of the mean: the sum of scale, or 1 if that is 0
    valid    1, or 0 if the target is ignored; None if no target is
    """

    index: Array  # type: ignore[assignment]  # not the method of a tuple
    scale: Array | None
    divisor: Array | int
    valid: Array | None

    def weigh(self, losses: Array) -> Array:
        """Return the losses (or their gradients) times scale; 0 where scale is 0, even for infinity."""
        if self.scale is None:
            return losses
        return namespace(losses).where(self.scale == 0, 0, losses * self.scale)


def by_class(x: Array) -> Array:
    """Return x (C,), (N, C) or (N, C, ...) as (N, C) or (N, C, S), contiguous, half types as float32."""
    return namespace(x).ascontiguousarray(lay_out(upcast(x), min(x.ndim - 1, 1)))


def check_classes(input: Tensor, target: Tensor, weight: Tensor | None, name: str) -> None:
    """Check an input (C,), (N, C) or (N, C, ...) and its class indices (), (N,) or (N, ...).

    Raises:
        TypeError: if the input is not a floating-point tensor, or the target not an integer tensor.
        ValueError: if the shapes do not fit, or the class weights are not constants (C,).
    """
    check_input(input, name)
    shape = input.array.shape
    if not shape:
        raise ValueError(f"{name} takes an input (N, C, ...) or (C,), got a 0-d tensor")
    if not isinstance(target, Tensor) or target.array.dtype.kind not in "iu":
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"{name} takes class indices as an integer tensor, got {kind}")
    batch = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if target.array.shape != batch:
        raise ValueError(
            f"{name} of an input {shape} takes one class index per sample, of shape {batch}, "
            f"got shape {target.shape}"
        )
    check_class_weight(weight, shape[1] if len(shape) > 1 else shape[0])


def check_class_weight(weight: Tensor | None, C: int) -> None:
    """Raise ValueError unless there is one constant weight per class."""
    if weight is None:
        return
    if weight.shape != (C,):
        raise ValueError(f"weight has one entry per class, so shape ({C},), got {weight.shape}")
    if weight.requires_grad:
        raise ValueError("class weights are constants: pass weight.detach()")


def locate_targets(target: Array, rows: Array, weight: Array | None, ignore_index: int) -> TargetEntries:
    """Return the entries of the class indices `target` in `rows` (N, C) or (N, C, S), made by `by_class`.

    Raises:
        IndexError: if a class index is out of range and not `ignore_index`. On a GPU, such a target makes the
            loss NaN, and the error is raised when the host next reads an array.
    """
    N, C, *space = rows.shape
    t = target.reshape(N, *space).astype(numpy.int64, copy=False)
    valid = _valid(t, C, ignore_index, rows.dtype)
    if valid is not None:
        t = t * (valid == 1)
    scale = valid
    if weight is not None:
        scale = weight[t].astype(rows.dtype, copy=False) * (1 if valid is None else valid)
    index = t + row_starts(rows) if not space else _within_space(t, C)
    if scale is None:
        return TargetEntries(index, None, max(t.size, 1), None)
    divisor = scale.sum()
    return TargetEntries(index, scale, divisor + (divisor == 0), valid)


def _within_space(t: Array, C: int) -> Array:
    xp = namespace(t)
    N, S = t.shape
    return (xp.arange(N)[:, None] * C + t) * S + xp.arange(S)


def _valid(t: Array, C: int, ignore_index: int, dtype: numpy.dtype) -> Array | None:
    """Return 1 for every target, 0 for those that are ignored, or None if no target is."""
    if not t.size:
        return None
    unsigned = t.view(numpy.uint64)  # a negative index is a very large one here: one comparison for both ends
    message = (
        f"target {{}} is out of range for {C} classes: class indices are 0 to {C - 1}, or ignore_index "
        f"({ignore_index})"
    )
    if backend_of(t).kernels == "cuda":
        valid = t != ignore_index
        check_later(t * valid, C, message)
        return namespace(t).where(valid & (unsigned >= C), numpy.nan, valid).astype(dtype)
    if largest(unsigned) < C and not 0 <= ignore_index < C:
        return None
    valid = t != ignore_index
    wrong = t[valid & (unsigned >= C)]
    if wrong.size:
        raise IndexError(message.format(int(wrong[0])))
    return valid.astype(dtype)
