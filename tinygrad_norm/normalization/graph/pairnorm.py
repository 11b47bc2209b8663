"""PairNorm: the nodes of each graph are centered, and divided so that their distances keep one size.

    x (N, D)   m = mean(x)   o = x - m   r = 1/√(mean(‖o‖²) + eps)   y = s·o·r

Means are over the nodes of one graph: m is (B, D), r is (B, 1) for B graphs, and ‖o‖² is the sum over the D
columns of a node. s is a fixed number, `scale`. With `scale_individually` each node has its own divisor, as
in the paper's second version:

    l = ‖o‖   y = s·o/(eps + l)

Zhao, Akoglu 2020, arXiv:1909.12223.

Backward, for one graph with n nodes, from dy = dL/dy, with g := dL/d(o·r) = s·dy:

    straight     g·r
    through r    ∂r/∂o = -r³·o/n      -o·r³·Σ(g·o)/n, the sum over all nodes and columns of the graph

    do = r·(g - o·r²·Σ(g·o)/n)

and through the mean, as for every centering:

    dx = do - mean(do)

For single nodes it is the sum over the own columns, with eps + l in place of the root:

    do = (g - o·Σ(g·o)/(l·(eps + l)))/(eps + l)

where the second term is 0 for l = 0.

Insight: the mean squared distance of two nodes is 2·mean(‖o‖²), so r keeps it at 2·s²: a deep graph network
cannot pull all nodes into one point.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...module import Module
from ...ops import where
from ...ops.arguments import as_finite, check_flags
from ...ops.checks import check_eps
from ...registry import Case, ErrorCase, Input, fixed, register
from ..core.moments import rsqrt
from ..core.segments import (
    check_graphs,
    graph_means,
    index_of,
    segment_moments,
    segment_rows,
    segment_sizes,
    segment_sums,
)


def pair_norm_composed(
    input: Tensor,
    batch: Tensor | None = None,
    batch_size: int | None = None,
    scale: float = 1.0,
    scale_individually: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """PairNorm from primitives: autograd finds the gradient."""
    batch, count = check_graphs(input, batch, batch_size, "pair_norm")
    out = input - graph_means(input, batch, count)
    squares = (out * out).sum(1, keepdim=True)
    if scale_individually:
        length = where(squares == 0, 0.0, where(squares == 0, 1.0, squares) ** 0.5)
        return scale * out / (eps + length)
    return scale * out * (graph_means(squares, batch, count) + eps) ** -0.5


@kernel
def pair_norm_forward(
    x: Array, index: Array, count: int, scale: float, individually: bool, eps: float
) -> tuple[Array, Array, Array]:
    """Return y (N, D), the mean (B, D), and rstd (B, 1); or, for single nodes, their divisors (N, 1)."""
    mean, square = segment_moments(x, None, index, count)
    if individually:
        o = x.astype(numpy.float64) - mean[index]
        length = _lengths(o)
        return (scale * o / _divisors(length, eps)).astype(x.dtype), mean, length
    rstd = rsqrt(square.sum(1, keepdims=True) + eps)
    return segment_rows(x, mean, scale * rstd, None, index), mean, rstd


@kernel
def pair_norm_backward(
    dy: Array,
    x: Array,
    index: Array,
    mean: Array,
    size: Array,
    scale: float,
    individually: bool,
    eps: float,
) -> Array:
    """Return dx (N, D); `size` is what forward returned last, rstd or the lengths of single nodes."""
    n = segment_sizes(index, len(mean))
    if individually:
        do = _individual(scale * dy.astype(numpy.float64), x.astype(numpy.float64) - mean[index], size, eps)
        do = do.astype(x.dtype)
        sum_do, _ = segment_sums(do, x, mean, index)
        return segment_rows(do, sum_do / n, namespace(x).ones_like(sum_do), None, index)
    rstd = size
    sum_dy, sum_dy_o = segment_sums(dy, x, mean, index)
    of_dy = scale * rstd
    of_o = scale * rstd**3 * (sum_dy_o.sum(1, keepdims=True) / n)  # do = of_dy·dy - of_o·o
    return segment_rows(x, mean, -of_o, sum_dy / n, index, dy, of_dy)


def _lengths(o: Array) -> Array:
    xp, squares = namespace(o), (o * o).sum(1, keepdims=True)
    return xp.where(squares == 0, 0, xp.where(squares == 0, 1, squares) ** 0.5)


def _divisors(length: Array, eps: float) -> Array:
    """Return eps + length, and 1 for 0: with eps = 0, a node in the middle stays there."""
    return namespace(length).where(length + eps == 0, 1, length + eps)


def _individual(g: Array, o: Array, length: Array, eps: float) -> Array:
    """Return do of single nodes."""
    divisor, of_node = _divisors(length, eps), (g * o).sum(1, keepdims=True)
    return (g - o * (of_node / (_divisors(length, 0.0) * divisor))) / divisor


class PairNormFunction(Function):
    """y = s·o·r, o = x - m, r = 1/√(mean ‖o‖² + eps) · dx = do - mean(do), do = r·(g - o·r²·Σ(g·o)/n)"""

    def forward(
        self,
        x: Array,
        batch: Array | None,
        *,
        count: int,
        scale: float,
        individually: bool,
        eps: float,
    ) -> Array:
        index = index_of(batch, x)
        y, mean, size = pair_norm_forward(x, index, count, scale, individually, eps)
        self.saved = x, index, mean, size, scale, individually, eps
        return y

    def backward(self, dy: Array) -> Gradients:
        return pair_norm_backward(dy, *self.saved), None


def pair_norm(
    input: Tensor,
    batch: Tensor | None = None,
    batch_size: int | None = None,
    scale: float = 1.0,
    scale_individually: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Center the nodes of each graph, and divide them by the root of their mean squared length.

    Args:
        input: nodes (N, D).
        batch: integers (N,), the graph of each node, in any order; None for one graph.
        batch_size: the number of graphs; None for the largest in batch plus 1, for which the host waits if it
            is on a GPU.
        scale: y is multiplied by it.
        scale_individually: divide each node by its own length plus eps instead.
        eps: added to the mean of squares, in units of input²; or to the length, in units of input.

    Raises:
        TypeError: if the input is not a floating-point tensor, or batch not one of integers.
        ValueError: if the input is not (N, D), batch not (N,), scale not finite, or eps negative.
        IndexError: if a graph is not one of 0 to batch_size - 1.

    Source: Zhao, Akoglu 2020, arXiv:1909.12223.
    """
    batch, count = check_graphs(input, batch, batch_size, "pair_norm")
    options = _checked(scale, scale_individually, eps)
    return PairNormFunction.apply(input, batch, count=count, **options)


def _checked(scale: float, scale_individually: bool, eps: float) -> dict[str, Any]:
    check_flags(scale_individually=scale_individually)
    check_eps(eps)
    return {"scale": as_finite(scale, "scale"), "individually": scale_individually, "eps": eps}


class PairNorm(Module):
    """PairNorm of nodes (N, D), with PyTorch Geometric's name and arguments. It has no parameters.

    Call it with batch (N,), the graph of each node. Source: Zhao, Akoglu 2020, arXiv:1909.12223.
    """

    def __init__(self, scale: float = 1.0, scale_individually: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        _checked(scale, scale_individually, eps)
        self.scale, self.scale_individually, self.eps = scale, scale_individually, eps

    def forward(self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        return pair_norm(x, batch, batch_size, self.scale, self.scale_individually, self.eps)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, scale_individually={self.scale_individually}, eps={self.eps}"


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


_MIXED = fixed([1, 0, 1, 1, 0, 3, 0])  # graph 2 is empty, graph 3 has one node

register(
    name="pair_norm",
    function=pair_norm,
    composed=pair_norm_composed,
    cases=(
        Case(((7, 3), _MIXED), {"batch_size": 4, "scale": 2.0}),
        Case(((4, 2), None)),
        Case(((7, 3), fixed([1, 0, 1, 1, 0, 0, 0])), {"batch_size": 2, "scale_individually": True}),
        Case(((0, 2), None)),
    ),
    errors=(
        ErrorCase(lambda: pair_norm(_ones(3, 2).long()), TypeError, "floating-point"),
        ErrorCase(lambda: pair_norm(_ones(3)), ValueError, "takes nodes (N, D), got shape (3,)"),
        ErrorCase(lambda: pair_norm(_ones(3, 2), _ones(2).long()), ValueError, "takes batch (3,)"),
        ErrorCase(lambda: pair_norm(_ones(1, 2), _ones(1).long(), 1), IndexError, "0 to 0, got 1"),
        ErrorCase(lambda: pair_norm(_ones(3, 2), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: PairNorm(math.nan), ValueError, "scale must be finite, got nan"),
        ErrorCase(lambda: PairNorm("1"), TypeError, "scale"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="PairNorm",
    paper="Zhao, Akoglu 2020, arXiv:1909.12223",
    pool="each feature of one graph to the mean, the whole graph to the length",
    bench=tuple(
        Case(
            ((N, D), Input((N,), lambda rng, s: rng.integers(0, s[0] // 32, s), False)),
            {"batch_size": N // 32},
        )
        for N, D in ((1024, 64), (8192, 128))
    ),
)
