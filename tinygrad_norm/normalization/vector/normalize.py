"""L1, L2, Lp normalization: every vector is divided by its length.

    x (..., D, ...), along one axis   n = ‖x‖ = (Σ |x|ᵖ)^(1/p)   r = 1/max(n, eps)   y = x·r

p = 2 is the Euclidean length, p = 1 the sum of |x|, p = ∞ the largest |x|. A vector shorter than eps is
divided by eps instead, so the zero vector stays zero.

In the code: r rnorm, s slope; at_eps is 1/eps, the rnorm of a vector that eps divides.

As a layer of a network: Wang, Xiang, Cheng, Yuille 2017, arXiv:1704.06369.

Backward, for one vector, from g = dL/dy:

    straight   r·g
    through n  ∂n/∂x = sign(x)·|x|ᵖ⁻¹/nᵖ⁻¹ =: s      Σ(g·x)·(-1/n²)·s = -r·s·Σ(g·y)

    dx = r·(g - s·Σ(g·y))     s = sign(y)·|y|ᵖ⁻¹, as |y| = |x|/n; for p = 2, s = y

and dx = g/eps where eps stands in for n, as that does not move with x. For p = ∞, s is sign(y) where
|y| = 1, and ties share it. For p < 1 the slope at an entry of 0 is infinite; it is taken to be 0, as
PyTorch does.

Insight: y and r say everything. |y| is at most 1, so no power in the backward can overflow, and Σ s·y = 1
makes Σ dx·x = 0: stretching x changes nothing, so no gradient points along x.
"""

import functools
import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import largest, row_dots, run, smallest
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, teams, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...ops.checks import check_input
from ...ops.dims import normalize_dim
from ...registry import Case, ErrorCase, distinct, register, uniform
from ..core.moments import check_eps

_kernels = CudaSource(__file__)


def normalize_composed(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Lp normalization from primitives: autograd finds the gradient."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


@kernel
def normalize_forward(x: Array, p: float, eps: float) -> tuple[Array, Array]:
    """Return y and rnorm: x (N, D), rnorm (N, 1)."""
    y, rnorm = run(normalize_rows, (upcast(x),), (p, eps))
    return downcast(y, x), rnorm


def normalize_rows(x: Array, p: float, eps: float, out: Array | None = None) -> tuple[Array, Array]:
    """Return y, in `out` if that is given, and rnorm: the body of `normalize_forward`, for others too."""
    xp = namespace(x)
    if not x.size:
        return x.copy(), xp.zeros((len(x), 1), x.dtype)
    eps, at_eps, most = _limits(x.dtype, eps)
    if p == 2:
        norm, smallest_exact = xp.sqrt(row_dots(x, x)), _smallest_exact(x.dtype)
        if largest(norm) < math.inf and max(smallest(norm), eps) > smallest_exact:
            rnorm = xp.reciprocal(xp.maximum(norm, eps))
            return xp.multiply(x, rnorm, out=out), rnorm
    size = xp.abs(x)
    scale = xp.maximum(size.max(1, keepdims=True), eps)
    scale = xp.where(scale == 0, 1, scale)
    size /= scale
    norm = size.max(1, keepdims=True) if p == math.inf else (size**p).sum(1, keepdims=True) ** (1 / p)
    floor = eps / scale
    n = xp.maximum(norm, floor)
    n = xp.where(n == 0, 1, n)
    y = xp.divide(x, scale, out=out)
    y /= n
    return y, xp.where(norm <= floor, at_eps, xp.minimum(1 / n / scale, most))


@normalize_forward.cuda
def normalize_forward_cuda(x: Array, p: float, eps: float) -> tuple[Array, Array]:
    """For p = 2, one kernel: every row is read once and written once."""
    if p != 2:
        return normalize_forward.numpy_version(x, p, eps)
    (N, D), (x,) = x.shape, contiguous(x)
    y, rnorm = namespace(x).empty_like(x), wide_empty(x, N, 1)
    shape = teams(D, x, y)
    shared = kept_bytes(shape, D, x)
    args = x, y, rnorm, N, D, *_limits(rnorm.dtype, eps), shared > 0
    _kernels.launch("normalize_forward", x.dtype, shape.template, shape.blocks(N), shape.block, args, shared)
    return y, rnorm


@kernel
def normalize_backward(dy: Array, y: Array, rnorm: Array, p: float, eps: float) -> Array:
    """Return dx (N, D)."""
    return run(_backward_rows, (upcast(dy), upcast(y), rnorm), (p, eps))[0]


def _backward_rows(
    dy: Array, y: Array, rnorm: Array, p: float, eps: float, out: Array | None
) -> tuple[Array]:
    xp = namespace(dy)
    _, at_eps, _ = _limits(rnorm.dtype, eps)
    along = xp.multiply(_slope(y, p), xp.where(rnorm == at_eps, 0, row_dots(dy, y)), out=out)
    dx = xp.subtract(dy, along, out=along)
    dx *= rnorm
    return (dx,)


def _slope(y: Array, p: float) -> Array:
    """Return ∂n/∂x from y = x/n."""
    if p == 2:
        return y
    xp = namespace(y)
    sign = xp.sign(y)
    if p == 1:
        return sign
    size = xp.abs(y)
    if p == math.inf:
        top = size == 1
        return sign * (top / xp.maximum(top.sum(1, keepdims=True), 1)).astype(y.dtype)
    return sign * xp.where(size > 0, size, 1) ** (p - 1)


@normalize_backward.cuda
def normalize_backward_cuda(dy: Array, y: Array, rnorm: Array, p: float, eps: float) -> Array:
    """For p = 2, one kernel: dy and y are read once, dx is written once."""
    if p != 2:
        return normalize_backward.numpy_version(dy, y, rnorm, p, eps)
    (N, D), (dy, y) = y.shape, contiguous(dy, y)
    dx = namespace(y).empty_like(y)
    shape = teams(D, y, dy, shapes=BACKWARD_SHAPES)
    _, at_eps, _ = _limits(rnorm.dtype, eps)
    args = dy, y, rnorm, dx, N, D, at_eps
    _kernels.launch("normalize_backward", y.dtype, shape.template, shape.blocks(N), shape.block, args)
    return dx


@functools.cache
def _limits(dtype: numpy.dtype, eps: float) -> tuple[Any, Any, Any]:
    """Return eps, the rnorm where it stands in for n, and the largest rnorm, as numbers of `dtype`.

    At eps = 0 the zero vector has rnorm 0: it gives 0, and its gradient is 0.
    """
    most = numpy.finfo(dtype).max
    eps = dtype.type(min(eps, float(most)))
    at_eps = 1 / float(eps) if eps > 0 else 0.0
    return eps, dtype.type(min(at_eps, float(most))), most


@functools.cache
def _smallest_exact(dtype: numpy.dtype) -> float:
    """Return the length from which on a sum of squares has lost nothing to underflow."""
    info = numpy.finfo(dtype)
    return math.sqrt(float(info.tiny) / float(info.eps))


class NormalizeFunction(Function):
    """y = x·r, r = 1/max(‖x‖, eps) · dx = r·(g - s·Σ(g·y)), s = sign(y)·|y|ᵖ⁻¹; g/eps where ‖x‖ ≤ eps"""

    def forward(self, x: Array, *, p: float, dim: int, eps: float) -> Array:
        # Rounded to 16 bits, entries next to the largest would be as large: ties for p = ∞.
        y, rnorm = normalize_forward(_rows(x if p == 2 else upcast(x), dim), p, eps)
        y = _back(y, x.shape, dim)
        self.saved = y, rnorm, p, dim, eps
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        y, rnorm, p, dim, eps = self.saved
        dx = normalize_backward(_rows(dy.astype(y.dtype, copy=False), dim), _rows(y, dim), rnorm, p, eps)
        return _back(dx, dy.shape, dim)


def _rows(x: Array, dim: int) -> Array:
    """Return x (..., D, ...), with D on axis `dim`, as contiguous rows (N, D)."""
    x = x.reshape(x.shape or 1).swapaxes(dim, -1)
    return contiguous(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))[0]


def _back(rows: Array, shape: tuple[int, ...], dim: int) -> Array:
    """Return what `_rows` made of an array of that shape in its old shape, contiguous."""
    moved = list(shape or (1,))
    moved[dim], moved[-1] = moved[-1], moved[dim]
    return contiguous(rows.reshape(moved).swapaxes(dim, -1))[0].reshape(shape)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide each vector along axis `dim` by its length ‖x‖p = (Σ |x|ᵖ)^(1/p), or by eps if that is more.

    Args:
        input: any shape.
        p: above 0; inf is the largest |x|.
        dim: the axis along which the vectors lie.
        eps: the smallest number that a vector is divided by, in units of input.

    Raises:
        TypeError: for an input that is no floating-point tensor, or a dim that is no int.
        ValueError: for a p that is not above 0, or an eps below 0.
        IndexError: for an axis that does not exist.

    Source: Wang, Xiang, Cheng, Yuille 2017, arXiv:1704.06369.
    """
    check_input(input, "normalize")
    check_eps(eps)
    if not p > 0:
        raise ValueError(f"p must be above 0, such as 1, 2 or inf, got {p!r}: other powers are no lengths")
    return NormalizeFunction.apply(input, p=float(p), dim=normalize_dim(dim, input.ndim), eps=float(eps))


register(
    name="normalize",
    function=normalize,
    composed=normalize_composed,
    cases=(
        Case(((4, 8),)),
        Case(((2, 3, 4),)),
        Case(((2, 3, 4),), {"dim": -1}),
        Case(((3, 4),), {"p": 2.0, "dim": 0}),
        Case((uniform(-1, 1, 3, 5),), {"eps": 2.0}),
        Case((distinct(3, 5),), {"p": 1.0, "dim": 1}),
        Case((distinct(2, 3, 4),), {"p": 3.0, "dim": 0}),
        Case((distinct(3, 5),), {"p": 0.5, "dim": 1}),
        Case((distinct(3, 5),), {"p": math.inf, "dim": -1}),
        Case((distinct(3, 5),), {"p": 3.0, "eps": 100.0}),
        Case(((5,),), {"dim": 0}),
        Case(((3, 1),), {"eps": 1e-3}),
        Case(((0, 4),)),
        Case(((3, 0),)),
    ),
    errors=(
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3), int))), TypeError, "floating-point"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), 0), ValueError, "p must be above 0"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), math.nan), ValueError, "p must be above 0"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones(3))), IndexError, "out of range"),
        ErrorCase(lambda: normalize(Tensor(numpy.ones((2, 3))), dim=1.5), TypeError, "dim"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="L2, Lp normalization",
    paper="Wang et al. 2017, arXiv:1704.06369",
    pool="each vector along one axis, no mean",
    torch="torch.nn.functional.normalize",
    bench=tuple(Case((shape,)) for shape in ((64, 64), (512, 768), (4096, 1024))),
)
