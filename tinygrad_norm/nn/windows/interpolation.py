"""Interpolation: change the size of images, by the nearest pixel or along straight lines between pixels.

Output position j of M lies at s_j among the S input positions, axis by axis:

    nearest          s_j = ⌊j·S/M⌋              nearest-exact    s_j = ⌊(j + ½)·S/M⌋
    linear           s_j = (j + ½)·S/M - ½      pixels are squares whose corners fit (at least 0)
      align_corners  s_j = j·(S - 1)/(M - 1)    the first and the last pixel stay where they are

    y_j = (1 - w_j)·x_l + w_j·x_r   with l = ⌊s_j⌋, r = l + 1 (at most S - 1), w_j = s_j - l

With a scale_factor f, S/M is 1/f, and M = ⌊S·f⌋. bilinear and trilinear do the same along 2 and 3 axes, one
after the other.

Backward: y_j is linear in x, so dx_i collects dy from every j that read it, with the weight it was read with:

    dx_i = Σ (1 - w_j)·dy_j over j with l(j) = i   +   Σ w_j·dy_j over j with r(j) = i
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.capture import upload
from ...module import Module
from ...ops import movedim, ones, tensor
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_input
from ...ops.dims import as_shape
from ...ops.indexing import scatter_add
from ...registry import Case, ErrorCase, register

LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
NEAREST = ("nearest", "nearest-exact")


class InterpolateFunction(Function):
    """y_j = (1 - w_j)·x_l + w_j·x_r along `dim` · dx_i = Σ (1 - w_j)·dy_j, l = i, + Σ w_j·dy_j, r = i"""

    def forward(
        self, x: Array, *, dim: int, left: numpy.ndarray, right: numpy.ndarray, weight: numpy.ndarray
    ) -> Array:
        xp = namespace(x)
        wide, before = upcast(x), (slice(None),) * dim
        keys = (*before, upload(left, xp)), (*before, upload(right, xp))
        w = upload(weight.astype(wide.dtype), xp).reshape([-1] + [1] * (x.ndim - dim - 1))
        self.saved = x.shape, keys, w
        if not weight.any():
            return x[keys[0]]
        return downcast(wide[keys[0]] * (1 - w) + wide[keys[1]] * w, x)

    def backward(self, dy: Array) -> Gradients:
        shape, (left, right), w = self.saved
        wide = upcast(dy)
        return downcast(scatter_add(shape, left, wide * (1 - w)) + scatter_add(shape, right, wide * w), dy)


def _sources(
    mode: str, size: int, out: int, scale: float, align_corners: bool
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return l, r and w for every output position; `scale` is S/M."""
    j = numpy.arange(out)
    if mode in NEAREST:
        shift = 0.5 if mode == "nearest-exact" else 0.0
        left = numpy.minimum(numpy.floor((j + shift) * scale), size - 1).astype(numpy.int64)
        return left, left, numpy.zeros(out)
    if align_corners:
        s = j * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        s = numpy.maximum((j + 0.5) * scale - 0.5, 0)
    left = numpy.minimum(numpy.floor(s), size - 1).astype(numpy.int64)
    return left, numpy.minimum(left + 1, size - 1), numpy.clip(s - left, 0, 1)


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return input (N, C, ...) with its last axes resized, to `size` or by `scale_factor`.

    Args:
        input: (N, C, W), (N, C, H, W) or (N, C, D, H, W).
        size: the new sizes, one or one for each axis.
        scale_factor: the new size divided by the old, one or one for each axis.
        mode: "nearest", "nearest-exact", or "linear", "bilinear", "trilinear" for 1, 2, 3 axes.
        align_corners: whether the outermost pixels stay where they are; not for the nearest modes.
        recompute_scale_factor: compute the scale again from the sizes, which are whole numbers.
        antialias: only False.

    Raises:
        TypeError: if the input is not a floating-point tensor, or a number is not one.
        ValueError: if the mode is unknown or does not fit the number of axes, or not exactly one of size and
            scale_factor is given, with one number for each axis; or a size is below 1.
    """
    shapes = _plan(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    for axis, out, scale in shapes:
        left, right, weight = _sources(mode, input.shape[axis], out, scale, bool(align_corners))
        input = InterpolateFunction.apply(input, dim=axis, left=left, right=right, weight=weight)
    return input


def interpolate_composed(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Interpolation as a product with a matrix (M, S), axis by axis: autograd finds the gradient."""
    shapes = _plan(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    for axis, out, scale in shapes:
        S = input.shape[axis]
        left, right, weight = _sources(mode, S, out, scale, bool(align_corners))
        columns = numpy.arange(S)
        matrix = (columns == left[:, None]) * (1 - weight[:, None]) + (columns == right[:, None]) * weight[
            :, None
        ]
        weights = tensor(matrix, dtype=input.dtype).to(input.device)
        input = movedim(movedim(input, axis, -1) @ weights.T, -1, axis)
    return input


def _plan(
    x: Tensor, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute: Any, antialias: Any
) -> list[tuple[int, int, float]]:
    """Return, for each axis that is resized, the axis, its new size, and the old size divided by the new."""
    check_input(x, "interpolate")
    check_flags(antialias=antialias)
    for name, flag in {"align_corners": align_corners, "recompute_scale_factor": recompute}.items():
        if flag is not None:
            check_flags(**{name: flag})
    if mode not in (*NEAREST, *LINEAR):
        raise ValueError(f"mode must be one of {', '.join(map(repr, (*NEAREST, *LINEAR)))}, got {mode!r}")
    axes = x.ndim - 2
    if axes not in (1, 2, 3) or LINEAR.get(mode, axes) != axes:
        fits = {n: name for name, n in LINEAR.items()}.get(axes, "none")
        raise ValueError(
            f"mode {mode!r} does not fit an input of shape {x.shape}: it is (N, C, ...) with 1, 2 or 3 axes "
            f"to resize, for which the linear mode is {fits}"
        )
    if antialias:
        raise ValueError("antialias=True is not supported: average with F.avg_pool2d before")
    if align_corners is not None and mode in NEAREST:
        raise ValueError(f"align_corners has no meaning with mode={mode!r}: leave it out")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate takes either size or scale_factor")
    if 0 in x.shape[2:]:
        raise ValueError(f"there is nothing to interpolate in an input of shape {x.shape}")
    old = x.shape[2:]
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor has no meaning with size: leave it out")
        new = as_shape(size, "size")
        new = new * axes if len(new) == 1 else new
        scales = [s / m if m else 0.0 for s, m in zip(old, new, strict=False)]
    else:
        given = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor] * axes
        factors = [as_number(f, "scale_factor") for f in given]
        if not all(0 < f < math.inf for f in factors):
            raise ValueError(f"scale_factor must be positive and finite, got {scale_factor}")
        new = tuple([math.floor(s * f) for s, f in zip(old, factors, strict=False)])
        scales = [1 / f for f in factors]
        if recompute:
            scales = [s / m if m else 0.0 for s, m in zip(old, new, strict=True)]
    if len(new) != axes or len(scales) != axes:
        raise ValueError(f"an input of shape {x.shape} has {axes} axes to resize, got {len(new)} numbers")
    if min(new) < 1:
        raise ValueError(f"every new size must be at least 1, got {new}")
    return [(2 + i, as_size(new[i], "size"), scales[i]) for i in range(axes)]


class Upsample(Module):
    """interpolate as a layer."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample takes either size or scale_factor")
        if mode not in (*NEAREST, *LINEAR):
            raise ValueError(f"mode must be one of {', '.join(map(repr, (*NEAREST, *LINEAR)))}, got {mode!r}")
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


register(
    name="interpolate",
    function=interpolate,
    composed=interpolate_composed,
    cases=(
        Case(((2, 1, 4),), {"size": 7}),
        Case(((1, 2, 3, 4),), {"scale_factor": 2}),
        Case(((1, 1, 5, 4),), {"size": (3, 6), "mode": "nearest-exact"}),
        Case(((2, 2, 5),), {"scale_factor": 1.7, "mode": "linear"}),
        Case(((1, 2, 3, 4),), {"size": (5, 2), "mode": "bilinear"}),
        Case(((1, 2, 3, 4),), {"scale_factor": (2, 1.5), "mode": "bilinear", "align_corners": True}),
        Case(((1, 1, 2, 2, 3),), {"size": 3, "mode": "trilinear", "align_corners": False}),
        Case(((1, 1, 1),), {"size": 3, "mode": "linear", "align_corners": True}),
        Case(((0, 1, 3),), {"size": 2, "mode": "linear"}),
    ),
    errors=(
        ErrorCase(lambda: interpolate(ones(1, 1, 2)), ValueError, "either size or scale_factor"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), 3, mode="cubic"), ValueError, "'cubic'"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), 3, mode="bilinear"), ValueError, "does not fit"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), 3, align_corners=True), ValueError, "no meaning"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), 0), ValueError, "at least 1"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), (2, 2)), ValueError, "1 axes to resize"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2), scale_factor=-1), ValueError, "positive"),
        ErrorCase(lambda: interpolate(ones(1, 1, 2, dtype=int), 3), TypeError, "floating-point"),
    ),
    title="Interpolation",
    torch="torch.nn.functional.interpolate",
)
