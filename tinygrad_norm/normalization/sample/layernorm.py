"""Layer normalization: every sample gets mean 0 and variance 1 over its own last axes.

    x (..., D)   m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m, v and r are one number per row; w and b are (D,). D stands for all of `normalized_shape`: an image
(N, C, H, W) normalized over (C, H, W) is N rows of D = C·H·W values.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias.

Ba, Kiros, Hinton 2016, arXiv:1607.06450.

Backward, for one row, from dy = dL/dy. The affine part is elementwise, and all rows share its parameters:

    db = Σrows dy      dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its row, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = (x_j - m)·r
there are three paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/D, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂v/∂x_i = (2/D)·(x_i - m), ∂r/∂v = -r³/2    -r·x̂_i·mean(g·x̂)

    (m also enters v, but Σ_j (x_j - m) = 0, so r does not move with m.)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

Insight: a row keeps its statistics to itself, so training and evaluation are one function and a batch
of one is as good as any other; the price is that no feature is ever compared across samples.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import COLUMN, VECTOR
from ...backends.cpu.sums import column_sums, row_mean_products, row_means
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops.arguments import check_flags
from ...ops.checks import Shape, as_shape, check_eps, check_rows
from ...registry import Case, ErrorCase, register
from ..core.exactness import (
    exact_for_any_scale,
    exact_near_the_limits,
    is_near_the_limits,
    loses_digits,
)
from ..core.moments import affine, standardized
from ..core.rows import as_rows

_kernels = CudaSource(__file__, "../core/moments.cuh", "rowgradients.cuh")
POOL = (1,)  # each row of x (N, D)


def layer_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization from primitives: autograd finds the gradient."""
    axes = tuple(range(-len(as_shape(normalized_shape)), 0))
    return affine(standardized(input, axes, eps), weight, bias)


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
@exact_for_any_scale(POOL, "mean", "rstd")
def layer_norm_forward(
    x: Rows, weight: Vector | None, bias: Vector | None, eps: float
) -> tuple[Rows, Column, Column]:
    """Return y (N, D), mean and rstd (N, 1), for x (N, D), weight and bias (D,)."""
    mean = row_means(x)
    centered = x - mean
    rstd = (row_mean_products(centered, centered) + eps) ** -0.5
    x_hat = centered * rstd
    return weight * x_hat + bias, mean, rstd


@layer_norm_forward.loops(mean=COLUMN, rstd=COLUMN, weight=VECTOR, bias=VECTOR)
def layer_norm_forward_loop(
    x: Rows,
    weight: Vector,
    bias: Vector,
    eps: float,
    y: Rows,
    mean: Column,
    rstd: Column,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: twice to find m and r, once to write y."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        s = zero
        for i in range(D):
            s += x[n, i]
        m = real(s / D)
        s = zero
        for i in range(D):
            s += (x[n, i] - m) * (x[n, i] - m)
        r = real(1 / numpy.sqrt(s / D + eps))
        for i in range(D):
            y[n, i] = weight[i] * ((x[n, i] - m) * r) + bias[i]
        mean[n, 0], rstd[n, 0], left[n] = m, r, loses_digits(m, r)


@layer_norm_forward.cuda
def layer_norm_forward_cuda(
    x: Rows, weight: Vector | None, bias: Vector | None, eps: float
) -> tuple[Array, ...]:
    """One kernel: every row is read once and written once."""
    return _kernels.forward_rows("layer_norm_forward", (x,), (weight, bias), 2, 1 / x.shape[1], eps)


@kernel
@in_blocks("dy", "x", "mean", "rstd", add=True, weight=1.0)
@exact_near_the_limits(POOL)
def layer_norm_backward(
    dy: Rows, x: Rows, weight: Vector | None, mean: Column, rstd: Column
) -> tuple[Rows, Vector, Vector]:
    """Return dx (N, D), dweight and dbias (D,)."""
    x_hat = (x - mean) * rstd
    g = weight * dy
    dx = rstd * (g - row_means(g) - x_hat * row_mean_products(g, x_hat))
    return dx, column_sums(dy * x_hat), column_sums(dy)


@layer_norm_backward.loops(dweight=VECTOR, dbias=VECTOR, weight=VECTOR)
def layer_norm_backward_loop(
    dy: Rows,
    x: Rows,
    weight: Vector,
    mean: Column,
    rstd: Column,
    dx: Rows,
    dweight: Vector,
    dbias: Vector,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: once for all sums, once to write dx."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        m, r = mean[n, 0], rstd[n, 0]
        left[n] = is_near_the_limits(m, r)
        if left[n]:
            continue
        sum_g = sum_g_x_hat = zero
        for i in range(D):
            g, x_hat = weight[i] * dy[n, i], (x[n, i] - m) * r
            sum_g += g
            sum_g_x_hat += g * x_hat
            dweight[i] += dy[n, i] * x_hat
            dbias[i] += dy[n, i]
        mean_g, mean_g_x_hat = real(sum_g / D), real(sum_g_x_hat / D)
        for i in range(D):
            g, x_hat = weight[i] * dy[n, i], (x[n, i] - m) * r
            dx[n, i] = r * (g - mean_g - x_hat * mean_g_x_hat)


@layer_norm_backward.cuda
def layer_norm_backward_cuda(
    dy: Rows, x: Rows, weight: Vector | None, mean: Column, rstd: Column
) -> tuple[Array, ...]:
    """One kernel for dx and, block by block, for dweight and dbias; a second one adds the blocks up."""
    return _kernels.backward_rows("layer_norm_backward", (dy, x), (mean, rstd), weight, 2)


class LayerNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each row"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Shape, eps: float
    ) -> Array:
        self.normalized_shape = normalized_shape
        rows, weight, bias = as_rows(normalized_shape, x, weight, bias)
        y, mean, rstd = layer_norm_forward(rows, weight, bias, eps)
        self.saved = rows, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = layer_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        shape = self.normalized_shape
        return dx.reshape(dy.shape), dweight.reshape(shape), dbias.reshape(shape)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each sample over its last axes, then scale and shift.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one mean and one variance.
        weight: of that shape, or None.
        bias: of that shape, or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the last sizes of the input, or the shape of weight or bias, are not
            `normalized_shape`, or if eps is negative.

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    shape = check_rows(input, normalized_shape, eps, "layer_norm", weight=weight, bias=bias)
    return LayerNormFunction.apply(input, weight, bias, normalized_shape=shape, eps=eps)


class LayerNorm(Module):
    """Layer normalization with learned weight (ones) and bias (zeros) of shape `normalized_shape`.

    Takes and returns (..., *normalized_shape). With `memory_efficient`, apex's name, the output is kept for
    the backward, not the input: see memory_efficient_layer_norm.
    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    from_output: ClassVar[Callable[..., Tensor]]  # memoryefficient.py, which is made from this file, sets it

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        check_flags(elementwise_affine=elementwise_affine, bias=bias, memory_efficient=memory_efficient)
        self.normalized_shape = as_shape(normalized_shape)
        check_eps(eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.memory_efficient = memory_efficient
        ones = numpy.ones(self.normalized_shape, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if elementwise_affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        if self.memory_efficient:
            return self.from_output(input, self.normalized_shape, self.weight, self.bias, self.eps)
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        kept = ", memory_efficient=True" if self.memory_efficient else ""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}{kept}"


register(
    name="layer_norm",
    function=layer_norm,
    composed=layer_norm_composed,
    inputs=("input", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 8), (8,), (8,)), {"normalized_shape": (8,)}),
        Case(((4, 8), None, None), {"normalized_shape": (8,)}),
        Case(((2, 3, 5), (5,), None), {"normalized_shape": (5,), "eps": 1e-3}),
        Case(((2, 3, 5), None, (5,)), {"normalized_shape": (5,)}),
        Case(((2, 3, 4), (3, 4), (3, 4)), {"normalized_shape": (3, 4)}),
        Case(((2, 3, 2, 2), (3, 2, 2), (3, 2, 2)), {"normalized_shape": (3, 2, 2)}),
        Case(((3, 1), (1,), (1,)), {"normalized_shape": (1,)}),
        Case(((0, 4), (4,), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(lambda: layer_norm(Tensor(numpy.ones((2, 3))), (4,)), ValueError, "last sizes"),
        ErrorCase(lambda: layer_norm(Tensor(numpy.ones((2, 3), int)), (3,)), TypeError, "floating-point"),
        ErrorCase(
            lambda: layer_norm(Tensor(numpy.ones((2, 3))), (3,), Tensor(numpy.ones(2))), ValueError, "weight"
        ),
        ErrorCase(lambda: layer_norm(Tensor(numpy.ones((2, 3))), (3,), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: layer_norm([[1.0, 2.0]], (2,)), TypeError, "Tensor"),  # type: ignore[arg-type]
        ErrorCase(lambda: LayerNorm((3, 0)), ValueError, "positive"),
    ),
    kind="normalization",
    title="LayerNorm",
    paper="Ba, Kiros, Hinton 2016, arXiv:1607.06450",
    pool="the last axes of each sample",
    torch="torch.nn.functional.layer_norm",
    bench=tuple(
        Case((shape, shape[-1:], shape[-1:]), {"normalized_shape": shape[-1:]})
        for shape in ((64, 64), (64, 128), (512, 768), (4096, 1024), (8192, 4096))
    ),
)
