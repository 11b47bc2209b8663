"""GraphNorm: instance normalization over the nodes of each graph, with a learned share of the mean removed.

    x (N, D)   m = mean(x)   o = x - α·m   r = 1/√(mean(o²) + eps)   x̂ = o·r   y = w·x̂ + b

Means are over the nodes of one graph, for each column: m and r are (B, D) for B graphs. w, b and α are (D,).
mean(o²) is the second moment of o: for α ≠ 1 it is not the variance Var[x - α·m], which the formula in
PyTorch Geometric's documentation shows; its code computes the second moment, as here.

In the code: m mean, r rstd, α mean_scale, w weight, b bias.

Cai et al. 2021, arXiv:2009.03294.

Backward, for one column of one graph with n nodes, from dy = dL/dy. All graphs share w, b and α:

    dw = Σ dy·x̂      db = Σ dy      g := dL/dx̂ = w·dy

From x̂ back to o there are the two paths of RMSNorm (rmsnorm.py), straight and through r:

    do = r·(g - x̂·mean(g·x̂))

and from o = x - α·m back to x two more:

    straight     ∂o_j/∂x_i = 1 if i = j          do_i
    through m    ∂m/∂x_i = 1/n, ∂o_j/∂m = -α     -α·mean(do)

    dx = do - α·mean(do)      dα = -Σgraphs m·Σ do

All of it needs two sums of dy for each column, Σ dy and Σ dy·o, because mean(o) = (1 - α)·m is known:

    dx = w·r·(dy - α·mean(dy)) - w·r³·mean(dy·o)·(o - α·(1 - α)·m)

Insight: α is outside of the whole of do, not only of its mean(g). With α = 1 this is InstanceNorm, whose dx
is orthogonal to 1; with α = 0 it is RMSNorm over the nodes, and the mean, which may tell one graph from
another, survives.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...module import Module, Parameter
from ...ops.arguments import as_size
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, Input, fixed, register
from ..core.moments import affine, rsqrt
from ..core.segments import (
    check_graphs,
    graph_means,
    index_of,
    segment_moments,
    segment_rows,
    segment_sizes,
    segment_sums,
)


def graph_norm_composed(
    input: Tensor,
    batch: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean_scale: Tensor | None = None,
    batch_size: int | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """GraphNorm from primitives: autograd finds the gradients."""
    batch, count = check_graphs(input, batch, batch_size, "graph_norm")
    mean = graph_means(input, batch, count)
    out = input - (mean if mean_scale is None else mean_scale * mean)
    x_hat = out * (graph_means(out * out, batch, count) + eps) ** -0.5
    return affine(x_hat, weight, bias)


@kernel
def graph_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean_scale: Array | None,
    index: Array,
    count: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Return y (N, D), and mean and rstd (B, D): x (N, D), weight, bias and mean_scale (D,), index (N,)."""
    mean, square = segment_moments(x, mean_scale, index, count)
    rstd = rsqrt(square + eps)
    shift = mean if mean_scale is None else mean_scale * mean
    scale = rstd if weight is None else weight * rstd
    offset = None if bias is None else namespace(x).broadcast_to(bias, mean.shape)
    return segment_rows(x, shift, scale, offset, index), mean, rstd


@kernel
def graph_norm_backward(
    dy: Array,
    x: Array,
    weight: Array | None,
    mean_scale: Array | None,
    mean: Array,
    rstd: Array,
    index: Array,
) -> tuple[Array, Array, Array, Array]:
    """Return dx (N, D), dweight, dbias and dmean_scale (D,)."""
    w, a = (1.0 if vector is None else vector for vector in (weight, mean_scale))
    n, shift = segment_sizes(index, len(mean)), a * mean
    sum_dy, sum_dy_o = segment_sums(dy, x, shift, index)
    mean_dy, mean_o = sum_dy / n, (1 - a) * mean
    sum_dy_x_hat = rstd * sum_dy_o
    of_dy, of_o = w * rstd, w * rstd * (rstd * (sum_dy_x_hat / n))  # do = of_dy·dy - of_o·o; r³ may overflow
    dx = segment_rows(x, shift + a * mean_o, -of_o, a * mean_dy, index, dy, of_dy)
    dmean_scale = -(mean * n * (of_dy * mean_dy - of_o * mean_o)).sum(0)
    return dx, sum_dy_x_hat.sum(0), sum_dy.sum(0), dmean_scale


class GraphNormFunction(Function):
    """y = w·o·r + b, o = x - α·m · dx = do - α·mean(do), do = r·(g - x̂·mean(g·x̂)), means over each graph"""

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        mean_scale: Array | None,
        batch: Array | None,
        *,
        count: int,
        eps: float,
    ) -> Array:
        index = index_of(batch, x)
        y, mean, rstd = graph_norm_forward(x, weight, bias, mean_scale, index, count, eps)
        self.saved = x, weight, mean_scale, mean, rstd, index
        return y

    def backward(self, dy: Array) -> Gradients:
        x = self.saved[0]
        dx, *vectors = graph_norm_backward(dy, *self.saved)
        dtype = numpy.float64 if x.dtype == numpy.float64 else numpy.float32
        return dx, *(vector.astype(dtype) for vector in vectors), None


def graph_norm(
    input: Tensor,
    batch: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean_scale: Tensor | None = None,
    batch_size: int | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Subtract a share of its mean over the nodes of each graph from every column, and divide by the RMS.

    Args:
        input: nodes (N, D).
        batch: integers (N,), the graph of each node, in any order; None for one graph.
        weight: (D,), or None for 1.
        bias: (D,), or None for 0.
        mean_scale: (D,), the share α of the mean that is subtracted, or None for 1.
        batch_size: the number of graphs; None for the largest in batch plus 1, for which the host waits if it
            is on a GPU.
        eps: added to the mean square, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or batch not one of integers.
        ValueError: if the input is not (N, D), batch not (N,), a vector not (D,), or eps negative.
        IndexError: if a graph is not one of 0 to batch_size - 1.

    Source: Cai et al. 2021, arXiv:2009.03294.
    """
    batch, count = check_graphs(input, batch, batch_size, "graph_norm")
    check_vectors(input, input.shape[1:], weight=weight, bias=bias, mean_scale=mean_scale)
    check_eps(eps)
    return GraphNormFunction.apply(input, weight, bias, mean_scale, batch, count=count, eps=eps)


class GraphNorm(Module):
    """GraphNorm of nodes (N, D), with PyTorch Geometric's name, arguments and parameters.

    `weight` (ones), `bias` (zeros) and `mean_scale` (ones) are (in_channels,).

    `forward(x, batch, batch_size)` takes batch (N,), integers, the graph of each node, in any order, sorted
    or not; with None all nodes are one graph. batch_size is the number of graphs, by default the largest in
    batch plus 1, for which the host waits if it is on a GPU. An IndexError says that a graph is not one of 0
    to batch_size - 1.

    Source: Cai et al. 2021, arXiv:2009.03294.
    """

    def __init__(self, in_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.in_channels, self.eps = as_size(in_channels, "in_channels"), eps
        for name, value in (("weight", 1), ("bias", 0), ("mean_scale", 1)):
            setattr(self, name, Parameter(numpy.full(self.in_channels, value, numpy.float32)))

    def forward(self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        check_channels(x, "GraphNorm", self.in_channels)
        return graph_norm(x, batch, self.weight, self.bias, self.mean_scale, batch_size, self.eps)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, eps={self.eps}"


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


_MIXED = fixed([1, 0, 1, 1, 0, 3, 0])  # graph 2 is empty, graph 3 has one node

register(
    name="graph_norm",
    function=graph_norm,
    composed=graph_norm_composed,
    parameters=("weight", "bias", "mean_scale"),
    cases=(
        Case(((7, 3), _MIXED, (3,), (3,), (3,)), {"batch_size": 4}),
        Case(((4, 2), None, (2,), (2,), (2,))),
        Case(((5, 2), fixed([0, 0, 1, 1, 1]), None, None, None), {"batch_size": 2}),
        Case(((4, 3), fixed([0, 0, 1, 1]), None, (3,), (3,)), {"batch_size": 2, "eps": 1.0}),
        Case(((0, 2), None, (2,), (2,), (2,))),
    ),
    errors=(
        ErrorCase(lambda: graph_norm(_ones(3, 2).long()), TypeError, "floating-point"),
        ErrorCase(lambda: graph_norm(_ones(3)), ValueError, "takes nodes (N, D), got shape (3,)"),
        ErrorCase(lambda: graph_norm(_ones(3, 2), _ones(3)), TypeError, "batch as an integer tensor"),
        ErrorCase(lambda: graph_norm(_ones(3, 2), _ones(2).long()), ValueError, "takes batch (3,)"),
        ErrorCase(lambda: graph_norm(_ones(1, 2), _ones(1).long(), batch_size=1), IndexError, "to 0, got 1"),
        ErrorCase(lambda: graph_norm(_ones(3, 2), None, _ones(3)), ValueError, "weight"),
        ErrorCase(lambda: graph_norm(_ones(3, 2), eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="GraphNorm",
    paper="Cai et al. 2021, arXiv:2009.03294",
    pool="each feature over the nodes of one graph; a learned share of the mean",
    bench=tuple(
        Case(
            ((N, D), Input((N,), lambda rng, s: rng.integers(0, s[0] // 32, s), False), (D,), (D,), (D,)),
            {"batch_size": N // 32},
        )
        for N, D in ((1024, 64), (8192, 128))
    ),
)
