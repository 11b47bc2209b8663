"""Soft margin losses: a logistic curve instead of a hinge, for targets of 1 and -1 or of many labels.

    soft margin               y = log(1 + exp(-t·x)) = softplus(-t·x)            t = 1 or -1
    multilabel soft margin    y_n = -1/C Σc w_c·(t·log σ(x) + (1 - t)·log σ(-x))      t_nc = 1 or 0

Backward of the first, with softplus' = σ:

    dx = -dy·t·σ(-t·x)      dt = -dy·x·σ(-t·x)

The second is the mean over classes of binary cross entropies of logits, whose gradient it has.

Insight: with s = 2t - 1 for t in {0, 1}, both are the same: -log σ(s·x).
"""

from ...autograd.tensor import Tensor
from ...backends import Array
from ...module import Module
from ...ops import ones
from ...ops.elementwise import logistic
from ...registry import Case, ErrorCase, fixed, positive, register, uniform
from ..activation.sigmoids import log1p_exp
from .divergence import binary_cross_entropy_with_logits
from .elementwise_loss import ElementwiseLossFunction, check_pair, pair_errors, reduced
from .loss_reduction import REDUCTIONS, check_reduction


def soft_margin_loss_composed(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Soft margin from primitives: autograd finds the gradient."""
    z = -target * input
    return reduced(z.clamp(min=0) + (-z.abs()).exp().log1p(), reduction)


class SoftMarginLossFunction(ElementwiseLossFunction):
    """y = softplus(-t·x), reduced · dx = -dy·t·σ(-t·x), dt = -dy·x·σ(-t·x)"""

    def value(self, x: Array, t: Array) -> Array:
        return log1p_exp(-t * x)

    def slopes(self, x: Array, t: Array) -> tuple[Array, Array]:
        s = logistic(-t * x)
        return -t * s, -x * s


def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return log(1 + exp(-target·input)), in nats.

    Args:
        input: scores, of any shape.
        target: 1 or -1, of the same shape.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "soft_margin_loss")
    check_pair(input, target, "soft_margin_loss")
    return SoftMarginLossFunction.apply(input, target, reduction=reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return, for each sample, the mean over classes of the binary cross entropies of logits.

    Args:
        input: logits (..., C).
        target: 1 for the labels of a sample and 0 for others, of the same shape.
        weight: (C,), multiplies the losses. A constant.
        reduction: "none" for a loss per sample (...), "mean" or "sum".

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, there are no axes, or the reduction is unknown.
    """
    check_reduction(reduction, "multilabel_soft_margin_loss")
    check_pair(input, target, "multilabel_soft_margin_loss")
    if not input.ndim:
        raise ValueError("multilabel_soft_margin_loss takes logits (..., C), got shape ()")
    losses = binary_cross_entropy_with_logits(input, target, weight, reduction="none")
    return reduced(losses.mean(-1), reduction)


class SoftMarginLoss(Module):
    """soft_margin_loss as a layer."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, "SoftMarginLoss")
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(Module):
    """multilabel_soft_margin_loss as a layer; the weight (C,) is a buffer."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, "MultiLabelSoftMarginLoss")
        self.register_buffer("weight", weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


register(
    name="soft_margin_loss",
    function=soft_margin_loss,
    composed=soft_margin_loss_composed,
    cases=(
        *(Case(((3, 4), (3, 4)), {"reduction": reduction}) for reduction in REDUCTIONS),
        Case(((4,), fixed([1.0, -1.0, 1.0, -1.0]))),
        Case((positive(), positive())),
        Case(((0, 4), (0, 4)), {"reduction": "sum"}),
    ),
    errors=pair_errors(soft_margin_loss),
    kind="loss",
    title="Soft margin",
    torch="",  # PyTorch's target has no gradient
)
register(
    name="multilabel_soft_margin_loss",
    function=multilabel_soft_margin_loss,
    composed=None,
    cases=(
        *(
            Case(((3, 4), uniform(0, 1, 3, 4), positive(4, differentiable=False)), {"reduction": reduction})
            for reduction in REDUCTIONS
        ),
        Case(((4,), uniform(0, 1, 4))),
    ),
    errors=(
        *pair_errors(multilabel_soft_margin_loss),
        ErrorCase(lambda: multilabel_soft_margin_loss(ones(()), ones(())), ValueError, "(..., C)"),
    ),
    kind="loss",
    title="Multilabel soft margin",
    torch="torch.nn.functional.multilabel_soft_margin_loss",
)
