"""Residual sum and RMS normalization in one: the two steps between any two blocks of a transformer.

    x, z (..., D)   s = x + z   y = rms_norm(s)

as in addnorm.py: y goes into the next block, s on along the residual stream; both are outputs.

In the code: x input, z residual, s their sum, dx the gradient of both.

Pre-norm transformers: Xiong et al. 2020, arXiv:2002.04745; RMSNorm: Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, from dy = dL/dy and ds, the gradient that comes back along the stream. x and z reach L through s
alone, with slope 1, and s along two paths, which add:

    straight      ds
    through norm  r·(g - ŝ·mean(g·ŝ)) with g = w·dy and ŝ = s·r, as rmsnorm.py derives it

    dx = dz = ds + r·(g - ŝ·mean(g·ŝ))      dw = Σrows dy·ŝ

Insight: of a row, only its length is kept between forward and backward: one number, and s, which the stream
carries anyway.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import COLUMN, ROWS, VECTOR
from ...ops.checks import check_rows
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from ..core.exactness import is_near_the_limits, loses_digits
from ..core.residual import check_residual, residual_sum
from ..core.rows import as_rows, machine_eps
from .addnorm import BENCH_SHAPES, _kernels
from .rmsnorm import RMSNorm, rms_norm_backward, rms_norm_composed, rms_norm_forward


def add_rms_norm_composed(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum and RMS normalization from primitives: autograd finds the gradient."""
    s = input + residual
    return rms_norm_composed(s, normalized_shape, weight, eps), s


@kernel
def add_rms_norm_forward(x: Rows, z: Rows, weight: Vector | None, eps: float) -> tuple[Rows, Rows, Column]:
    """Return y, s and rstd: x and z (N, D), weight (D,), rstd (N, 1)."""
    s = residual_sum(x, z)
    y, rstd = rms_norm_forward(s, weight, eps)
    return y, s, rstd


@add_rms_norm_forward.loops(in_blocks("x", "z", weight=1.0), s=ROWS, rstd=COLUMN, weight=VECTOR)
def add_rms_norm_forward_loop(
    x: Rows,
    z: Rows,
    weight: Vector,
    eps: float,
    y: Rows,
    s: Rows,
    rstd: Column,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: s is written while r is found, and read again for y."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        sum_squares = zero
        for i in range(D):
            s[n, i] = x[n, i] + z[n, i]
            sum_squares += (x[n, i] + z[n, i]) * (x[n, i] + z[n, i])
        r = real(1 / numpy.sqrt(sum_squares / D + eps))
        for i in range(D):
            y[n, i] = weight[i] * (s[n, i] * r)
        rstd[n, 0], left[n] = r, loses_digits(0, r)


@add_rms_norm_forward.cuda
def add_rms_norm_forward_cuda(x: Rows, z: Rows, weight: Vector | None, eps: float) -> tuple[Array, ...]:
    """One kernel: x and z are read once, s and y are written once."""
    return _kernels.forward_rows("add_rms_norm_forward", (x, z), (weight,), 1, 1 / x.shape[1], eps)


@kernel
def add_rms_norm_backward(
    dy: Rows, ds: Rows, s: Rows, weight: Vector | None, rstd: Column
) -> tuple[Rows, Vector]:
    """Return dx (N, D) and dweight (D,)."""
    dx, dweight = rms_norm_backward(dy, s, weight, rstd)
    return ds + dx, dweight


@add_rms_norm_backward.loops(
    in_blocks("dy", "ds", "s", "rstd", add=True, weight=1.0), dweight=VECTOR, weight=VECTOR
)
def add_rms_norm_backward_loop(
    dy: Rows,
    ds: Rows,
    s: Rows,
    weight: Vector,
    rstd: Column,
    dx: Rows,
    dweight: Vector,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: once for all sums, once to write dx, to which ds is added."""
    (N, D), real = s.shape, s.dtype.type
    for n in range(N):
        r = rstd[n, 0]
        left[n] = is_near_the_limits(0, r)
        if left[n]:
            continue
        sum_g_x_hat = zero
        for i in range(D):
            x_hat = s[n, i] * r
            sum_g_x_hat += weight[i] * dy[n, i] * x_hat
            dweight[i] += dy[n, i] * x_hat
        mean_g_x_hat = real(sum_g_x_hat / D)
        for i in range(D):
            dx[n, i] = ds[n, i] + r * (weight[i] * dy[n, i] - s[n, i] * r * mean_g_x_hat)


@add_rms_norm_backward.cuda
def add_rms_norm_backward_cuda(
    dy: Rows, ds: Rows, s: Rows, weight: Vector | None, rstd: Column
) -> tuple[Array, ...]:
    """One kernel for dx and, block by block, for dweight; a second one adds the blocks up."""
    return _kernels.backward_rows("add_rms_norm_backward", (dy, ds, s), (rstd,), weight, 1)


class AddRMSNormFunction(Function):
    """s = x + z, y = w·s·r · dx = dz = ds + r·(g - x̂·mean(g·x̂)) with g = w·dy"""

    def forward(
        self, x: Array, z: Array, weight: Array | None, *, normalized_shape: Shape, eps: float
    ) -> tuple[Array, Array]:
        rows, weight = as_rows(normalized_shape, x, weight)
        y, s, rstd = add_rms_norm_forward(rows, z.reshape(rows.shape), weight, eps)
        self.normalized_shape = normalized_shape
        self.saved = s, weight, rstd
        return y.reshape(x.shape), s.reshape(x.shape)

    def backward(self, dy: Array, ds: Array) -> Gradients:
        shape = self.saved[0].shape
        dx, dweight = add_rms_norm_backward(dy.reshape(shape), ds.reshape(shape), *self.saved)
        dx = dx.reshape(dy.shape)
        return dx, dx, dweight.reshape(self.normalized_shape)


def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return rms_norm(input + residual, ...) and input + residual, in one pass.

    Args:
        input: (..., *normalized_shape).
        residual: of the shape and dtype of input.
        normalized_shape: the sizes of the last axes, which share one root mean square.
        weight: of that shape, or None.
        eps: added to the mean square, in units of input²; None is the machine epsilon of the dtype that is
            computed in: float64, or float32, also for half types.

    Raises:
        TypeError: if the input is not a floating-point tensor, or the residual has another dtype.
        ValueError: if the last sizes of the input are not `normalized_shape`, or the shape of residual or
            weight does not fit, or if eps is negative.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467; the place of it: Xiong et al. 2020, arXiv:2002.04745.
    """
    shape = check_rows(input, normalized_shape, eps or 0.0, "add_rms_norm", weight=weight)
    check_residual(input, residual)
    eps = machine_eps(input) if eps is None else eps
    return AddRMSNormFunction.apply(input, residual, weight, normalized_shape=shape, eps=eps)


class AddRMSNorm(RMSNorm):
    """RMSNorm of input + residual, which is returned too: y and the sum, both (..., *normalized_shape)."""

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        if self.input_scaled:
            check_residual(input, residual)
            s = input + residual
            return super().forward(s), s
        return add_rms_norm(input, residual, self.normalized_shape, self._scale(), self.eps)


def _torch_rms_norm(
    torch: Any, input: Any, residual: Any, weight: Any, normalized_shape: Shape, eps: float | None = None
) -> Any:
    s = input + residual
    return torch.nn.functional.rms_norm(s, normalized_shape, weight, eps), s


register(
    name="add_rms_norm",
    function=add_rms_norm,
    composed=add_rms_norm_composed,
    inputs=("input", "residual", "weight"),
    parameters=("weight",),
    cases=(
        Case(((4, 8), (4, 8), (8,)), {"normalized_shape": (8,), "eps": 1e-5}),
        Case(((4, 8), (4, 8), None), {"normalized_shape": (8,), "eps": 1e-5}),
        Case(((2, 3, 4), (2, 3, 4), (3, 4)), {"normalized_shape": (3, 4), "eps": 1e-3}),
        Case(((0, 4), (0, 4), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(
            lambda: add_rms_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones(3)), 3),
            ValueError,
            "residual has shape (3,)",
        ),
        ErrorCase(
            lambda: add_rms_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones((2, 3))), 3, eps=-1.0),
            ValueError,
            "eps",
        ),
    ),
    kind="normalization",
    title="Residual sum + RMSNorm",
    paper="Xiong et al. 2020, arXiv:2002.04745",
    pool="the last axes of each sample, no mean",
    torch=_torch_rms_norm,
    bench=tuple(Case((s, s, s[-1:]), {"normalized_shape": s[-1:]}) for s in BENCH_SHAPES),
)
