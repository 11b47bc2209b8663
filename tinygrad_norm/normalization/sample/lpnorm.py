"""Lp normalization of rows: RMS normalization with another power of the mean. No centering, no bias.

    x (..., D)   n = (mean(|x|ᵖ))^(1/p)   l = √(n² + eps)   x̂ = x/l   y = w·x̂

p = 1 is the mean of |x|, p = 2 the root mean square, p = ∞ the largest |x|. n and l are one number per row;
w is (D,), where D stands for all of `normalized_shape`. The mean stands inside the root, so n does not grow
with D as the length ‖x‖p = n·D^(1/p) does. eps is added to n² for every p: it is in units of input² and means
the same √eps beside n as in RMSNorm, which this is for p = 2. Inside the mean, it would mean another size for
every p, and nothing for p = ∞.

In the code: n size, l divisor, x̂ x_hat, w weight.

For p = 2: Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, for one row, from dy = dL/dy. All rows share the weight:

    dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its row, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = x_j/l
there are two paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                                  g_i/l
    through l    ∂n/∂x_i = s_i := sign(x_i)·(|x_i|/n)ᵖ⁻¹/D, ∂l/∂n = n/l   -(n/l)·s_i·Σ(g·x̂)/l

    dx = (g - (n/l)·s·Σ(g·x̂))/l

For p = 2, (n/l)·s = x̂/D, and this is the formula in rmsnorm.py. For p = ∞, s is sign(x) at the largest |x|,
and ties share it. For p < 1 the slope at an entry of 0 is infinite; it is taken to be 0, as in normalize.py.

Insight: p says who pays. The correction goes with |x|ᵖ⁻¹: for p = 1 all entries of a row get the same, for
p = 2 each in proportion to its size, for p = ∞ the largest alone.
"""

import math
from collections.abc import Sequence

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.loop_math import larger
from ...backends.cpu.pool_loops import COLUMN, VECTOR
from ...backends.cpu.sums import column_sums, row_sum_products
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import Shape, as_shape, check_eps, check_rows
from ...registry import Case, ErrorCase, distinct, register
from ..core.lengths import check_power, divisors, is_extreme, mean_slope, power, power_means, slope_of_power
from ..core.moments import affine
from ..core.rows import as_rows, machine_eps
from .rmsnorm import rms_norm

_kernels = CudaSource(__file__, "../core/moments.cuh", "../core/powers.cuh", "rowgradients.cuh")


def lp_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    p: float = 2.0,
    eps: float | None = None,
) -> Tensor:
    """Lp normalization from primitives: autograd finds the gradient."""
    shape, eps = as_shape(normalized_shape), machine_eps(input) if eps is None else eps
    axes = tuple(range(-len(shape), 0))
    if p == math.inf:
        size = input.norm(p, axes, keepdim=True)
    else:
        size = (input.abs() ** p).mean(axes, keepdim=True) ** (1 / p)
    divisor = (size * size + eps) ** 0.5
    return affine(input / divisor, weight, None)


@kernel
@in_blocks("x", weight=1.0)
def lp_norm_forward(x: Rows, weight: Vector | None, p: float, eps: float) -> tuple[Rows, Column]:
    """Return y (N, D) and size (N, 1), for x (N, D) and weight (D,)."""
    size = power_means(x, p)
    x_hat = x / divisors(size, eps)
    return weight * x_hat, size


@lp_norm_forward.loops(size=COLUMN, weight=VECTOR)
def lp_norm_forward_loop(
    x: Rows, weight: Vector, p: float, eps: float, y: Rows, size: Column, zero: float, left: Array
) -> None:
    """One row after the other: for the largest |x|, for the mean of powers by it, and to write y."""
    (N, D), real = x.shape, x.dtype.type
    for row in range(N):
        top, s = real(0), zero
        for i in range(D):
            top = larger(top, abs(x[row, i]))
        if p == 1:
            for i in range(D):
                s += abs(x[row, i])
            n = real(s / D)
        elif p < math.inf and top > 0:
            for i in range(D):
                s += power(abs(x[row, i]) / top, p)
            n = top * real((s / D) ** (1 / p))
        else:
            n = top
        r = real(1 / numpy.hypot(n, numpy.sqrt(eps)))
        for i in range(D):
            y[row, i] = weight[i] * (x[row, i] * r)
        size[row, 0], left[row] = n, is_extreme(r) or not top > 0


@lp_norm_forward.cuda
def lp_norm_forward_cuda(x: Rows, weight: Vector | None, p: float, eps: float) -> tuple[Array, ...]:
    """One kernel: every row is read once and written once."""
    return _kernels.forward_rows("lp_norm_forward", (x,), (weight,), 1, 1 / x.shape[1], p, math.sqrt(eps))


@kernel
@in_blocks("dy", "x", "size", add=True, weight=1.0)
def lp_norm_backward(
    dy: Rows, x: Rows, weight: Vector | None, size: Column, p: float, eps: float
) -> tuple[Rows, Vector]:
    """Return dx (N, D) and dweight (D,)."""
    divisor = divisors(size, eps)
    x_hat = x / divisor
    g = weight * dy
    dx = (g - size / divisor * mean_slope(x, size, p) * row_sum_products(g, x_hat)) / divisor
    return dx, column_sums(dy * x_hat)


@lp_norm_backward.loops(dweight=VECTOR, weight=VECTOR)
def lp_norm_backward_loop(
    dy: Rows,
    x: Rows,
    weight: Vector,
    size: Column,
    p: float,
    eps: float,
    dx: Rows,
    dweight: Vector,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: once for all sums, once to write dx."""
    (N, D), real = x.shape, x.dtype.type
    none, root_eps = real(0), real(numpy.sqrt(eps))
    for row in range(N):
        n = size[row, 0]
        r = real(1 / numpy.hypot(n, root_eps))
        left[row] = is_extreme(r) or is_extreme(n)
        if left[row]:
            continue
        s, ties = zero, 0
        for i in range(D):
            x_hat = x[row, i] * r
            s += weight[i] * dy[row, i] * x_hat
            dweight[i] += dy[row, i] * x_hat
            ties += abs(x[row, i]) == n
        along = real(n * r * s / (D if p < math.inf else max(ties, 1)))
        if p == 1:
            for i in range(D):
                dx[row, i] = r * (weight[i] * dy[row, i] - numpy.sign(x[row, i]) * along)
        elif p < math.inf:
            for i in range(D):
                dx[row, i] = r * (weight[i] * dy[row, i] - slope_of_power(x[row, i] / n, p) * along)
        else:
            for i in range(D):
                top = numpy.sign(x[row, i]) if abs(x[row, i]) == n else none
                dx[row, i] = r * (weight[i] * dy[row, i] - top * along)


@lp_norm_backward.cuda
def lp_norm_backward_cuda(
    dy: Rows, x: Rows, weight: Vector | None, size: Column, p: float, eps: float
) -> tuple[Array, ...]:
    """One kernel for dx and, block by block, for dweight; a second one adds the blocks up."""
    return _kernels.backward_rows("lp_norm_backward", (dy, x), (size,), weight, 1, p, math.sqrt(eps))


class LpNormFunction(Function):
    """y = w·x/l, l = √(n² + eps) · dx = (g - (n/l)·s·Σ(g·x̂))/l with g = w·dy, s = sign(x)·(|x|/n)ᵖ⁻¹/D"""

    def forward(
        self, x: Array, weight: Array | None, *, normalized_shape: Shape, p: float, eps: float
    ) -> Array:
        self.normalized_shape = normalized_shape
        rows, weight = as_rows(normalized_shape, x, weight)
        y, size = lp_norm_forward(rows, weight, p, eps)
        self.saved = rows, weight, size, p, eps
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight = lp_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(self.normalized_shape)


def lp_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    p: float = 2.0,
    eps: float | None = None,
) -> Tensor:
    """Divide each sample by (mean(|x|ᵖ))^(1/p) over the last axes, then scale; p = 2 is `rms_norm`.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one mean.
        weight: of that shape, or None.
        p: above 0; inf divides by the largest |x|.
        eps: added to the square of what x is divided by, in units of input²; None is the machine epsilon of
            the dtype that is computed in: float64, or float32, also for half types.

    Raises:
        TypeError: if the input is not a floating-point tensor, or p is not a number.
        ValueError: if the last sizes of the input, or the shape of weight, are not `normalized_shape`, if p
            is not above 0, or eps is negative.
    """
    p = check_power(p)
    if p == 2:
        return rms_norm(input, normalized_shape, weight, eps)
    shape = check_rows(input, normalized_shape, eps or 0.0, "lp_norm", weight=weight)
    eps = machine_eps(input) if eps is None else eps
    return LpNormFunction.apply(input, weight, normalized_shape=shape, p=p, eps=float(eps))


class LpNorm(Module):
    """Lp normalization with a learned weight (ones) of shape `normalized_shape`: RMSNorm for p = 2.

    Takes and returns (..., *normalized_shape). Each row is divided by (mean(|x|ᵖ))^(1/p), which is the mean
    of |x| for p = 1 and the largest |x| for p = inf.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        p: float = 2.0,
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        check_flags(elementwise_affine=elementwise_affine)
        self.normalized_shape, self.p = as_shape(normalized_shape), check_power(p)
        if eps is not None:
            check_eps(eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        ones = numpy.ones(self.normalized_shape, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return lp_norm(input, self.normalized_shape, self.weight, self.p, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, p={self.p}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )


register(
    name="lp_norm",
    function=lp_norm,
    composed=lp_norm_composed,
    inputs=("input", "weight"),
    parameters=("weight",),
    cases=(
        Case((distinct(4, 8), (8,)), {"normalized_shape": (8,), "p": 1.0}),
        Case((distinct(2, 3, 5), None), {"normalized_shape": (5,), "p": 1.0, "eps": 1.0}),
        Case((distinct(4, 8), (8,)), {"normalized_shape": (8,), "p": 3.0}),
        Case((distinct(2, 3, 4), (3, 4)), {"normalized_shape": (3, 4), "p": 1.5, "eps": 0.5}),
        Case((distinct(3, 5), (5,)), {"normalized_shape": (5,), "p": 0.5}),
        Case((distinct(4, 7), (7,)), {"normalized_shape": (7,), "p": math.inf}),
        Case((distinct(3, 5), None), {"normalized_shape": (5,), "p": math.inf, "eps": 2.0}),
        Case(((4, 8), (8,)), {"normalized_shape": (8,)}),
        Case(((3, 1), (1,)), {"normalized_shape": (1,), "p": 3.0, "eps": 0.1}),
        Case(((0, 4), (4,)), {"normalized_shape": (4,), "p": 3.0}),
    ),
    errors=(
        ErrorCase(lambda: lp_norm(ones(2, 3), (4,), p=1.0), ValueError, "last sizes"),
        ErrorCase(lambda: lp_norm(ones(2, 3, dtype=int), (3,), p=1.0), TypeError, "floating-point"),
        ErrorCase(lambda: lp_norm(ones(2, 3), (3,), ones(2), p=1.0), ValueError, "weight"),
        ErrorCase(lambda: lp_norm(ones(2, 3), (3,), p=0.0), ValueError, "p must be above 0"),
        ErrorCase(lambda: lp_norm(ones(2, 3), (3,), p=math.nan), ValueError, "p must be above 0"),
        ErrorCase(lambda: lp_norm(ones(2, 3), (3,), p=1.0, eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: LpNorm(3, p=-1.0), ValueError, "p must be above 0"),
    ),
    kind="normalization",
    title="LpNorm",
    paper="p = 2: Zhang, Sennrich 2019, arXiv:1910.07467",
    pool="the last axes of each sample, no mean",
    bench=tuple(
        Case((shape, shape[-1:]), {"normalized_shape": shape[-1:], "p": p})
        for shape, p in (((512, 768), 1.0), ((512, 768), 3.0), ((4096, 1024), math.inf))
    ),
)
