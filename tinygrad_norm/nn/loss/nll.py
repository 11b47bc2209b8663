"""Negative log-likelihood: the second half of cross entropy, for logarithms of probabilities.

x (N, C, ...) log-probabilities   t class indices   loss = -w_t·x_t      dx = -dy·w_t·onehot(t)
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import downcast, upcast
from ...module import Module
from ...ops import arange, ones
from ...ops.arguments import as_size
from ...registry import Case, ErrorCase, fixed, integers, positive, register
from .class_indices import by_class, check_classes, locate_targets
from .loss_reduction import check_reduction, reduce_losses, reduce_losses_backward


def nll_loss_composed(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood from primitives: autograd finds the gradient."""
    axis = min(input.ndim - 1, 1)
    per_class = (input.shape[axis], *(1,) * (input.ndim - axis - 1))
    t = target.unsqueeze(axis)
    hits = t.eq(arange(per_class[0]).reshape(per_class)) & t.ne(ignore_index)
    q = hits if weight is None else hits * weight.reshape(per_class)
    losses = -(input * q).sum(axis)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / q.sum()


class NLLLossFunction(Function):
    """y = -w_t·x_t, reduced · dx = -dy·w_t·onehot(t)"""

    def forward(
        self, x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str
    ) -> Array:
        rows = by_class(x)
        entries = locate_targets(target, rows, weight, ignore_index)
        losses = entries.weigh(-rows.reshape(-1)[entries.index]).reshape(target.shape)
        self.saved = entries, rows.shape, reduction, x.shape
        return downcast(reduce_losses(losses, reduction, entries.divisor), x)

    def backward(self, dy: Array) -> Gradients:
        entries, rows_shape, reduction, shape = self.saved
        dlosses = reduce_losses_backward(upcast(dy), reduction, entries.index.shape, entries.divisor)
        dlosses = entries.weigh(dlosses)
        dx = namespace(dy).zeros(rows_shape, dlosses.dtype)
        dx.reshape(-1)[entries.index] = -dlosses
        return dx.reshape(shape), None, None


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log-likelihood of the target classes: cross_entropy is nll_loss of log_softmax.

    Args:
        input: log-probabilities (N, C), (N, C, ...) or, for one sample, (C,).
        target: class indices of the input's shape without C.
        weight: (C,), the weight of each class. A constant.
        ignore_index: the class index of targets to ignore.
        reduction: "none", "sum", or "mean": Σ loss / Σ weight of the targets that are not ignored, 0 if all
            are (PyTorch: NaN).

    Raises:
        TypeError: if the input is not a floating-point tensor, or the target not an integer tensor.
        ValueError: if the shapes do not fit, or the reduction is unknown.
        IndexError: if a class index is out of range.
    """
    check_reduction(reduction, "nll_loss")
    check_classes(input, target, weight, "nll_loss")
    ignore_index = as_size(ignore_index, "ignore_index", None)
    return NLLLossFunction.apply(input, target, weight, ignore_index=ignore_index, reduction=reduction)


class NLLLoss(Module):
    """nll_loss as a layer; `weight` (C,) is a buffer. Takes log-probabilities and targets."""

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


_WEIGHT = positive(3, differentiable=False)
_SOME_IGNORED = fixed([[0, -100, 2], [1, 0, -100]])

register(
    name="nll_loss",
    function=nll_loss,
    composed=nll_loss_composed,
    cases=(
        Case(((4, 3), integers(3, 4), None)),
        Case(((4, 3), integers(3, 4), _WEIGHT), {"reduction": "none"}),
        Case(((4, 3), integers(3, 4), _WEIGHT), {"ignore_index": 2}),
        Case(((2, 3, 3), _SOME_IGNORED, _WEIGHT)),
        Case(((2, 3, 2, 2), integers(3, 2, 2, 2), None), {"reduction": "sum"}),
        Case(((3,), integers(3), None)),
    ),
    errors=(
        ErrorCase(lambda: nll_loss(ones(2, 3), Tensor([0, 3])), IndexError, "3 classes"),
        ErrorCase(lambda: nll_loss(ones(2, 3), Tensor([0])), ValueError, "one class index"),
        ErrorCase(lambda: nll_loss(ones(2, 3), Tensor([0.0, 1.0])), TypeError, "integer"),
        ErrorCase(lambda: nll_loss(ones(2, 3), Tensor([0, 1]), ones(2)), ValueError, "per class"),
        ErrorCase(lambda: NLLLoss(reduction="avg"), ValueError, "reduction"),
    ),
    kind="loss",
    title="Negative log-likelihood",
    torch="torch.nn.functional.nll_loss",
)
