"""Cosine similarity: the dot product of two vectors, both scaled to length 1.

    a, b (..., D)   n_a = max(‖a‖, eps)   u = a/n_a   v = b/n_b   y = Σ u·v, from -1 to 1

Backward, for one pair, from dy. a_k reaches y through every u_i, since n_a depends on a (if ‖a‖ > eps), and
the chain rule adds up the contributions of all these paths, da_k = dy·Σi v_i·∂u_i/∂a_k:

    ∂u_i/∂a_k = (1[i = k] - u_i·u_k)/n_a      da = dy·(v - u·y)/n_a

without the term u·y if n_a = eps, a constant; db likewise.

Insight: da is orthogonal to a. Turning a changes the similarity, stretching it does not.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import total
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number, check_numbers
from ...ops.broadcast import unbroadcast
from ...ops.checks import check_input
from ...ops.dims import normalize_dim
from ...ops.reduction import largest_or_0
from ...registry import Case, ErrorCase, positive, register


def cosine_similarity_composed(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine similarity from primitives: autograd finds the gradient."""
    lengths = [(x * x).sum(dim, keepdim=True).sqrt().clamp(min=eps) for x in (x1, x2)]
    return ((x1 / lengths[0]) * (x2 / lengths[1])).sum(dim)


class CosineSimilarityFunction(Function):
    """y = Σ u·v, u = a/max(‖a‖, eps), v = b/max(‖b‖, eps) · da = dy·(v - u·y)/max(‖a‖, eps), db likewise"""

    def forward(self, a: Array, b: Array, *, dim: int, eps: float) -> Array:
        self.shapes = a.shape, b.shape
        u, length_a = _direction(upcast(a), dim, eps)
        v, length_b = _direction(upcast(b), dim, eps)
        y = total(u * v, (dim,), True)
        self.saved = u, v, y, length_a, length_b, dim, eps
        return downcast(y.squeeze(dim), a)

    def backward(self, dy: Array) -> Gradients:
        u, v, y, length_a, length_b, dim, eps = self.saved
        dy = namespace(dy).expand_dims(upcast(dy), dim)
        a_shape, b_shape = self.shapes
        da = unbroadcast(dy * (v - u * (y * (length_a > eps))) / length_a, a_shape) if self.needs[0] else None
        db = unbroadcast(dy * (u - v * (y * (length_b > eps))) / length_b, b_shape) if self.needs[1] else None
        return da, db


def _direction(x: Array, dim: int, eps: float) -> tuple[Array, Array]:
    """Return x/max(‖x‖, eps) and max(‖x‖, eps), computed without overflow of the squares."""
    xp = namespace(x)
    scale = xp.maximum(largest_or_0(abs(x), (dim,), True), 1)
    scaled = x / scale
    length = xp.maximum(xp.sqrt(total(scaled * scaled, (dim,), True)), eps / scale)
    return scaled / length, length * scale


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return the cosine of the angle between x1 and x2 along axis `dim`.

    Args:
        x1: any shape; a number is a vector of one.
        x2: of a shape that broadcasts with x1.
        dim: the axis of the vectors, after broadcasting; the output does not have it.
        eps: the smallest length to divide by, in units of the inputs.

    Raises:
        TypeError: if x1 or x2 is not a floating-point tensor.
        IndexError: if the axis does not exist.
        ValueError: if the shapes do not broadcast, or eps <= 0.
    """
    check_input(x1, "cosine_similarity")
    check_input(x2, "cosine_similarity")
    eps = as_number(eps, "eps")
    if not eps > 0:
        raise ValueError(f"eps is the smallest length to divide by: it must be positive, got {eps}")
    try:
        shape = numpy.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ValueError(
            f"cosine_similarity takes shapes that broadcast together, got {x1.shape} and {x2.shape}"
        ) from None
    axis = normalize_dim(dim, len(shape))
    if not shape:
        return cosine_similarity(x1.reshape(1), x2.reshape(1), 0, eps).reshape(())
    a, b = (x if x.shape == shape else x.broadcast_to(shape) for x in (x1, x2))
    return CosineSimilarityFunction.apply(a, b, dim=axis, eps=eps)


class CosineSimilarity(Module):
    """cosine_similarity as a layer."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        check_numbers(eps=eps)
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return cosine_similarity(x1, x2, self.dim, self.eps)


register(
    name="cosine_similarity",
    function=cosine_similarity,
    composed=cosine_similarity_composed,
    cases=(
        Case(((3, 4), (3, 4))),
        Case(((3, 4), (3, 4)), {"dim": 0}),
        Case(((2, 3, 4), (3, 1)), {"dim": -2}),
        Case(((4,), (4,)), {"dim": 0}),
        Case(((0, 4), (0, 4))),
        Case((positive(), positive()), {"dim": 0}),
    ),
    errors=(
        ErrorCase(lambda: cosine_similarity(ones(2, 3), ones(2, 4)), ValueError, "broadcast"),
        ErrorCase(lambda: cosine_similarity(ones(3), ones(3)), IndexError, "out of range"),
        ErrorCase(lambda: cosine_similarity(ones(2, 3), ones(2, 3), eps=0.0), ValueError, "positive"),
        ErrorCase(lambda: cosine_similarity(ones(2, 3), ones(2, 3, dtype=int)), TypeError, "floating-point"),
    ),
    title="Cosine similarity",
    torch="torch.nn.functional.cosine_similarity",
)
