"""RMS normalization: every row is divided by its root mean square. No centering, no bias.

    x (..., D)   r = 1/√(mean(x²) + eps)   x̂ = x·r   y = w·x̂

r is one number per row; w is (D,), where D stands for all of `normalized_shape`.

In the code: r rstd, x̂ x_hat, w weight.

Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, for one row, from dy = dL/dy:

    dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

    straight   r·g
    through r  Σ(g·x) · (-r³/2) · (2/D)·x = -r·x̂·mean(g·x̂)

    dx = r·(g - x̂·mean(g·x̂))

and, in sums over x, as the code has it, so that x̂ need not be made:

    dx = r·(g - x·r²·Σ(g·x)/D)      dw = Σrows r·dy·x

Insight: it is LayerNorm without the path through the mean, so only the direction x̂ is removed from
the gradient. At eps = 0 a row is √D times its L2 normalization.
"""

from collections.abc import Sequence

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import column_sums, number, row_sums, run
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.launch import (
    CudaSource,
    contiguous,
    kept_bytes,
    persistent_blocks,
    teams,
    wide,
    wide_empty,
)
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...module import Module, Parameter
from ...ops.checks import Shape, as_shape, check_normalized_shape, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.moments import check_eps, is_extreme, mean_square_rsqrt
from ..core.rows import as_rows, as_vector

_kernels = CudaSource(__file__, "../core/moments.cuh")


def rms_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization from primitives: autograd finds the gradient."""
    eps = float(numpy.finfo(input.dtype).eps) if eps is None else eps
    axes = tuple(range(-len(as_shape(normalized_shape)), 0))
    y = input * ((input * input).mean(axes, keepdim=True) + eps) ** -0.5
    return y if weight is None else y * weight


@kernel
def rms_norm_forward(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """Return y and rstd: x (N, D), weight (D,), rstd (N, 1)."""
    y, rstd = run(_forward_rows, (upcast(x),), (weight, eps))
    return downcast(y, x), rstd


def _forward_rows(x: Array, weight: Array | None, eps: float, out: Array | None) -> tuple[Array, Array]:
    rstd = mean_square_rsqrt(x, (1,), eps)
    y = namespace(x).multiply(x, rstd, out=out)
    if weight is not None:
        y *= weight
    return y, rstd


@rms_norm_forward.cuda
def rms_norm_forward_cuda(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """One kernel: every row is read once and written once."""
    check_eps(eps)
    (N, D), (x,), (weight,) = x.shape, contiguous(x), wide(x, weight)
    y, rstd = namespace(x).empty_like(x), wide_empty(x, N, 1)
    shape = teams(D, x, y, weight)
    shared = kept_bytes(shape, D, x)
    args = x, weight, y, rstd, N, D, 1 / D, eps, shared > 0
    _kernels.launch("rms_norm_forward", x.dtype, shape.template, shape.blocks(N), shape.block, args, shared)
    return y, rstd


@kernel
def rms_norm_backward(dy: Array, x: Array, weight: Array | None, rstd: Array) -> tuple[Array, Array | None]:
    """Return dx (N, D) and dweight (D,), None without weight."""
    return run(_backward_rows, (upcast(dy), upcast(x), rstd), (weight,), add=True)


def _backward_rows(
    dy: Array, x: Array, rstd: Array, weight: Array | None, out: Array | None
) -> tuple[Array, Array | None]:
    xp, D = namespace(x), x.shape[1]
    if is_extreme(rstd):  # its cube leaves the range of the dtype: normalize first
        dx, dweight = _backward_rows(dy, x * rstd, xp.ones_like(rstd), weight, out)
        dx *= rstd
        return dx, dweight
    dy_x = xp.multiply(dy, x, out=out)
    dweight = None if weight is None else column_sums(dy_x, rstd)
    along_x = x * (row_sums(dy_x, weight) * (rstd * rstd * number(-1 / D, x)))
    g = dy if weight is None else xp.multiply(dy, weight, out=dy_x)
    dx = xp.add(g, along_x, out=dy_x)
    dx *= rstd
    return dx, dweight


@rms_norm_backward.cuda
def rms_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, rstd: Array
) -> tuple[Array, Array | None]:
    """One kernel for dx and, block by block, for dweight; a second one adds the blocks up."""
    (N, D), (dy, x), (weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    shape = teams(D, x, dy, weight, shapes=BACKWARD_SHAPES)
    blocks = persistent_blocks(shape, N, x)
    dx, dweights = namespace(x).empty_like(x), wide_empty(x, blocks, D)
    shared = D * dweights.itemsize if shape.per_block > 1 else 0
    args = dy, x, weight, rstd, dx, dweights, N, D, 1 / D
    _kernels.launch("rms_norm_backward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return dx, None if weight is None else _kernels.sum_columns(dweights)


class RMSNormFunction(Function):
    """y = w·x·r · dx = r·(g - x̂·mean(g·x̂)) with g = w·dy, means over each row"""

    def forward(self, x: Array, weight: Array | None, *, normalized_shape: Shape, eps: float) -> Array:
        self.shapes = x.shape, normalized_shape
        rows, weight = as_rows(x, normalized_shape), as_vector(weight)
        y, rstd = rms_norm_forward(rows, weight, eps)
        self.saved = rows, weight, rstd
        return y if rows is x else y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        x_shape, normalized_shape = self.shapes
        rows = as_rows(dy, normalized_shape)
        dx, dweight = rms_norm_backward(rows, *self.saved)
        if rows is dy:
            return dx, dweight
        return dx.reshape(x_shape), None if dweight is None else dweight.reshape(normalized_shape)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide each sample by its root mean square over the last axes, then scale.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one root mean square.
        weight: of that shape, or None.
        eps: added to the mean square, in units of input²; None is the machine epsilon of the dtype.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: where the last sizes of the input, or the shape of weight, differ.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """
    shape = check_normalized_shape(input, normalized_shape, "rms_norm")
    check_vectors(input, shape, weight=weight)
    eps = float(numpy.finfo(input.dtype).eps) if eps is None else eps
    return RMSNormFunction.apply(input, weight, normalized_shape=shape, eps=eps)


class RMSNorm(Module):
    """RMS normalization with a learned weight (ones) of shape `normalized_shape`.

    Takes and returns (..., *normalized_shape). Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = as_shape(normalized_shape)
        if eps is not None:
            check_eps(eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        ones = numpy.ones(self.normalized_shape, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


register(
    name="rms_norm",
    function=rms_norm,
    composed=rms_norm_composed,
    inputs=("input", "weight"),
    cases=(
        Case(((4, 8), (8,)), {"normalized_shape": (8,)}),
        Case(((4, 8), None), {"normalized_shape": (8,)}),
        Case(((2, 3, 5), None), {"normalized_shape": (5,), "eps": 1.0}),
        Case(((2, 3, 4), (3, 4)), {"normalized_shape": (3, 4), "eps": 1e-6}),
        Case(((0, 4), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3))), (4,)), ValueError, "last sizes"),
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3), int)), (3,)), TypeError, "floating-point"),
        ErrorCase(
            lambda: rms_norm(Tensor(numpy.ones((2, 3))), (3,), Tensor(numpy.ones(2))), ValueError, "weight"
        ),
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3))), (3,), eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="RMSNorm",
    paper="Zhang, Sennrich 2019, arXiv:1910.07467",
    pool="the last axes of each sample, no mean",
    torch="torch.nn.functional.rms_norm",
    bench=tuple(
        Case((shape, shape[-1:]), {"normalized_shape": shape[-1:]})
        for shape in ((64, 64), (512, 768), (4096, 1024))
    ),
)
