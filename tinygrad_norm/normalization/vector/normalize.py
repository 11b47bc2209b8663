"""L1, L2, Lp normalization: every vector is divided by its length.

    x (..., D, ...), along one axis   n = ‖x‖ = (Σ |x|ᵖ)^(1/p)   r = 1/max(n, eps)   y = x·r

p = 2 is the Euclidean length, p = 1 the sum of |x|, p = ∞ the largest |x|. A vector shorter than eps is
divided by eps instead, so the zero vector stays zero.

In the code: r rnorm, s slope; at_eps is 1/eps, the rnorm of a vector that eps divides.

As a layer of a network: Wang, Xiang, Cheng, Yuille 2017, arXiv:1704.06369.

Backward, for one vector, from g = dL/dy:

    straight   r·g
    through n  ∂n/∂x = sign(x)·|x|ᵖ⁻¹/nᵖ⁻¹ =: s      Σ(g·x)·(-1/n²)·s = -r·s·Σ(g·y)

    dx = r·(g - s·Σ(g·y))     s = sign(y)·|y|ᵖ⁻¹, as |y| = |x|/n; for p = 2, s = y

If n < eps, the divisor is eps, which does not depend on x: dx = g/eps. For p = ∞, s is sign(y) where
|y| = 1, and ties share it. For p < 1 the slope at an entry of 0 is infinite; it is taken to be 0, as
PyTorch does.

Insight: y and r say everything. |y| is at most 1, so no power in the backward can overflow, and Σ s·y = 1
makes Σ dx·x = 0: stretching x changes nothing, so no gradient points along x.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_math import larger
from ...backends.cpu.pool_loops import COLUMN
from ...backends.cpu.sums import row_sum_products
from ...backends.cuda.launch import CudaSource, accumulator_dtype, contiguous, teams
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...backends.float_info import finfo
from ...ops.checks import check_eps, check_input
from ...ops.dims import Axes, Dim, normalize_dim, normalize_dims
from ...ops.shape import permute, reshape
from ...registry import Case, ErrorCase, distinct, register, uniform
from ..core.lengths import (
    check_power,
    exact_lengths,
    is_extreme,
    lengths,
    limits,
    power,
    ratio,
    slope,
    slope_of_power,
)

_kernels = CudaSource(__file__, "../core/lengths.cuh", "../core/powers.cuh")


def normalize_composed(input: Tensor, p: float = 2.0, dim: Dim = 1, eps: float = 1e-12) -> Tensor:
    """Lp normalization from primitives: autograd finds the gradient."""
    n = input.norm(p, dim, keepdim=True).clamp(min=eps)
    return input / n


@kernel
@in_blocks("x")
@exact_lengths
def normalize_forward(x: Array, p: float, eps: Array) -> tuple[Array, Array]:
    """Return y (N, D) and rnorm (N, 1)."""
    n = namespace(x).maximum(lengths(x, p), eps)
    return x / n, 1 / n


@normalize_forward.loops(rnorm=COLUMN)
def normalize_forward_loop(
    x: Array, p: float, eps: float, y: Array, rnorm: Array, zero: float, left: Array
) -> None:
    """One row after the other: once to find n (a power: of |x| by the largest |x|), once to write y."""
    (N, D), real = x.shape, x.dtype.type
    for row in range(N):
        s, top = zero, real(0)
        if p == 2:
            for i in range(D):
                s += x[row, i] * x[row, i]
            n = numpy.sqrt(s)
        elif p == 1:
            for i in range(D):
                s += abs(x[row, i])
            n = s
        else:
            for i in range(D):
                top = larger(top, abs(x[row, i]))
            if not 0 < top < math.inf:
                left[row] = True
                continue
            n = top
            if p < math.inf:
                for i in range(D):
                    s += power(abs(x[row, i]) / top, p)
                n = top * s ** (1 / p)
        r = real(1 / (eps if n <= eps else n))
        if p == math.inf and n > eps:
            for i in range(D):
                y[row, i] = ratio(x[row, i], top)  # exactly ±1 at the top: backward finds it by that
        else:
            for i in range(D):
                y[row, i] = x[row, i] * r
        rnorm[row, 0], left[row] = r, is_extreme(r)


@normalize_forward.cuda
def normalize_forward_cuda(x: Array, p: float, eps: float) -> tuple[Array, ...]:
    """One kernel: every row is read once and written once."""
    numbers = limits(accumulator_dtype(x), eps)
    if p == 2:
        return _kernels.forward_rows("normalize_forward", (x,), (), 1, *numbers)
    return _kernels.forward_rows("normalize_power_forward", (x,), (), 1, *numbers, _for_kernels(p, x))


def _for_kernels(p: float, x: Array) -> float:
    """Return p as the type of the kernel holds it; what is too large for that is ∞."""
    return p if p < finfo(accumulator_dtype(x)).max else math.inf


@kernel
@in_blocks("dy", "y", "rnorm")
def normalize_backward(dy: Array, y: Array, rnorm: Array, p: float, eps: float) -> Array:
    """Return dx (N, D)."""
    xp, (_, at_eps, _) = namespace(y), limits(rnorm.dtype, eps)
    along = xp.where(rnorm == at_eps, 0, row_sum_products(dy, y))
    return rnorm * (dy - slope(y, p) * along)


@normalize_backward.loops()
def normalize_backward_loop(
    dy: Array, y: Array, rnorm: Array, p: float, eps: float, dx: Array, zero: float, left: Array
) -> None:
    """One row after the other: once to find Σ(g·y), once to write dx."""
    (N, D), real = dy.shape, dy.dtype.type
    at_eps, none, one = real(1 / eps), real(0), real(1)
    for row in range(N):
        r = rnorm[row, 0]
        left[row] = is_extreme(r)
        if left[row]:
            continue
        s, ties = zero, 0
        for i in range(D):
            s += dy[row, i] * y[row, i]
        along = none if r == at_eps else real(s)
        if p == 2:
            for i in range(D):
                dx[row, i] = r * (dy[row, i] - y[row, i] * along)
        elif p == 1:
            for i in range(D):
                dx[row, i] = r * (dy[row, i] - numpy.sign(y[row, i]) * along)
        elif p < math.inf:
            for i in range(D):
                dx[row, i] = r * (dy[row, i] - slope_of_power(y[row, i], p) * along)
        else:
            for i in range(D):
                ties += abs(y[row, i]) == one
            along = along / real(max(ties, 1))
            for i in range(D):
                top = y[row, i] if abs(y[row, i]) == one else none
                dx[row, i] = r * (dy[row, i] - top * along)


@normalize_backward.cuda
def normalize_backward_cuda(dy: Array, y: Array, rnorm: Array, p: float, eps: float) -> Array:
    """One kernel: dy and y are read once, dx is written once."""
    (N, D), (dy, y) = y.shape, contiguous(dy, y)
    dx, (_, at_eps, _) = namespace(y).empty_like(y), limits(rnorm.dtype, eps)
    shape = teams(D, y, dy, shapes=BACKWARD_SHAPES)
    args: tuple[Any, ...] = dy, y, rnorm, dx, N, D, at_eps
    name = "normalize_backward"
    if p != 2:
        name, args = "normalize_power_backward", (*args, _for_kernels(p, y))
    _kernels.launch(name, y.dtype, shape.template, shape.blocks(N), shape.block, args)
    return dx


class NormalizeFunction(Function):
    """y = x·r, r = 1/max(‖x‖, eps) · dx = r·(g - s·Σ(g·y)), s = sign(y)·|y|ᵖ⁻¹; g/eps where ‖x‖ ≤ eps"""

    def forward(self, x: Array, *, p: float, dim: int, eps: float) -> Array:
        # Rounded to 16 bits, entries next to the largest would be as large: ties for p = ∞.
        y, rnorm = normalize_forward(_rows(x if p == 2 else upcast(x), dim), p, eps)
        y = _back(y, x.shape, dim)
        self.saved = y, rnorm, p, dim, eps
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        y, rnorm, p, dim, eps = self.saved
        dx = normalize_backward(_rows(dy.astype(y.dtype, copy=False), dim), _rows(y, dim), rnorm, p, eps)
        return _back(dx, dy.shape, dim)


def _rows(x: Array, dim: int) -> Array:
    """Return x (..., D, ...), with D on axis `dim`, as contiguous rows (N, D)."""
    if dim < x.ndim - 1:
        x = x.swapaxes(dim, -1)
    return contiguous(x.reshape(math.prod(x.shape[:-1]), x.shape[-1] if x.ndim else 1))[0]


def _back(rows: Array, shape: tuple[int, ...], dim: int) -> Array:
    """Return what `_rows` made of an array of that shape in its old shape, contiguous."""
    if dim >= len(shape) - 1:
        return rows.reshape(shape)
    moved = list(shape)
    moved[dim], moved[-1] = moved[-1], moved[dim]
    return contiguous(rows.reshape(moved).swapaxes(dim, -1))[0].reshape(shape)


def normalize(input: Tensor, p: float = 2.0, dim: Dim = 1, eps: float = 1e-12) -> Tensor:
    """Divide each vector along `dim` by its length ‖x‖p = (Σ |x|ᵖ)^(1/p), or by eps if that is more.

    Args:
        input: any shape.
        p: above 0; inf is the largest |x|.
        dim: the axis along which the vectors lie, or several; None and () are all axes.
        eps: the smallest number that a vector is divided by, in units of input.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int or a sequence of ints.
        ValueError: if p is not above 0, eps is negative, or an axis is named twice.
        IndexError: if an axis does not exist.

    Source: Wang, Xiang, Cheng, Yuille 2017, arXiv:1704.06369.
    """
    check_input(input, "normalize")
    check_eps(eps)
    p = check_power(p)
    if dim is None or isinstance(dim, tuple | list):
        axes = normalize_dims(dim, input.ndim)
        if len(axes) != 1:
            return _over_axes(input, p, axes, eps)
        dim = axes[0]
    return NormalizeFunction.apply(input, p=p, dim=normalize_dim(dim, input.ndim), eps=float(eps))


def _over_axes(x: Tensor, p: float, axes: Axes, eps: float) -> Tensor:
    """Return `normalize` over several axes: they are joined to one."""
    order = [*(axis for axis in range(x.ndim) if axis not in axes), *axes]
    moved = permute(x, order)
    rows = reshape(moved, (*moved.shape[: x.ndim - len(axes)], math.prod(x.shape[axis] for axis in axes)))
    return permute(reshape(normalize(rows, p, -1, eps), moved.shape), numpy.argsort(order).tolist())


register(
    name="normalize",
    function=normalize,
    composed=normalize_composed,
    cases=(
        Case(((4, 8),)),
        Case(((2, 3, 4),)),
        Case(((2, 3, 4),), {"dim": -1}),
        Case(((3, 4),), {"p": 2.0, "dim": 0}),
        Case((uniform(-1, 1, 3, 5),), {"eps": 2.0}),
        Case((distinct(3, 5),), {"p": 1.0, "dim": 1}),
        Case((distinct(2, 3, 4),), {"p": 3.0, "dim": 0}),
        Case((distinct(3, 5),), {"p": 0.5, "dim": 1}),
        Case((distinct(3, 5),), {"p": math.inf, "dim": -1}),
        Case((distinct(3, 5),), {"p": 3.0, "eps": 100.0}),
        Case(((5,),), {"dim": 0}),
        Case(((2, 3, 4),), {"dim": (1, 2)}),
        Case(((2, 3, 4),), {"dim": (-1, 0), "p": 3.0}),
        Case(((2, 3),), {"dim": None}),
        Case(((3, 1),), {"eps": 1e-3}),
        Case(((0, 4),)),
        Case(((3, 0),)),
    ),
    errors=(
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3), int))), TypeError, "floating-point"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), 0), ValueError, "p must be above 0"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), math.nan), ValueError, "p must be above 0"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones(3))), IndexError, "out of range"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), dim=1.5), TypeError, "dim"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="L2, Lp normalization",
    paper="Wang et al. 2017, arXiv:1704.06369",
    pool="each vector along one axis, no mean",
    torch="torch.nn.functional.normalize",
    bench=tuple(Case((shape,)) for shape in ((64, 64), (512, 768), (4096, 1024))),
)
