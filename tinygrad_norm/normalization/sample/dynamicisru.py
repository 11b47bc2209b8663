"""DyISRU: x over √(β + x²), with one learned β, stands where a normalization would.

    x (..., D)   h = √(β + x²)   t = x/h   y = w·√D·t + b

β is one positive number, (1,); w and b are (D,), where D stands for all of their axes. t is between -1 and 1:
the inverse square root unit. There are no statistics: every entry is on its own.

In the code: β beta, h length, w weight, b bias.

Stollenwerk 2025, arXiv:2503.21708.

Backward, from dy = dL/dy. All rows share w and b:

    dw = Σrows dy·√D·t      db = Σrows dy      g := dL/dt = √D·w·dy

t moves with its own x and with β, straight and through h:

    to x    ∂h/∂x = x/h = t        ∂t/∂x = 1/h - x·t/h² = (1 - t²)/h = β/h³
    to β    ∂h/∂β = 1/(2·h)        ∂t/∂β = -x/h²·1/(2·h) = -t/(2·h²), and all entries share β

    dx = β/h³·g      dβ = -½·Σ g·t/h²

Insight: RMS normalization is √D·x/√(x² + the squares of the other entries); here β takes the place of those
squares. An outlier much larger than all the rest comes out as ±√D from both.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import Array, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import column_sums, row_sum_products
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import Shape, as_shape, check_input, check_rows, check_vectors
from ...registry import Case, ErrorCase, positive, register
from ..core.moments import affine
from ..core.rows import as_rows

_kernels = CudaSource(str(Path(__file__).with_name("layernorm")), "../core/moments.cuh", "rowgradients.cuh")


def dynamic_isru_composed(
    input: Tensor, beta: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """DyISRU from primitives: autograd finds the gradients."""
    given = [vector for vector in (weight, bias) if vector is not None]
    D = math.prod(given[0].shape if given else input.shape[-1:])
    return affine(math.sqrt(D) * input / (beta + input * input).sqrt(), weight, bias)


def _length(x: Array, beta: Array) -> Array:
    """Return h = √(β + x²), whose square may overflow."""
    xp = namespace(x)
    return xp.hypot(x, xp.sqrt(beta))


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
def dynamic_isru_forward(x: Rows, beta: Vector, weight: Vector | None, bias: Vector | None) -> Rows:
    """Return y (N, D), for x (N, D), beta (1,), weight and bias (D,)."""
    return weight * (math.sqrt(x.shape[1]) * (x / _length(x, beta))) + bias


@kernel
@in_blocks("dy", "x", add=True, weight=1.0)
def dynamic_isru_backward(
    dy: Rows, x: Rows, beta: Vector, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector]:
    """Return dx (N, D), dbeta (1,), dweight and dbias (D,)."""
    length, root = _length(x, beta), math.sqrt(x.shape[1])
    t, g = x / length, weight * dy * root
    slope = beta / length / length / length + 0 * t  # NaN at infinity, as t is
    dbeta = -0.5 * column_sums(row_sum_products(g / length, t / length))
    return slope * g, dbeta, root * column_sums(dy * t), column_sums(dy)


@dynamic_isru_backward.cuda
def dynamic_isru_backward_cuda(
    dy: Rows, x: Rows, beta: Vector, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector]:
    """One kernel for all sums of columns, one for their sum; the products are elementwise."""
    dy_wide, wide, beta = upcast(dy), upcast(x), upcast(beta)
    length, root = _length(wide, beta), math.sqrt(x.shape[1])
    t, g = wide / length, root * dy_wide if weight is None else root * weight * dy_wide
    sums = _kernels.sum_columns(namespace(x).stack((g / length * (t / length), root * dy_wide * t, dy_wide)))
    slope = beta / length / length / length + 0 * t
    return downcast(slope * g, dy), -0.5 * _kernels.sum_columns(sums[0][:, None]), sums[1], sums[2]


class DynamicISRUFunction(Function):
    """y = w·√D·x/h + b, h = √(β + x²) · dx = β/h³·√D·w·dy"""

    def forward(
        self, x: Array, beta: Array, weight: Array | None, bias: Array | None, *, shape: Shape
    ) -> Array:
        self.shape = shape
        rows, weight, bias = as_rows(shape, x, weight, bias)
        self.saved = rows, beta, weight
        return dynamic_isru_forward(rows, beta, weight, bias).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dbeta, *vectors = dynamic_isru_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dbeta, *[d.reshape(self.shape) for d in vectors]


def dynamic_isru(
    input: Tensor, beta: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Return weight·√D·input/√(beta + input²) + bias, with D entries in a row.

    Args:
        input: (..., *shape) with the shape of weight and bias.
        beta: (1,), positive, in units of input². A beta that is not positive is not looked for, as that would
            wait for a GPU: it gives NaN.
        weight: of the last sizes of the input, or None.
        bias: of the same shape, or None.

    Raises:
        TypeError: if the input is not a floating-point tensor, or another dtype does not fit it.
        ValueError: if beta is not (1,), if the input has no axes, or if the shape of weight or bias is not
            that of the last axes of the input.

    Source: Stollenwerk 2025, arXiv:2503.21708.
    """
    check_input(input, "dynamic_isru")
    given = [vector for vector in (weight, bias) if vector is not None]
    shape = given[0].shape if given else input.shape[-1:]
    shape = check_rows(input, shape, 0.0, "dynamic_isru", weight=weight, bias=bias)
    check_vectors(input, (1,), beta=beta)
    return DynamicISRUFunction.apply(input, beta, weight, bias, shape=shape)


class DyISRU(Module):
    """DyISRU of (..., dim), with learned beta (1,), weight (dim,) of ones and bias (dim,) of zeros.

    Several axes are given as a sequence, as in LayerNorm. beta starts at the number of features, unless it is
    given: an input with entries of size 1 then keeps about that size. That start is ours, not the paper's.

    Nothing keeps a learned beta positive, and one that is not gives NaN. Call `clip_beta_()` after each step
    of the optimizer, or once, `optimizer.register_step_post_hook(lambda *_: layer.clip_beta_())`.
    Source: Stollenwerk 2025, arXiv:2503.21708.
    """

    def __init__(self, dim: int | Sequence[int], beta: float | None = None) -> None:
        super().__init__()
        self.dim = as_shape(dim)
        start = math.prod(self.dim) if beta is None else as_number(beta, "beta")
        if not start > 0:
            raise ValueError(f"beta must be positive, got {beta}")
        self.beta = Parameter(numpy.full(1, start, numpy.float32))
        self.weight = Parameter(numpy.ones(self.dim, numpy.float32))
        self.bias = Parameter(numpy.zeros(self.dim, numpy.float32))

    @no_grad()
    def clip_beta_(self, min: float = 1e-6) -> None:
        """Set a beta below `min`, which is positive, to it: in units of input².

        Raises:
            ValueError: if min is not positive.
        """
        if not as_number(min, "min") > 0:
            raise ValueError(f"min must be positive, got {min}")
        self.beta.clamp_(min=min)

    def forward(self, input: Tensor) -> Tensor:
        return dynamic_isru(input, self.beta, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.dim}"


register(
    name="dynamic_isru",
    function=dynamic_isru,
    composed=dynamic_isru_composed,
    parameters=("beta", "weight", "bias"),
    cases=(
        Case(((4, 5), positive(1), (5,), (5,))),
        Case(((2, 3, 4), positive(1), (4,), None)),
        Case(((2, 3, 4), positive(1), None, (3, 4))),
        Case(((2, 7), positive(1), None, None)),
        Case(((0, 4), positive(1), (4,), (4,))),
    ),
    errors=(
        ErrorCase(lambda: dynamic_isru(ones(2, 3, dtype=int), ones(1)), TypeError, "floating-point"),
        ErrorCase(lambda: dynamic_isru(ones(2, 3), ones(3)), ValueError, "beta has shape (3,)"),
        ErrorCase(lambda: dynamic_isru(ones(2, 3), ones(1), ones(2)), ValueError, "last sizes"),
        ErrorCase(lambda: DyISRU(3, 0.0), ValueError, "positive, got 0.0"),
        ErrorCase(lambda: DyISRU(3).clip_beta_(0.0), ValueError, "min must be positive"),
        ErrorCase(lambda: DyISRU(3, "1"), TypeError, "beta"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="DyISRU",
    paper="Stollenwerk 2025, arXiv:2503.21708",
    pool="none: every entry on its own",
    bench=(Case(((512, 768), positive(1), (768,), (768,))),),
)
