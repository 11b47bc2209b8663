"""Derf: the error function, with a learned steepness and shift, stands where a normalization would.

    x (..., D)   u = α·x + s   t = erf(u)   y = w·t + b

α and s are one number each, (1,); w and b are (D,), where D stands for all of their axes. It is dynamic tanh
(dynamictanh.py) with another S-curve and a shift inside. There are no statistics: every entry is on its own.

In the code: α alpha, s shift, w weight, b bias.

Chen et al. 2025, arXiv:2512.10938.

Backward, from dy = dL/dy. All rows share w and b:

    dw = Σrows dy·t      db = Σrows dy      g := dL/dt = w·dy

The slope of t is that of erf: ∂t/∂u = 2/√π·exp(-u²). Three paths start at u = α·x + s:

    to x    ∂u/∂x = α    α·q
    to α    ∂u/∂α = x    q·x, and all entries share α, so the chain rule adds up
    to s    ∂u/∂s = 1    q, and all entries share s

    dx = α·q      dα = Σ q·x      ds = Σ q      with q = 2/√π·exp(-u²)·g

Insight: the slope falls like exp(-u²), where tanh's falls like exp(-2|u|): from a few units on an entry has
no gradient at all, and nothing but α and s can bring it back.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_math import erf, exp_of_negative
from ...backends.cpu.pool_loops import VECTOR
from ...backends.cpu.sums import column_sums, row_sum_products, row_sums
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import Shape, as_shape, check_input, check_rows, check_vectors
from ...ops.error_function import erf_forward
from ...registry import Case, ErrorCase, register
from ..core.moments import affine
from ..core.rows import as_rows

_kernels = CudaSource(str(Path(__file__).with_name("layernorm")), "../core/moments.cuh", "rowgradients.cuh")
_SLOPE_AT_0 = 2 / math.sqrt(math.pi)


def dynamic_erf_composed(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Derf from primitives: autograd finds the gradients."""
    u = input * alpha if shift is None else input * alpha + shift
    return affine(u.erf(), weight, bias)


@kernel
@in_blocks("x", shift=0.0, weight=1.0, bias=0.0)
def dynamic_erf_forward(
    x: Rows, alpha: Vector, shift: Vector | None, weight: Vector | None, bias: Vector | None
) -> Rows:
    """Return y (N, D), for x (N, D), alpha and shift (1,), weight and bias (D,)."""
    return weight * erf_forward(alpha * x + shift) + bias


def _ONE(shape: Shape) -> Shape:
    return (1,)


@dynamic_erf_forward.loops(shift=_ONE, weight=VECTOR, bias=VECTOR)
def dynamic_erf_forward_loop(
    x: Rows, alpha: Vector, shift: Vector, weight: Vector, bias: Vector, y: Rows
) -> None:
    """One entry after the other."""
    (N, D), a, s = x.shape, alpha[0], shift[0]
    for n in range(N):
        for i in range(D):
            y[n, i] = weight[i] * erf(a * x[n, i] + s) + bias[i]


@kernel
@in_blocks("dy", "x", add=True, shift=0.0, weight=1.0)
def dynamic_erf_backward(
    dy: Rows, x: Rows, alpha: Vector, shift: Vector | None, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector, Vector]:
    """Return dx (N, D), dalpha and dshift (1,), dweight and dbias (D,)."""
    u = alpha * x + shift
    q = _SLOPE_AT_0 * namespace(x).exp(-(u * u)) * weight * dy
    dalpha, dshift = column_sums(row_sum_products(q, x)), column_sums(row_sums(q))
    return alpha * q, dalpha, dshift, column_sums(dy * erf_forward(u)), column_sums(dy)


@dynamic_erf_backward.loops(dalpha=_ONE, dshift=_ONE, dweight=VECTOR, dbias=VECTOR, shift=_ONE, weight=VECTOR)
def dynamic_erf_backward_loop(
    dy: Rows,
    x: Rows,
    alpha: Vector,
    shift: Vector,
    weight: Vector,
    dx: Rows,
    dalpha: Vector,
    dshift: Vector,
    dweight: Vector,
    dbias: Vector,
    zero: float,
) -> None:
    """One entry after the other, once: t is computed again, which takes less than to read it."""
    (N, D), a, s, real = x.shape, alpha[0], shift[0], x.dtype.type
    for n in range(N):
        sum_q_x = sum_q = zero
        for i in range(D):
            u = a * x[n, i] + s
            q = real(_SLOPE_AT_0) * exp_of_negative(-(u * u)) * weight[i] * dy[n, i]
            dx[n, i] = a * q
            sum_q_x += q * x[n, i]
            sum_q += q
            dweight[i] += dy[n, i] * erf(u)
            dbias[i] += dy[n, i]
        dalpha[0] += sum_q_x
        dshift[0] += sum_q


@dynamic_erf_backward.cuda
def dynamic_erf_backward_cuda(
    dy: Rows, x: Rows, alpha: Vector, shift: Vector | None, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector, Vector]:
    """One kernel for all sums of columns, one for their sums; the products are elementwise."""
    xp, g, wide, alpha = namespace(x), upcast(dy), upcast(x), upcast(alpha)
    u = alpha * wide if shift is None else alpha * wide + upcast(shift)
    q = _SLOPE_AT_0 * xp.exp(-(u * u)) * (g if weight is None else weight * g)
    sums = _kernels.sum_columns(xp.stack((q * wide, q, g * erf_forward(u), g)))
    dalpha, dshift = (_kernels.sum_columns(of_columns[:, None]) for of_columns in sums[:2])
    return downcast(alpha * q, dy), dalpha, dshift, sums[2], sums[3]


class DynamicErfFunction(Function):
    """y = w·t + b, t = erf(α·x + s) · dx = α·2/√π·exp(-(α·x + s)²)·w·dy"""

    def forward(
        self,
        x: Array,
        alpha: Array,
        shift: Array | None,
        weight: Array | None,
        bias: Array | None,
        *,
        shape: Shape,
    ) -> Array:
        self.shape = shape
        rows, weight, bias = as_rows(shape, x, weight, bias)
        self.saved = rows, alpha, shift, weight
        return dynamic_erf_forward(rows, alpha, shift, weight, bias).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dalpha, dshift, *vectors = dynamic_erf_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dalpha, dshift, *[d.reshape(self.shape) for d in vectors]


def dynamic_erf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Return weight·erf(alpha·input + shift) + bias.

    Args:
        input: (..., *shape) with the shape of weight and bias.
        alpha: (1,), in units of 1/input.
        shift: (1,), or None.
        weight: of the last sizes of the input, or None.
        bias: of the same shape, or None.

    Raises:
        TypeError: if the input is not a floating-point tensor, or another dtype does not fit it.
        ValueError: if alpha or shift is not (1,), if the input has no axes, or if the shape of weight or bias
            is not that of the last axes of the input.

    Source: Chen et al. 2025, arXiv:2512.10938.
    """
    check_input(input, "dynamic_erf")
    given = [vector for vector in (weight, bias) if vector is not None]
    shape = given[0].shape if given else input.shape[-1:]
    shape = check_rows(input, shape, 0.0, "dynamic_erf", weight=weight, bias=bias)
    check_vectors(input, (1,), alpha=alpha, shift=shift)
    return DynamicErfFunction.apply(input, alpha, shift, weight, bias, shape=shape)


class Derf(Module):
    """Derf of (..., dim): learned alpha and shift, (1,), weight (dim,) of ones and bias (dim,) of zeros.

    Several axes are given as a sequence, as in LayerNorm. There are no statistics.
    Source: Chen et al. 2025, arXiv:2512.10938.
    """

    def __init__(self, dim: int | Sequence[int], alpha: float = 0.5, shift: float = 0.0) -> None:
        super().__init__()
        self.dim = as_shape(dim)
        self.alpha = Parameter(numpy.full(1, as_number(alpha, "alpha"), numpy.float32))
        self.shift = Parameter(numpy.full(1, as_number(shift, "shift"), numpy.float32))
        self.weight = Parameter(numpy.ones(self.dim, numpy.float32))
        self.bias = Parameter(numpy.zeros(self.dim, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return dynamic_erf(input, self.alpha, self.shift, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.dim}"


register(
    name="dynamic_erf",
    function=dynamic_erf,
    composed=dynamic_erf_composed,
    parameters=("alpha", "shift", "weight", "bias"),
    cases=(
        Case(((4, 5), (1,), (1,), (5,), (5,))),
        Case(((2, 3, 4), (1,), None, (4,), None)),
        Case(((2, 3, 4), (1,), (1,), None, (3, 4))),
        Case(((0, 4), (1,), (1,), (4,), (4,))),
    ),
    errors=(
        ErrorCase(lambda: dynamic_erf(ones(2, 3, dtype=int), ones(1)), TypeError, "floating-point"),
        ErrorCase(lambda: dynamic_erf(ones(2, 3), ones(3)), ValueError, "alpha has shape (3,)"),
        ErrorCase(lambda: dynamic_erf(ones(2, 3), ones(1), ones(3)), ValueError, "shift has shape (3,)"),
        ErrorCase(lambda: dynamic_erf(ones(2, 3), ones(1), None, ones(2)), ValueError, "last sizes"),
        ErrorCase(lambda: dynamic_erf(ones(2, 3), ones(1).double()), TypeError, "alpha has dtype float64"),
        ErrorCase(lambda: Derf(3, "0.5"), TypeError, "alpha"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="Derf",
    paper="Chen et al. 2025, arXiv:2512.10938",
    pool="none: every entry on its own",
    bench=(Case(((512, 768), (1,), (1,), (768,), (768,))),),
)
