"""Class indices as targets: checked, and located in the array that holds a number per class."""

from typing import NamedTuple

import numpy

from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..normalization.checks import check_input


class Located(NamedTuple):
    """Where the targets' entries are in x (N, C) or (N, C, S), and what each of them counts.

    index   (N,) or (N, S), into the flattened x
    scale   the weight of the target's class, 0 where it is ignored; None where all count 1
    divisor of the mean: the sum of scale, but 1 where that is 0
    """

    index: Array
    scale: Array | None
    divisor: Array | int


def class_count(input: Tensor, target: Tensor, weight: Tensor | None, name: str) -> int:
    """Return C for an input (C,), (N, C) or (N, C, ...) whose target is (), (N,) or (N, ...).

    Raises:
        TypeError: for an input that is no floating-point tensor, a target that is no integer tensor.
        ValueError: where the shapes do not fit, or the class weights are not constants (C,).
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
    C = shape[1] if len(shape) > 1 else shape[0]
    check_class_weight(weight, C)
    return C


def check_class_weight(weight: Tensor | None, C: int) -> None:
    """Refuse class weights that are not one constant per class."""
    if weight is None:
        return
    if weight.shape != (C,):
        raise ValueError(f"weight has one entry per class, so shape ({C},), got {weight.shape}")
    if weight.requires_grad:
        raise ValueError("class weights are constants: pass weight.detach()")


def locate(t: Array, C: int, weight: Array | None, ignore_index: int, dtype: numpy.dtype) -> Located:
    """Return where the class indices `t` (N,) or (N, S) point.

    Raises:
        IndexError: for a class that does not exist and is not `ignore_index`.
    """
    xp = namespace(t)
    t = t.astype(numpy.int64, copy=False)
    valid = _valid(t, C, ignore_index)
    scale = None
    if valid is not None:
        t = t * valid
        scale = valid.astype(dtype) if weight is None else weight[t] * valid
    elif weight is not None:
        scale = weight[t]
    N, S = len(t), t[:1].size
    index = t + xp.arange(0, N * C, C) if t.ndim == 1 else t * S + _corners(xp, N, C, S)
    if scale is None:
        return Located(index, None, max(t.size, 1))
    divisor = scale.sum()
    return Located(index, scale, divisor + (divisor == 0))


def _corners(xp: object, N: int, C: int, S: int) -> Array:
    return xp.arange(N)[:, None] * (C * S) + xp.arange(S)  # type: ignore[attr-defined]


def _valid(t: Array, C: int, ignore_index: int) -> Array | None:
    """Return where the targets count, None where all do."""
    if not t.size:
        return None
    unsigned = t.view(numpy.uint64)  # a negative index is a very large one here: one comparison for both ends
    if int(unsigned.max()) < C and not 0 <= ignore_index < C:
        return None
    valid = t != ignore_index
    wrong = t[valid & (unsigned >= C)]
    if wrong.size:
        raise IndexError(
            f"target {int(wrong[0])} is out of range for {C} classes: class indices are 0 to {C - 1}, or "
            f"ignore_index ({ignore_index})"
        )
    return valid
