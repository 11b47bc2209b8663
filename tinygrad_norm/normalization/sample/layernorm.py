"""Layer normalization: every sample gets mean 0 and variance 1 over its own last axes.

    x (..., D)   m = mean(x)   r = 1/√(mean((x - m)²) + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m and r are one number per row; w and b are (D,). D stands for all of `normalized_shape`: an image
(N, C, H, W) normalized over (C, H, W) is N rows of D = C·H·W.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias.

Ba, Kiros, Hinton 2016, arXiv:1607.06450.

Backward, for one row, from dy = dL/dy:

    db = Σrows dy      dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

    straight   r·g
    through m  Σg·(-r)·(1/D)                      = -r·mean(g)          (r does not move with m: Σ(x-m) = 0)
    through r  Σ(g·(x-m)) · (-r³/2) · (2/D)·(x-m) = -r·x̂·mean(g·x̂)    (dr/dv = -r³/2, dv/dx = (2/D)·(x-m))

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

and, in sums over x - m, as the code has it (`centered`), so that x̂ need not be made:

    dx = r·(g - Σg/D - (x-m)·r²·Σ(g·(x-m))/D)      dw = Σrows r·dy·(x-m)

Insight: a row keeps its statistics to itself, so training and evaluation are one function and a batch
of one is as good as any other; the price is that no feature is ever compared across samples.
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
from ..core.moments import center, check_eps, is_extreme
from ..core.rows import as_rows, as_vector

_kernels = CudaSource(__file__, "../core/moments.cuh")


def layer_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization from primitives: autograd finds the gradient."""
    axes = tuple(range(-len(as_shape(normalized_shape)), 0))
    centered = input - input.mean(axes, keepdim=True)
    y = centered * ((centered * centered).mean(axes, keepdim=True) + eps) ** -0.5
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@kernel
def layer_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and rstd: x (N, D), weight and bias (D,), mean and rstd (N, 1)."""
    y, mean, rstd = run(_forward_rows, (upcast(x),), (weight, bias, eps))
    return downcast(y, x), mean, rstd


def _forward_rows(
    x: Array, weight: Array | None, bias: Array | None, eps: float, out: Array | None
) -> tuple[Array, Array, Array]:
    y, factor, mean, _, rstd = center(x, (1,), eps, out)
    y *= factor
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y, mean, rstd


@layer_norm_forward.cuda
def layer_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """One kernel: every row is read once and written once."""
    check_eps(eps)
    (N, D), (x,), (weight, bias) = x.shape, contiguous(x), wide(x, weight, bias)
    y, mean, rstd = namespace(x).empty_like(x), wide_empty(x, N, 1), wide_empty(x, N, 1)
    shape = teams(D, x, y, weight, bias)
    shared = kept_bytes(shape, D, x)
    args = x, weight, bias, y, mean, rstd, N, D, 1 / D, eps, shared > 0
    _kernels.launch("layer_norm_forward", x.dtype, shape.template, shape.blocks(N), shape.block, args, shared)
    return y, mean, rstd


@kernel
def layer_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, D), dweight and dbias (D,), None where there is no weight or bias."""
    return run(_backward_rows, (upcast(dy), upcast(x), mean, rstd), (weight, bias), add=True)


def _backward_rows(
    dy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    bias: Array | None,
    out: Array | None,
) -> tuple[Array, Array | None, Array | None]:
    xp, D = namespace(x), x.shape[1]
    if is_extreme(rstd):  # its cube leaves the range of the dtype: normalize first
        x_hat, ones = x * rstd - mean * rstd, xp.ones_like(rstd)
        dx, *affine = _backward_rows(dy, x_hat, 0 * ones, ones, weight, bias, out)
        dx *= rstd
        return dx, *affine
    centered = x - mean
    dy_centered = xp.multiply(dy, centered, out=out)
    dweight = None if weight is None else column_sums(dy_centered, rstd)
    dbias = None if bias is None else column_sums(dy)
    sum_g, sum_g_centered = row_sums(dy, weight), row_sums(dy_centered, weight)
    minus_each = number(-1 / D, x)
    centered *= sum_g_centered * (rstd * rstd * minus_each)
    centered += sum_g * minus_each
    g = dy if weight is None else xp.multiply(dy, weight, out=dy_centered)
    dx = xp.add(g, centered, out=dy_centered)
    dx *= rstd
    return dx, dweight, dbias


@layer_norm_backward.cuda
def layer_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """One kernel for dx and, block by block, for dweight and dbias; a second one adds the blocks up."""
    (N, D), (dy, x), (weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    shape = teams(D, x, dy, weight, shapes=BACKWARD_SHAPES)
    blocks = persistent_blocks(shape, N, x)
    dx, dweights, dbiases = namespace(x).empty_like(x), wide_empty(x, blocks, D), wide_empty(x, blocks, D)
    shared = D * dweights.itemsize if shape.per_block > 1 else 0
    args = dy, x, weight, mean, rstd, dx, dweights, dbiases, N, D, 1 / D
    _kernels.launch("layer_norm_backward", x.dtype, shape.template, blocks, shape.block, args, shared)
    dweight = None if weight is None else _kernels.sum_columns(dweights)
    return dx, dweight, None if bias is None else _kernels.sum_columns(dbiases)


class LayerNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each row"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Shape, eps: float
    ) -> Array:
        self.shapes = x.shape, normalized_shape
        rows, weight, bias = as_rows(x, normalized_shape), as_vector(weight), as_vector(bias)
        y, mean, rstd = layer_norm_forward(rows, weight, bias, eps)
        self.saved = rows, weight, bias, mean, rstd
        return y if rows is x else y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        x_shape, normalized_shape = self.shapes
        rows = as_rows(dy, normalized_shape)
        dx, *affine = layer_norm_backward(rows, *self.saved)
        if rows is dy:
            return dx, *affine
        return dx.reshape(x_shape), *[None if d is None else d.reshape(normalized_shape) for d in affine]


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
        TypeError: for an input that is no floating-point tensor.
        ValueError: where the last sizes of the input, or the shape of weight or bias, differ.

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    shape = check_normalized_shape(input, normalized_shape, "layer_norm")
    check_vectors(input, shape, weight=weight, bias=bias)
    return LayerNormFunction.apply(input, weight, bias, normalized_shape=shape, eps=eps)


class LayerNorm(Module):
    """Layer normalization with learned weight (ones) and bias (zeros) of shape `normalized_shape`.

    Takes and returns (..., *normalized_shape). Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = as_shape(normalized_shape)
        check_eps(eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        ones = numpy.ones(self.normalized_shape, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if elementwise_affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


register(
    name="layer_norm",
    function=layer_norm,
    composed=layer_norm_composed,
    inputs=("input", "weight", "bias"),
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
