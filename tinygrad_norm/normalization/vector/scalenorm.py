"""ScaleNorm and FixNorm: every vector keeps its direction, and all get one learned length.

    x (..., D)   n = ‖x‖ = √Σx²   r = 1/max(n, eps)   u = x·r   y = g·u      g (1,)

u is the result of L2 normalization (normalize.py, p = 2). Up to the place of eps, ScaleNorm is RMSNorm with
one weight instead of D: x̂ there is √D·u, so g starts at √D. FixNorm is the same map on a weight whose rows
are the vectors of words, in an embedding or an output layer: all words get the same length.

In the code: r rnorm, u direction; at_eps is 1/eps, the rnorm of a vector that eps divides.

Nguyen, Salazar 2019, arXiv:1910.05895; FixNorm: Nguyen, Chiang 2018, arXiv:1710.01329.

Backward, from dy = dL/dy. All vectors share g, and dL/du = g·dy takes the two paths of normalize.py:

    dg = Σ dy·u, over all entries
    straight   r·g·dy
    through n  ∂n/∂x = u      -r·u·Σ(g·dy·u)

    dx = g·r·(dy - u·Σ(dy·u))     the sum over one vector

If n < eps, the divisor is eps, which does not depend on x: dx = g·dy/eps.

Insight: g is the length itself. With y = √D·g'·u and g' = 1 at first, y is the same, but not what is learned:
dg' = √D·dg, so a step of gradient descent moves the length D times as far, and one of Adam √D times.
"""

import math
from pathlib import Path

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.pool_loops import COLUMN
from ...backends.cpu.sums import column_sums, row_sum_products
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import check_eps, check_input, check_vectors
from ...registry import Case, ErrorCase, register, uniform
from ..core.lengths import directions, is_extreme, limits
from .normalize import normalize_backward, normalize_forward

_kernels = CudaSource(
    str(Path(__file__).parent.with_name("sample") / "layernorm"), "../core/moments.cuh", "rowgradients.cuh"
)


def scale_norm_composed(input: Tensor, g: Tensor, eps: float = 1e-5) -> Tensor:
    """ScaleNorm from primitives: autograd finds the gradients."""
    n = input.norm(2, -1, keepdim=True).clamp(min=eps)
    direction = input / n
    return g * direction


@kernel
@in_blocks("x")
def scale_norm_forward(x: Array, g: Array, eps: float) -> tuple[Array, Array]:
    """Return y (N, D) and rnorm (N, 1), for x (N, D) and g (1,)."""
    direction, rnorm = directions(x, 2.0, eps)
    return g * direction, rnorm


@scale_norm_forward.loops(rnorm=COLUMN)
def scale_norm_forward_loop(
    x: Array, g: Array, eps: float, y: Array, rnorm: Array, zero: float, left: Array
) -> None:
    """One row after the other: once to find n, once to write y."""
    (N, D), real, length = x.shape, x.dtype.type, g[0]
    for n in range(N):
        s = zero
        for i in range(D):
            s += x[n, i] * x[n, i]
        norm = numpy.sqrt(s)
        r = real(1 / (eps if norm <= eps else norm))
        for i in range(D):
            y[n, i] = length * (x[n, i] * r)
        rnorm[n, 0], left[n] = r, is_extreme(r)


@scale_norm_forward.cuda
def scale_norm_forward_cuda(x: Array, g: Array, eps: float) -> tuple[Array, Array]:
    """The kernel of L2 normalization finds the directions; the product is elementwise."""
    direction, rnorm = normalize_forward(upcast(x), 2.0, eps)
    return downcast(upcast(g) * direction, x), rnorm


@kernel
@in_blocks("dy", "x", "rnorm", add=True)
def scale_norm_backward(dy: Array, x: Array, rnorm: Array, g: Array, eps: float) -> tuple[Array, Array]:
    """Return dx (N, D) and dg (1,)."""
    direction, _ = directions(x, 2.0, eps)
    along, at_eps = row_sum_products(dy, direction), limits(rnorm.dtype, eps)[1]
    through_n = namespace(x).where(rnorm == at_eps, 0, along)
    return g * (rnorm * (dy - direction * through_n)), column_sums(along)


@scale_norm_backward.loops(dg=lambda shape: (1,))
def scale_norm_backward_loop(
    dy: Array, x: Array, rnorm: Array, g: Array, eps: float, dx: Array, dg: Array, zero: float, left: Array
) -> None:
    """One row after the other: once to find Σ(dy·u), once to write dx."""
    (N, D), real, length = x.shape, x.dtype.type, g[0]
    at_eps, none = real(1 / eps), real(0)
    for n in range(N):
        r, s = rnorm[n, 0], zero
        left[n] = is_extreme(r)
        if left[n]:
            continue
        for i in range(D):
            s += dy[n, i] * (x[n, i] * r)
        dg[0] += s
        through_n = none if r == at_eps else real(s)
        for i in range(D):
            dx[n, i] = length * (r * (dy[n, i] - (x[n, i] * r) * through_n))


@scale_norm_backward.cuda
def scale_norm_backward_cuda(dy: Array, x: Array, rnorm: Array, g: Array, eps: float) -> tuple[Array, Array]:
    """The kernels of L2 normalization, and one for each step of the sum; the products are elementwise."""
    wide, (direction, _) = upcast(dy), normalize_forward(upcast(x), 2.0, eps)
    dx = upcast(g) * normalize_backward(wide, direction, rnorm, 2.0, eps)
    sums = _kernels.sum_columns(wide * direction)
    return downcast(dx, dy), _kernels.sum_columns(sums[:, None])


class ScaleNormFunction(Function):
    """y = g·x/‖x‖ · dx = g·(dy - u·Σ(dy·u))/‖x‖ with u = x/‖x‖, dg = Σ dy·u; eps is the least ‖x‖"""

    def forward(self, x: Array, g: Array, *, eps: float) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        y, rnorm = scale_norm_forward(rows, g, eps)
        self.saved = rows, rnorm, g, eps
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dg = scale_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dg


def scale_norm(input: Tensor, g: Tensor, eps: float = 1e-5) -> Tensor:
    """Return g·x/‖x‖ for every vector x along the last axis.

    Args:
        input: (..., D).
        g: (1,), the length of all results, in units of y.
        eps: the smallest number that a vector is divided by, in units of input. With 0, a vector of zeros
            stays as it is, and gets no gradient.

    Raises:
        TypeError: if the input is not a floating-point tensor, or the dtype of g does not fit it.
        ValueError: if g is not (1,), the input has no features, or eps is negative.

    Source: Nguyen, Salazar 2019, arXiv:1910.05895.
    """
    check_input(input, "scale_norm")
    if not input.ndim or not input.shape[-1]:
        raise ValueError(f"scale_norm takes vectors (..., D) of at least one feature, got {input.shape}")
    check_vectors(input, (1,), g=g)
    check_eps(eps)
    return ScaleNormFunction.apply(input, g, eps=float(eps))


class ScaleNorm(Module):
    """Divide vectors (..., dim) by their length, and multiply by one learned number g (1,), at first √dim.

    Args:
        dim: D, the features of a vector.
        eps: the smallest number that a vector is divided by, in units of input.

    Raises:
        ValueError: if dim is below 1, or eps is negative.

    Source: Nguyen, Salazar 2019, arXiv:1910.05895.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.dim, self.eps = as_size(dim, "dim"), eps
        self.g = Parameter(numpy.full(1, math.sqrt(self.dim), numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return scale_norm(_with_features(input, self.dim, "ScaleNorm"), self.g, self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}"


class FixNorm(Module):
    """Give every row of a weight (words, dim) the length g, one learned number (1,), at first √dim.

    It is a parametrization, of an embedding or of the layer that computes the logits of words:

        nn.utils.parametrize.register_parametrization(embedding, "weight", nn.FixNorm(dim))

    As all words have one length, the logit of a word depends only on its angle to the features. A row of
    zeros, as an embedding's padding has, stays as it is. Source: Nguyen, Chiang 2018, arXiv:1710.01329;
    Nguyen, Salazar 2019, arXiv:1910.05895.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = as_size(dim, "dim")
        self.g = Parameter(numpy.full(1, math.sqrt(self.dim), numpy.float32))

    def forward(self, weight: Tensor) -> Tensor:
        return scale_norm(_with_features(weight, self.dim, "FixNorm"), self.g, 0.0)

    def extra_repr(self) -> str:
        return f"{self.dim}"


def _with_features(x: Tensor, dim: int, name: str) -> Tensor:
    """Return x, or raise ValueError unless its last axis has `dim` features."""
    if x.shape[-1:] != (dim,):
        raise ValueError(f"{name} was made for vectors (..., {dim}), got shape {x.shape}")
    return x


register(
    name="scale_norm",
    function=scale_norm,
    composed=scale_norm_composed,
    parameters=("g",),
    cases=(
        Case(((4, 5), (1,))),
        Case(((2, 3, 4), (1,))),
        Case(((7,), (1,))),
        Case(((3, 33), (1,)), {"eps": 1e-2}),
        Case((uniform(-1, 1, 3, 5), (1,)), {"eps": 2.0}),
        Case(((3, 1), (1,))),
        Case(((0, 4), (1,))),
    ),
    errors=(
        ErrorCase(lambda: scale_norm(ones(2, 3, dtype=int), ones(1)), TypeError, "floating-point"),
        ErrorCase(lambda: scale_norm(ones(2, 3), ones(3)), ValueError, "g has shape (3,), expected (1,)"),
        ErrorCase(lambda: scale_norm(ones(2, 3), ones(1).double()), TypeError, "g has dtype float64"),
        ErrorCase(lambda: scale_norm(ones(2, 0), ones(1)), ValueError, "at least one feature"),
        ErrorCase(lambda: scale_norm(ones(2, 3), ones(1), -1.0), ValueError, "eps"),
        ErrorCase(lambda: ScaleNorm(0), ValueError, "dim must be at least 1"),
        ErrorCase(lambda: ScaleNorm(4)(ones(2, 3)), ValueError, "(..., 4), got shape (2, 3)"),
        ErrorCase(lambda: FixNorm(4)(ones(2, 3)), ValueError, "(..., 4), got shape (2, 3)"),
    ),
    kind="normalization",
    title="ScaleNorm, FixNorm",
    paper="Nguyen, Salazar 2019, arXiv:1910.05895",
    pool="the features of each vector, no mean; one learned length",
    bench=tuple(Case((shape, (1,))) for shape in ((64, 64), (512, 768), (4096, 1024))),
)
