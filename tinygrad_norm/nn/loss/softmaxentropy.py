"""Entropy of a softmax: how undecided a prediction is, without knowing what is right.

    x (..., C) logits, along one axis   p = softmax(x)   y = -Σ p·log p, one number in [0, log C] per row

0·log 0 counts as 0, so a class with a logit of -∞ takes no part.

Wang et al. 2021, arXiv:2006.10726, who adapt a network to test data by making its mean small.

Backward, for one row, from dy = dL/dy. p reaches y in the factor and in the logarithm:

    ∂y/∂p_k = -(log p_k + 1)

and softmax (softmax.py) gives back dx_k = p_k·(dp_k - Σ_i dp_i·p_i), from which the 1 drops out, as it would
of any constant; and Σ_i p_i·log p_i = -y:

    dx = -dy·p·(log p + y)

In the code: log p log_p. The bodies are those of softmax.py: dx is the softmax's of dp = -dy·log p.

Insight: classes with -log p < y get a positive part of -dx and become more probable, all others less: what is
believed is believed more. A uniform row has gradient 0, and stays undecided.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...ops import ones
from ...ops.checks import check_input
from ...ops.dims import normalize_dim
from ...registry import Case, ErrorCase, fixed, register, uniform
from ..activation.softmax import log_softmax_composed, log_softmax_forward, softmax_backward
from ..activation.softmax_axis import axis_sums, lay_out


def softmax_entropy_composed(input: Tensor, dim: int = -1) -> Tensor:
    """The entropy of a softmax from primitives: autograd finds the gradient."""
    log_p = log_softmax_composed(input, dim)
    return -(log_p.exp() * log_p.masked_fill(log_p.eq(-float("inf")), 0.0)).sum(dim)


@in_blocks("log_p")
def _probabilities(log_p: Array) -> tuple[Array, Array]:
    """Return p, and log p with 0 in place of -∞."""
    xp = namespace(log_p)
    p = xp.exp(log_p)
    return p, xp.where(p == 0, 0, log_p)


@kernel
def softmax_entropy_forward(x: Array) -> tuple[Array, Array, Array]:
    """Return y (N, 1) or (N, 1, S), p and log p; x is (N, C) or (N, C, S)."""
    p, log_p = _probabilities(log_softmax_forward(upcast(x)))
    return -axis_sums(p * log_p), p, log_p


@kernel
def softmax_entropy_backward(dy: Array, p: Array, log_p: Array) -> Array:
    """Return dx, of the shape of p; dy is (N, 1) or (N, 1, S)."""
    return softmax_backward(-dy * log_p, p)


class SoftmaxEntropyFunction(Function):
    """y = -Σ p·log p with p = softmax(x) · dx = -dy·p·(log p + y)"""

    def forward(self, x: Array, *, dim: int) -> Array:
        y, p, log_p = softmax_entropy_forward(lay_out(x, dim))
        self.saved = p, log_p, x.shape
        return downcast(y, x).reshape([n for axis, n in enumerate(x.shape) if axis != dim])

    def backward(self, dy: Array) -> Gradients:
        p, log_p, shape = self.saved
        dys = upcast(dy).reshape(p.shape[0], 1, *p.shape[2:])
        return downcast(softmax_entropy_backward(dys, p, log_p), dy).reshape(shape)


def softmax_entropy(input: Tensor, dim: int = -1) -> Tensor:
    """Return the entropy of softmax(input) along an axis, in nats; that axis is gone.

    Args:
        input: logits (..., C, ...), with at least one axis.
        dim: the axis of the classes.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        IndexError: if there is no such axis.

    Source: Wang et al. 2021, arXiv:2006.10726.
    """
    check_input(input, "softmax_entropy")
    if not input.ndim:
        raise IndexError("softmax_entropy takes logits with an axis of classes, got a single number")
    return SoftmaxEntropyFunction.apply(input, dim=normalize_dim(dim, input.ndim))


register(
    name="softmax_entropy",
    function=softmax_entropy,
    composed=softmax_entropy_composed,
    cases=(
        Case(((3, 4),)),
        Case(((4,),)),
        Case(((2, 3, 4),), {"dim": 1}),
        Case((uniform(-5, 5, 3, 4),), {"dim": 0}),
        Case((fixed([[0.3, -float("inf"), 1.0]]),)),
        Case(((0, 3),)),
    ),
    errors=(
        ErrorCase(lambda: softmax_entropy(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: softmax_entropy(ones(2, 3), 2), IndexError, "out of range"),
        ErrorCase(lambda: softmax_entropy(ones()), IndexError, "single number"),
    ),
    kind="loss",
    title="Entropy of a softmax",
    paper="Wang et al. 2021, arXiv:2006.10726",
)
