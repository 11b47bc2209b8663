"""Dynamic tanh: an S-curve with one learned steepness stands where a normalization would.

    x (..., D)   t = tanh(α·x)   y = w·t + b

α is one number, (1,); w and b are (D,), where D stands for all of their axes. There are no statistics: every
entry is on its own. It is the control in comparisons: what it can do does not come from normalizing.

In the code: α alpha, w weight, b bias.

Zhu, Chen, He, LeCun, Liu 2025, arXiv:2503.10622.

Backward, from dy = dL/dy. All rows share w and b:

    dw = Σrows dy·t      db = Σrows dy      g := dL/dt = w·dy

t_i moves with its own x_i only, and with α: ∂t/∂(α·x) = 1 - t². Two paths start at the product α·x:

    to x    α·(1 - t²)·g
    to α    x·(1 - t²)·g, and all entries share α, so the chain rule adds up

    dx = α·q      dα = Σ q·x      with q = (1 - t²)·g

Insight: like a normalization it squeezes what is large, and lets what is small pass as α·x. But nothing is
taken out of dx: with no pool, there is no direction in which moving x leaves y as it is.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_math import tanh
from ...backends.cpu.pool_loops import VECTOR
from ...backends.cpu.sums import column_sums, row_sum_products
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import Shape, as_shape, check_input, check_rows, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.moments import affine
from ..core.rows import as_rows

_kernels = CudaSource(str(Path(__file__).with_name("layernorm")), "../core/moments.cuh", "rowgradients.cuh")


def dynamic_tanh_composed(
    input: Tensor, alpha: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Dynamic tanh from primitives: autograd finds the gradients."""
    return affine((input * alpha).tanh(), weight, bias)


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
def dynamic_tanh_forward(x: Rows, alpha: Vector, weight: Vector | None, bias: Vector | None) -> Rows:
    """Return y (N, D), for x (N, D), alpha (1,), weight and bias (D,)."""
    return weight * namespace(x).tanh(alpha * x) + bias


@dynamic_tanh_forward.loops(weight=VECTOR, bias=VECTOR)
def dynamic_tanh_forward_loop(x: Rows, alpha: Vector, weight: Vector, bias: Vector, y: Rows) -> None:
    """One entry after the other."""
    (N, D), a = x.shape, alpha[0]
    for n in range(N):
        for i in range(D):
            y[n, i] = weight[i] * tanh(a * x[n, i]) + bias[i]


@kernel
@in_blocks("dy", "x", add=True, weight=1.0)
def dynamic_tanh_backward(
    dy: Rows, x: Rows, alpha: Vector, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector]:
    """Return dx (N, D), dalpha (1,), dweight and dbias (D,)."""
    t = namespace(x).tanh(alpha * x)
    q = (1 - t * t) * weight * dy
    return alpha * q, column_sums(row_sum_products(q, x)), column_sums(dy * t), column_sums(dy)


@dynamic_tanh_backward.loops(dalpha=lambda shape: (1,), dweight=VECTOR, dbias=VECTOR, weight=VECTOR)
def dynamic_tanh_backward_loop(
    dy: Rows,
    x: Rows,
    alpha: Vector,
    weight: Vector,
    dx: Rows,
    dalpha: Vector,
    dweight: Vector,
    dbias: Vector,
    zero: float,
) -> None:
    """One entry after the other, once: t is computed again, which takes less than to read it."""
    (N, D), a, one = x.shape, alpha[0], x.dtype.type(1)
    for n in range(N):
        sum_q_x = zero
        for i in range(D):
            t = tanh(a * x[n, i])
            q = (one - t * t) * weight[i] * dy[n, i]
            dx[n, i] = a * q
            sum_q_x += q * x[n, i]
            dweight[i] += dy[n, i] * t
            dbias[i] += dy[n, i]
        dalpha[0] += sum_q_x


@dynamic_tanh_backward.cuda
def dynamic_tanh_backward_cuda(
    dy: Rows, x: Rows, alpha: Vector, weight: Vector | None
) -> tuple[Rows, Vector, Vector, Vector]:
    """One kernel for all sums of columns, one for their sum; the products are elementwise."""
    g, wide, alpha = upcast(dy), upcast(x), upcast(alpha)
    t = namespace(x).tanh(alpha * wide)
    q = (1 - t * t) * g if weight is None else (1 - t * t) * weight * g
    sums = _kernels.sum_columns(namespace(x).stack((q * wide, g * t, g)))
    return downcast(alpha * q, dy), _kernels.sum_columns(sums[0][:, None]), sums[1], sums[2]


class DynamicTanhFunction(Function):
    """y = w·t + b, t = tanh(α·x) · dx = α·(1 - t²)·w·dy"""

    def forward(
        self, x: Array, alpha: Array, weight: Array | None, bias: Array | None, *, shape: Shape
    ) -> Array:
        self.shape = shape
        rows, weight, bias = as_rows(shape, x, weight, bias)
        self.saved = rows, alpha, weight
        return dynamic_tanh_forward(rows, alpha, weight, bias).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dalpha, *vectors = dynamic_tanh_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dalpha, *[d.reshape(self.shape) for d in vectors]


def dynamic_tanh(
    input: Tensor, alpha: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Return weight·tanh(alpha·input) + bias.

    Args:
        input: (..., *shape) with the shape of weight and bias.
        alpha: (1,), in units of 1/input.
        weight: of the last sizes of the input, or None.
        bias: of the same shape, or None.

    Raises:
        TypeError: if the input is not a floating-point tensor, or another dtype does not fit it.
        ValueError: if alpha is not (1,), if the input has no axes, or if the shape of weight or bias is not
            that of the last axes of the input.

    Source: Zhu, Chen, He, LeCun, Liu 2025, arXiv:2503.10622.
    """
    check_input(input, "dynamic_tanh")
    given = [vector for vector in (weight, bias) if vector is not None]
    shape = given[0].shape if given else input.shape[-1:]
    shape = check_rows(input, shape, 0.0, "dynamic_tanh", weight=weight, bias=bias)
    check_vectors(input, (1,), alpha=alpha)
    return DynamicTanhFunction.apply(input, alpha, weight, bias, shape=shape)


class DynamicTanh(Module):
    """Dynamic tanh of (..., dim), with learned alpha (1,), weight (dim,) of ones and bias (dim,) of zeros.

    Several axes are given as a sequence, as in LayerNorm. Nothing else than `alpha` and the affine is
    learned, and there are no statistics. Source: Zhu, Chen, He, LeCun, Liu 2025, arXiv:2503.10622.
    """

    def __init__(self, dim: int | Sequence[int], alpha: float = 0.5) -> None:
        super().__init__()
        self.dim = as_shape(dim)
        self.alpha = Parameter(numpy.full(1, as_number(alpha, "alpha"), numpy.float32))
        self.weight = Parameter(numpy.ones(self.dim, numpy.float32))
        self.bias = Parameter(numpy.zeros(self.dim, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return dynamic_tanh(input, self.alpha, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.dim}"


register(
    name="dynamic_tanh",
    function=dynamic_tanh,
    composed=dynamic_tanh_composed,
    parameters=("alpha", "weight", "bias"),
    cases=(
        Case(((4, 5), (1,), (5,), (5,))),
        Case(((2, 3, 4), (1,), (4,), None)),
        Case(((2, 3, 4), (1,), None, (3, 4))),
        Case(((2, 7), (1,), None, None)),
        Case(((3, 33), (1,), (33,), (33,))),
        Case(((0, 4), (1,), (4,), (4,))),
    ),
    errors=(
        ErrorCase(lambda: dynamic_tanh(ones(2, 3, dtype=int), ones(1)), TypeError, "floating-point"),
        ErrorCase(lambda: dynamic_tanh(ones(2, 3), ones(3)), ValueError, "alpha has shape (3,)"),
        ErrorCase(lambda: dynamic_tanh(ones(2, 3), ones(1), ones(2)), ValueError, "last sizes"),
        ErrorCase(lambda: dynamic_tanh(ones(2, 3), ones(1), ones(3), ones(2, 3)), ValueError, "bias"),
        ErrorCase(lambda: dynamic_tanh(ones(2, 3), ones(1).double()), TypeError, "alpha has dtype float64"),
        ErrorCase(lambda: DynamicTanh(0), ValueError, "positive sizes"),
        ErrorCase(lambda: DynamicTanh(3, "0.5"), TypeError, "alpha"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="DynamicTanh",
    paper="Zhu, Chen, He, LeCun, Liu 2025, arXiv:2503.10622",
    pool="none: every entry on its own",
    bench=(Case(((512, 768), (1,), (768,), (768,))), Case(((4096, 1024), (1,), (1024,), (1024,)))),
)
