"""Softmax with a sink: one more logit takes part in the sum and gets a share, but no output.

    z (..., D, ...) logits, along one axis   s one sink per row   Z = Σ exp(z) + exp(s)
    y = p = exp(z)/Z

The outputs sum to 1 - p_s with p_s = exp(s)/Z: attention to nothing is possible. With s = 0 it is the softmax
with 1 added to the sum, with s = -∞ the plain one.

In the code: p y, s sink, p_s of_sink. The bodies are those of softmax.py, on rows with one more entry.

OpenAI 2025, gpt-oss, arXiv:2508.10925, where each attention head learns one.

Backward, for one row, from dy = dL/dp. The softmax of D + 1 entries has dx_i = p_i·(dp_i - Σ_j dp_j·p_j),
over all of them, and the sink's output is thrown away, so its dp is 0:

    dx = p·(dy - Σ dy·p)      ds = -p_s·Σ dy·p

Insight: dx does not sum to 0, as it does without a sink, but to p_s·Σ dy·p = -ds: a constant added to all
logits changes what goes to the sink.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones
from ...ops.broadcast import stretch, unbroadcast
from ...ops.checks import check_input, check_same_dtype
from ...ops.dims import normalize_dim
from ...registry import Case, ErrorCase, register
from .softmax import softmax_backward, softmax_forward
from .softmax_axis import axis_sums, lay_out


def softmax_with_sink_composed(input: Tensor, sink: Tensor, dim: int = -1) -> Tensor:
    """Softmax with a sink from primitives: autograd finds the gradients."""
    e = input.exp()
    return e / (e.sum(dim, keepdim=True) + sink.exp())


@kernel
def softmax_with_sink_forward(x: Array, sink: Array) -> tuple[Array, Array]:
    """Return y, of x's shape (N, D) or (N, D, S), and p_s: it and the sink have size 1 on axis 1."""
    y = softmax_forward(namespace(x).concatenate((x, sink), 1))
    return y[:, :-1], y[:, -1:]


@kernel
def softmax_with_sink_backward(dy: Array, y: Array, of_sink: Array) -> tuple[Array, Array]:
    """Return dx, of the shape of dy and y, and dsink, of that of p_s."""
    return softmax_backward(dy, y), downcast(-upcast(of_sink) * axis_sums(upcast(dy) * upcast(y)), dy)


class SoftmaxWithSinkFunction(Function):
    """y = exp(z)/(Σ exp(z) + exp(s)) · dx = y·(dy - Σ dy·y), ds = -p_s·Σ dy·y"""

    def forward(self, x: Array, sink: Array, *, dim: int) -> Array:
        self.shape, self.dim = sink.shape, dim
        self.rows = tuple([1 if axis == dim else n for axis, n in enumerate(x.shape)])
        y, of_sink = softmax_with_sink_forward(lay_out(x, dim), lay_out(stretch(sink, self.rows), dim))
        y = namespace(x).ascontiguousarray(y)
        self.saved = y, of_sink
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dsink = softmax_with_sink_backward(lay_out(dy, self.dim), *self.saved)
        return dx.reshape(dy.shape), downcast(unbroadcast(dsink.reshape(self.rows), self.shape), dy)


def softmax_with_sink(input: Tensor, sink: Tensor, dim: int = -1) -> Tensor:
    """Return exp(input) over Σ exp(input) + exp(sink) along axis `dim`: the sum is below 1.

    Args:
        input: any shape with at least one axis.
        sink: logits that broadcast to the input with size 1 on `dim`, such as (H, 1, 1) for attention scores
            (N, H, T, S).
        dim: the axis of the sum.

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        IndexError: if the axis does not exist.
        ValueError: if the sink does not broadcast.

    Source: OpenAI 2025, gpt-oss, arXiv:2508.10925.
    """
    check_input(input, "softmax_with_sink")
    check_input(sink, "softmax_with_sink as its sink")
    check_same_dtype("softmax_with_sink", input, sink=sink)
    dim = normalize_dim(dim, input.ndim)
    rows = tuple([1 if axis == dim else n for axis, n in enumerate(input.shape)])
    pairs = zip(reversed(sink.shape), reversed(rows), strict=False)
    if sink.ndim > input.ndim or any(n not in (1, size) for n, size in pairs):
        raise ValueError(f"softmax_with_sink takes a sink that broadcasts to {rows}, got shape {sink.shape}")
    return SoftmaxWithSinkFunction.apply(input, sink, dim=dim)


register(
    name="softmax_with_sink",
    function=softmax_with_sink,
    composed=softmax_with_sink_composed,
    cases=(
        Case(((4, 5), ())),
        Case(((2, 3, 2, 4), (3, 1, 1))),
        Case(((2, 3, 4), (2, 1, 4)), {"dim": 1}),
        Case(((0, 3), (1,))),
    ),
    errors=(
        ErrorCase(lambda: softmax_with_sink(ones(2, 3).long(), ones(1)), TypeError, "floating-point"),
        ErrorCase(lambda: softmax_with_sink(ones(2, 3), ones(3)), ValueError, "broadcasts to (2, 1)"),
        ErrorCase(lambda: softmax_with_sink(ones(2, 3), ones(1, 1, 1)), ValueError, "(1, 1, 1)"),
        ErrorCase(lambda: softmax_with_sink(ones(2, 3), ones(1), 2), IndexError, "dim 2"),
        ErrorCase(lambda: softmax_with_sink(ones(2, 3), ones(1).double()), TypeError, "float64"),
    ),
    paper="OpenAI 2025, gpt-oss, arXiv:2508.10925",
)
