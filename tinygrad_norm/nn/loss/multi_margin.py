"""Margin losses over classes: the score of a right class should exceed that of every wrong class by a margin.

    multi margin       y_n = w_t/C Σ_{j ≠ t} max(0, margin - x_t + x_j)^p      t the class of sample n
    multilabel margin  y_n = 1/C Σ_k Σ_{i wrong} max(0, 1 - x_{t_k} + x_i)     t_1, t_2, ... its labels

Backward of the first, with h_j = max(0, margin - x_t + x_j): x_j reaches y through h_j alone, and x_t through
all of them, with the opposite sign,

    dx_j = dy·w_t/C·p·h_j^(p-1), where h_j > 0      dx_t = -Σ_{j ≠ t} dx_j

and that of the second is the same, once per label. Both are made from primitives that give this gradient.

Insight: dx sums to 0 over the classes, because only differences of scores count.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops import arange, eq, ones, tensor, where
from ...ops.arguments import as_number
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, fixed, integers, positive, register
from ..embedding import check_range
from .class_indices import check_classes
from .elementwise_loss import reduced
from .loss_reduction import REDUCTIONS, check_reduction


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Return how much the scores of wrong classes exceed that of the right class less the margin.

    Args:
        input: scores (N, C) or (C,).
        target: class indices (N,) or ().
        p: 1 or 2, the power of each excess.
        margin: in units of the scores.
        weight: (C,), multiplies the losses of each class. A constant.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if the input is not a floating-point tensor, or the target not an integer tensor.
        ValueError: if a shape does not fit, p is neither 1 nor 2, or the reduction is unknown.
        IndexError: if a class index is outside 0 to C - 1.
    """
    name = "multi_margin_loss"
    check_reduction(reduction, name)
    _check_power(p)
    check_classes(input, target, weight, name)
    if input.ndim > 2:
        raise ValueError(f"{name} takes scores (N, C) or (C,), got shape {input.shape}")
    C = input.shape[-1]
    check_range(target, C, name)
    is_right = eq(target.unsqueeze(-1), arange(C))
    right = where(is_right, input, 0).sum(-1, keepdim=True)
    excess = (as_number(margin, "margin") - right + input).clamp(min=0)
    losses = where(is_right, 0, excess if p == 1 else excess * excess).sum(-1) / C
    return reduced(losses if weight is None else losses * where(is_right, weight, 0).sum(-1), reduction)


def _check_power(p: int) -> None:
    if p not in (1, 2):
        raise ValueError(f"p of multi_margin_loss must be 1 or 2, got {p!r}")


def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return how much the scores of wrong classes exceed those of the labels less 1.

    Args:
        input: scores (N, C) or (C,).
        target: (N, C) or (C,), integers: the labels of a sample, then -1; what follows is ignored.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if the input is not a floating-point tensor, or the target not an integer tensor.
        ValueError: if a shape does not fit, or the reduction is unknown.
        IndexError: if a label is outside -1 to C - 1.
    """
    name = "multilabel_margin_loss"
    check_reduction(reduction, name)
    check_input(input, name)
    if not isinstance(target, Tensor) or target.array.dtype.kind not in "iu":
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"{name} takes labels as an integer tensor, got {kind}")
    if input.ndim not in (1, 2) or target.shape != input.shape:
        raise ValueError(
            f"{name} takes scores and labels (N, C) or (C,), got {input.shape} and {target.shape}"
        )
    C = input.shape[-1]
    check_range(target + 1, C + 1, f"{name} of {C} classes, with 1 added,")
    ended = (target < 0).to(input.dtype).cumsum(-1) > 0  # from the first -1 on
    labels = where(ended, -1, target).unsqueeze(-1)
    is_right = eq(labels, arange(C))  # (..., K, C), one row per label
    right = where(is_right, input.unsqueeze(-2), 0).sum(-1, keepdim=True)
    is_wrong = is_right.to(input.dtype).sum(-2, keepdim=True) == 0
    excess = (1 - right + input.unsqueeze(-2)).clamp(min=0)
    losses = where(labels >= 0, where(is_wrong, excess, 0), 0).sum((-2, -1)) / C
    return reduced(losses, reduction)


class MultiMarginLoss(Module):
    """multi_margin_loss as a layer; the weight (C,) is a buffer."""

    weight: Tensor | None

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction, "MultiMarginLoss")
        _check_power(p)
        self.register_buffer("weight", weight)
        self.p, self.margin, self.reduction = p, as_number(margin, "margin"), reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


class MultiLabelMarginLoss(Module):
    """multilabel_margin_loss as a layer."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, "MultiLabelMarginLoss")
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multilabel_margin_loss(input, target, reduction=self.reduction)


_LABELS = fixed([[1, 3, -1, 0], [2, -1, 0, 1], [0, 1, 2, 3]])

register(
    name="multi_margin_loss",
    function=multi_margin_loss,
    composed=None,
    cases=(
        *(Case(((3, 4), integers(4, 3)), {"reduction": reduction}) for reduction in REDUCTIONS),
        Case(((3, 4), integers(4, 3)), {"p": 2, "margin": 0.7}),
        Case(((3, 4), integers(4, 3), positive(4, differentiable=False))),
        Case(((4,), fixed(2))),
    ),
    inputs=("input", "target", "weight"),
    errors=(
        ErrorCase(lambda: multi_margin_loss(ones(2, 3), tensor([0, 1]), 3), ValueError, "1 or 2, got 3"),
        ErrorCase(lambda: multi_margin_loss(ones(2, 3), tensor([0, 3])), IndexError, "0 to 2, got 3"),
        ErrorCase(lambda: multi_margin_loss(ones(2, 3), ones(2)), TypeError, "integer"),
    ),
    kind="loss",
    title="Multi margin",
    torch="torch.nn.functional.multi_margin_loss",
)
register(
    name="multilabel_margin_loss",
    function=multilabel_margin_loss,
    composed=None,
    cases=(
        *(Case(((3, 4), _LABELS), {"reduction": reduction}) for reduction in REDUCTIONS),
        Case(((4,), fixed([2, 0, -1, -1]))),
    ),
    errors=(
        ErrorCase(
            lambda: multilabel_margin_loss(ones(2, 3), tensor([0, 1])), ValueError, "scores and labels"
        ),
        ErrorCase(lambda: multilabel_margin_loss(ones(2), tensor([2, -1])), IndexError, "got 3"),
        ErrorCase(lambda: multilabel_margin_loss(ones(2), ones(2)), TypeError, "integer"),
    ),
    kind="loss",
    title="Multilabel margin",
    torch="torch.nn.functional.multilabel_margin_loss",
)
