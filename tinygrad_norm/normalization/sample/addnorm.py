"""Residual sum and normalization in one: the two steps between any two blocks of a transformer.

    x, z (..., D)   s = x + z   y = layer_norm(s)   (addrmsnorm.py: y = rms_norm(s))

y goes into the next block, s on along the residual stream; both are outputs. Here x is what a block has
made and z the stream it came from, and they may change places.

In the code: x input, z residual, s their sum, dx the gradient of both.

Pre-norm transformers: Xiong et al. 2020, arXiv:2002.04745; the normalizations: Ba, Kiros, Hinton 2016,
arXiv:1607.06450 and Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, from dy = dL/dy and ds, the gradient that comes back along the stream. s reaches L along two
paths, and the paths add; x and z reach it through s alone, with slope 1:

    straight      ds
    through norm  the norm's own dx, as layernorm.py derives it from dy

    dx = dz = ds + dx of the norm      dw, db as the norm has them

Insight: there is nothing to derive, but much to save. As three steps, the sum is written, read again by
the norm, and its two gradients are added in a pass of their own; as one, the sum is normalized while it
is at hand, and ds is added while dx is.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import COLUMN, ROWS, VECTOR
from ...backends.cuda.launch import CudaSource
from ...ops.checks import check_rows
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from ..core.exactness import is_near_the_limits, loses_digits
from ..core.residual import check_residual, residual_sum
from ..core.rows import as_rows
from .layernorm import LayerNorm, layer_norm_backward, layer_norm_composed, layer_norm_forward

_kernels = CudaSource(__file__, "../core/moments.cuh", "rowgradients.cuh")


def add_layer_norm_composed(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Sum and layer normalization from primitives: autograd finds the gradient."""
    s = input + residual
    return layer_norm_composed(s, normalized_shape, weight, bias, eps), s


@kernel
def add_layer_norm_forward(
    x: Rows, z: Rows, weight: Vector | None, bias: Vector | None, eps: float
) -> tuple[Rows, Rows, Column, Column]:
    """Return y, s, mean and rstd: x and z (N, D), weight and bias (D,), mean and rstd (N, 1)."""
    s = residual_sum(x, z)
    y, mean, rstd = layer_norm_forward(s, weight, bias, eps)
    return y, s, mean, rstd


@add_layer_norm_forward.loops(
    in_blocks("x", "z", weight=1.0, bias=0.0), s=ROWS, mean=COLUMN, rstd=COLUMN, weight=VECTOR, bias=VECTOR
)
def add_layer_norm_forward_loop(
    x: Rows,
    z: Rows,
    weight: Vector,
    bias: Vector,
    eps: float,
    y: Rows,
    s: Rows,
    mean: Column,
    rstd: Column,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: s is written while m is found, read again for r, and for y."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        sum_s = zero
        for i in range(D):
            s[n, i] = x[n, i] + z[n, i]
            sum_s += x[n, i] + z[n, i]
        m = real(sum_s / D)
        sum_squares = zero
        for i in range(D):
            sum_squares += (s[n, i] - m) * (s[n, i] - m)
        r = real(1 / numpy.sqrt(sum_squares / D + eps))
        for i in range(D):
            y[n, i] = weight[i] * ((s[n, i] - m) * r) + bias[i]
        mean[n, 0], rstd[n, 0], left[n] = m, r, loses_digits(m, r)


@add_layer_norm_forward.cuda
def add_layer_norm_forward_cuda(
    x: Rows, z: Rows, weight: Vector | None, bias: Vector | None, eps: float
) -> tuple[Array, ...]:
    """One kernel: x and z are read once, s and y are written once."""
    return _kernels.forward_rows("add_layer_norm_forward", (x, z), (weight, bias), 2, 1 / x.shape[1], eps)


@kernel
def add_layer_norm_backward(
    dy: Rows, ds: Rows, s: Rows, weight: Vector | None, mean: Column, rstd: Column
) -> tuple[Rows, Vector, Vector]:
    """Return dx (N, D), dweight and dbias (D,)."""
    dx, dweight, dbias = layer_norm_backward(dy, s, weight, mean, rstd)
    return ds + dx, dweight, dbias


@add_layer_norm_backward.loops(
    in_blocks("dy", "ds", "s", "mean", "rstd", add=True, weight=1.0),
    dweight=VECTOR,
    dbias=VECTOR,
    weight=VECTOR,
)
def add_layer_norm_backward_loop(
    dy: Rows,
    ds: Rows,
    s: Rows,
    weight: Vector,
    mean: Column,
    rstd: Column,
    dx: Rows,
    dweight: Vector,
    dbias: Vector,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: once for all sums, once to write dx, to which ds is added."""
    (N, D), real = s.shape, s.dtype.type
    for n in range(N):
        m, r = mean[n, 0], rstd[n, 0]
        left[n] = is_near_the_limits(m, r)
        if left[n]:
            continue
        sum_g = sum_g_x_hat = zero
        for i in range(D):
            g, x_hat = weight[i] * dy[n, i], (s[n, i] - m) * r
            sum_g += g
            sum_g_x_hat += g * x_hat
            dweight[i] += dy[n, i] * x_hat
            dbias[i] += dy[n, i]
        mean_g, mean_g_x_hat = real(sum_g / D), real(sum_g_x_hat / D)
        for i in range(D):
            g, x_hat = weight[i] * dy[n, i], (s[n, i] - m) * r
            dx[n, i] = ds[n, i] + r * (g - mean_g - x_hat * mean_g_x_hat)


@add_layer_norm_backward.cuda
def add_layer_norm_backward_cuda(
    dy: Rows, ds: Rows, s: Rows, weight: Vector | None, mean: Column, rstd: Column
) -> tuple[Array, ...]:
    """One kernel for dx and, block by block, for dweight and dbias; a second one adds the blocks up."""
    return _kernels.backward_rows("add_layer_norm_backward", (dy, ds, s), (mean, rstd), weight, 2)


class AddLayerNormFunction(Function):
    """s = x + z, y = w·(s - m)·r + b · dx = dz = ds + r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy"""

    def forward(
        self,
        x: Array,
        z: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        normalized_shape: Shape,
        eps: float,
    ) -> tuple[Array, Array]:
        rows, weight, bias = as_rows(normalized_shape, x, weight, bias)
        y, s, mean, rstd = add_layer_norm_forward(rows, z.reshape(rows.shape), weight, bias, eps)
        self.normalized_shape = normalized_shape
        self.saved = s, weight, mean, rstd
        return y.reshape(x.shape), s.reshape(x.shape)

    def backward(self, dy: Array, ds: Array) -> Gradients:
        shape = self.saved[0].shape
        dx, *affine = add_layer_norm_backward(dy.reshape(shape), ds.reshape(shape), *self.saved)
        dx = dx.reshape(dy.shape)
        return dx, dx, *[d.reshape(self.normalized_shape) for d in affine]


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Return layer_norm(input + residual, ...) and input + residual, in one pass.

    Args:
        input: (..., *normalized_shape).
        residual: of the shape and dtype of input.
        normalized_shape: the sizes of the last axes, which share one mean and one variance.
        weight: of that shape, or None.
        bias: of that shape, or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or the residual has another dtype.
        ValueError: if the last sizes of the input are not `normalized_shape`, or the shape of residual,
            weight or bias does not fit, or if eps is negative.

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450; the place of it: Xiong et al. 2020, arXiv:2002.04745.
    """
    shape = check_rows(input, normalized_shape, eps, "add_layer_norm", weight=weight, bias=bias)
    check_residual(input, residual)
    return AddLayerNormFunction.apply(input, residual, weight, bias, normalized_shape=shape, eps=eps)


class AddLayerNorm(LayerNorm):
    """LayerNorm of input + residual, which is returned too: y and the sum, both (..., *normalized_shape)."""

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return add_layer_norm(input, residual, self.normalized_shape, self.weight, self.bias, self.eps)


BENCH_SHAPES = ((64, 64), (512, 768), (4096, 1024))


def _torch_layer_norm(
    torch: Any,
    input: Any,
    residual: Any,
    weight: Any,
    bias: Any,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> Any:
    s = input + residual
    return torch.nn.functional.layer_norm(s, normalized_shape, weight, bias, eps), s


register(
    name="add_layer_norm",
    function=add_layer_norm,
    composed=add_layer_norm_composed,
    inputs=("input", "residual", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 8), (4, 8), (8,), (8,)), {"normalized_shape": (8,)}),
        Case(((4, 8), (4, 8), None, None), {"normalized_shape": (8,)}),
        Case(((2, 3, 5), (2, 3, 5), (5,), None), {"normalized_shape": (5,), "eps": 1e-3}),
        Case(((2, 3, 4), (2, 3, 4), (3, 4), (3, 4)), {"normalized_shape": (3, 4)}),
        Case(((0, 4), (0, 4), (4,), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones(3)), 3),
            ValueError,
            "residual has shape (3,)",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), Tensor(numpy.ones(3, numpy.float32)), 3),
            TypeError,
            "residual is of float32",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), 1.0, 3),  # type: ignore[arg-type]
            TypeError,
            "residual must be a Tensor",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), Tensor(numpy.ones(3)), 4), ValueError, "last sizes"
        ),
    ),
    kind="normalization",
    title="Residual sum + LayerNorm",
    paper="Xiong et al. 2020, arXiv:2002.04745",
    pool="the last axes of each sample",
    torch=_torch_layer_norm,
    bench=tuple(Case((s, s, s[-1:], s[-1:]), {"normalized_shape": s[-1:]}) for s in BENCH_SHAPES),
)
