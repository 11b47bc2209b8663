"""Norms of vectors: of whole tensors, or of slices along some axes.

A power may overflow or underflow, so the largest |x| is divided out first: ‖x‖ = m·(Σ |x/m|ᵖ)^(1/p) with
m = max |x|. For p = 2 this is only done if the plain sum of squares has overflowed or is too small, and for
p = 1 never. The gradient,

    ∂‖x‖/∂x = sign(x)·(|x|/‖x‖)ᵖ⁻¹,

is x/‖x‖ for p = 2 and sign(x) for p = 1. It is 0 where the norm is 0. The norms for p = ±∞ are the largest
and the smallest |x|, and equal ones share the gradient; p = 0 counts the elements that are not 0.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, host_can_read, namespace
from ..backends.cpu.half import downcast, upcast
from ..backends.cpu.sums import total
from ..backends.float_info import finfo
from ..registry import Case, ErrorCase, distinct, register
from .arguments import as_flag
from .dims import Axes, Dim, kept_shape, normalize_dims
from .extremes import amax, amin
from .kinks import abs, sign
from .operands import as_tensor
from .reduction import largest_or_0, sum


class Norm(Function):
    """y = (Σ |x|ᵖ)^(1/p) over `axes` · dx = dy·sign(x)·(|x|/y)ᵖ⁻¹, 0 where y = 0"""

    def forward(self, x: Array, *, p: float, axes: Axes, keepdim: bool) -> Array:
        if p == 1:
            y = downcast(total(namespace(x).abs(upcast(x)), axes, keepdim), x)
        else:
            compute = self._length if p == 2 else self._scaled
            y = downcast(compute(upcast(x), p, axes, keepdim), x)
        self.saved = x, y, p, axes
        return y

    def _length(self, x: Array, p: float, axes: Axes, keepdim: bool) -> Array:
        if not host_can_read(x):
            return self._scaled(x, p, axes, keepdim)
        y = namespace(x).sqrt(total(x * x, axes, keepdim))
        info = finfo(x.dtype)
        if y.size and not (y.min() > math.sqrt(info.tiny / info.eps) and y.max() < math.inf):
            return self._scaled(x, p, axes, keepdim)
        return y

    @staticmethod
    def _scaled(x: Array, p: float, axes: Axes, keepdim: bool) -> Array:
        xp = namespace(x)
        magnitude = xp.abs(x)
        largest = largest_or_0(magnitude, axes, keepdim)
        largest = xp.where((largest > 0) & (largest < math.inf), largest, 1)
        powers = (magnitude / largest.reshape(kept_shape(x.shape, axes))) ** p
        return largest * total(powers, axes, keepdim) ** (1 / p)

    def backward(self, dy: Array) -> Gradients:
        x, y, p, axes = self.saved
        xp = namespace(dy)
        kept = kept_shape(x.shape, axes)
        y = upcast(y).reshape(kept)
        if p == 2:
            return x * (dy.reshape(kept) / (y + (y == 0)))
        if p == 1:
            return dy.reshape(kept) * xp.sign(x)
        flat = (x == 0) | (y == 0)
        ratio = xp.where(flat, 1, xp.abs(x) / (y + (y == 0)))
        return dy.reshape(kept) * xp.where(flat, 0, xp.sign(x) * ratio ** (p - 1))


def norm(input: Tensor, p: Any = "fro", dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return (Σ |x|ᵖ)^(1/p) over `dim` (all axes if None); "fro" is p = 2, the length.

    Raises:
        RuntimeError: if `input` is not a floating-point tensor.
        ValueError: for a matrix norm, or p = ±∞ of no elements.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_tensor(input)
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"norm of a tensor of {x.dtype}: convert it first, with .float()")
    if p in ("fro", None):
        p = 2
    if not isinstance(p, int | float) or p != p:
        raise ValueError(f'p must be a number, inf, -inf or "fro", got {p!r}')
    if p == math.inf:
        return amax(abs(x), dim, keepdim)
    if p == -math.inf:
        return amin(abs(x), dim, keepdim)
    if p == 0:
        return sum(abs(sign(x)), dim, keepdim)
    return Norm.apply(x, p=p, axes=normalize_dims(dim, x.ndim), keepdim=keepdim)


register(
    name="norm",
    function=norm,
    composed=None,
    cases=(
        Case(((3, 4),)),
        Case(((3, 4),), {"dim": 1}),
        Case(((2, 3, 4),), {"p": 2, "dim": (0, 2), "keepdim": True}),
        Case((distinct(3, 4),), {"p": 1, "dim": 0}),
        Case(((3, 4),), {"p": 3, "dim": 1}),
        Case((distinct(3, 4),), {"p": 0.5, "dim": 1}),
        Case((distinct(3, 4),), {"p": -1, "dim": 1}),
        Case((distinct(3, 3),), {"p": math.inf, "dim": 0}),
        Case((distinct(3, 3),), {"p": -math.inf, "dim": 0}),
        Case((distinct(3, 4),), {"p": 0, "dim": 1}),
        Case(((),)),
        Case(((0, 3),), {"dim": 0}),
    ),
    errors=(
        ErrorCase(lambda: norm(Tensor([1.0]), "nuc"), ValueError, "p must be a number"),
        ErrorCase(lambda: norm(Tensor([1])), RuntimeError, "with .float()"),
        ErrorCase(lambda: norm(Tensor([1.0]), 2, 1), IndexError, "dim 1 is out of range"),
    ),
    kind="primitive",
    torch="torch.norm",
)
