"""Losses that compare: pairs that should be in order, or near each other, or apart.

    margin ranking      y = max(0, margin - t·(a - b))             t = 1: a should be larger; t = -1: b
    hinge embedding     y = x if t = 1, max(0, margin - x) if t = -1            x a distance
    cosine embedding    y = 1 - cos(a, b) if t = 1, max(0, cos(a, b) - margin) if t = -1
    triplet margin      y = max(0, d(a, p) - d(a, n) + margin)     d(a, b) = ‖a - b + eps‖

Backward of margin ranking: where y > 0, a raises y by -t and b by t, so da = -dy·t and db = dy·t; where the
order holds by the margin, nothing is left to learn, da = db = 0. The other three are made from distances,
whose gradients are those of norm and cosine_similarity, and from the same hinge.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import downcast, upcast
from ...module import Module
from ...ops import clamp, eq, minimum, norm, ones, tensor, where
from ...ops.arguments import as_number, check_flags
from ...ops.broadcast import unbroadcast
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, fixed, register
from .elementwise_loss import reduced
from .loss_reduction import check_reduction, reduce_losses, reduce_losses_backward
from .similarity import cosine_similarity


class MarginRankingLossFunction(Function):
    """y = max(0, margin - t·(a - b)), reduced · da = -dy·t where y > 0, db = dy·t where y > 0"""

    def forward(self, a: Array, b: Array, target: Array, *, margin: float, reduction: str) -> Array:
        losses = margin - target * (upcast(a) - upcast(b))
        self.saved = a.shape, b.shape, target, losses >= 0, losses.shape, reduction
        clipped = namespace(losses).maximum(losses, 0)
        return downcast(reduce_losses(clipped, reduction, max(losses.size, 1)), a)

    def backward(self, dy: Array) -> Gradients:
        a_shape, b_shape, target, active, shape, reduction = self.saved
        divisor = active.size or 1
        slopes = reduce_losses_backward(upcast(dy), reduction, shape, divisor) * (target * active)
        da = unbroadcast(-slopes, a_shape) if self.needs[0] else None
        return da, unbroadcast(slopes, b_shape) if self.needs[1] else None, None


def margin_ranking_loss_composed(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """Margin ranking from primitives: autograd finds the gradient."""
    return reduced(clamp(margin - target * (input1 - input2), min=0), reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """Return how far pairs are from the order that `target` asks for.

    Args:
        input1: any shape.
        input2: of a shape that broadcasts with it.
        target: 1 where input1 should be larger, -1 where input2 should; a constant.
        margin: by how much.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if an input is not a floating-point tensor.
        ValueError: if the reduction is unknown, or the target requires a gradient.
    """
    name = "margin_ranking_loss"
    check_reduction(reduction, name)
    check_input(input1, name)
    check_input(input2, name)
    signs = _signs(target, input1, name)
    return MarginRankingLossFunction.apply(
        input1, input2, signs, margin=as_number(margin, "margin"), reduction=reduction
    )


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """Return distances where `target` is 1, and how much is missing to the margin where it is -1.

    Args:
        input: distances, of any shape.
        target: 1 for what should be near, -1 for what should be apart; a constant.
        margin: the distance that is enough.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the reduction is unknown, or the target requires a gradient.
    """
    check_reduction(reduction, "hinge_embedding_loss")
    check_input(input, "hinge_embedding_loss")
    near = eq(_signs(target, input, "hinge_embedding_loss"), 1)
    apart = clamp(as_number(margin, "margin") - input, min=0)
    return reduced(where(near, input, apart), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """Return 1 - cos where `target` is 1, and how far cos is above the margin where it is -1.

    Args:
        input1: (N, D) or (D,).
        input2: of the same shape.
        target: (N,) or (): 1 for vectors that should point the same way, -1 for others; a constant.
        margin: the cosine that is small enough.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if an input is not a floating-point tensor.
        ValueError: if the reduction is unknown, a shape does not fit, or the target requires a gradient.
    """
    check_reduction(reduction, "cosine_embedding_loss")
    cosine = cosine_similarity(input1, input2, -1)
    signs = _signs(target, input1, "cosine_embedding_loss")
    if input1.ndim not in (1, 2) or signs.shape != cosine.shape:
        raise ValueError(
            f"cosine_embedding_loss takes vectors (N, D) with a target (N,), or (D,) with (), got "
            f"{input1.shape}, {input2.shape} and {signs.shape}"
        )
    apart = clamp(cosine - as_number(margin, "margin"), min=0)
    return reduced(where(eq(signs, 1), 1 - cosine, apart), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Return how much nearer, than by the margin, an anchor is to the wrong vector.

    Args:
        anchor: (..., D).
        positive: what the anchor should be near to.
        negative: what it should be far from.
        margin: by how much.
        p: the order of the norm.
        eps: added to every difference, in units of the inputs: the norm then has a gradient at 0.
        swap: take the distance from the positive to the negative, if that is smaller than from the anchor.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if an input is not a floating-point tensor.
        ValueError: if the reduction is unknown, the margin is not positive, or the inputs have no axes.

    Source: Balntas et al. 2016, "Learning local feature descriptors with triplets".
    """
    name = "triplet_margin_loss"
    check_reduction(reduction, name)
    check_flags(swap=swap)
    for x in (anchor, positive, negative):
        check_input(x, name)
        if not x.ndim:
            raise ValueError(f"{name} takes vectors (..., D), got shape ()")
    if not as_number(margin, "margin") > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    p, eps = as_number(p, "p"), as_number(eps, "eps")
    near, far = norm(anchor - positive + eps, p, -1), norm(anchor - negative + eps, p, -1)
    if swap:
        far = minimum(far, norm(positive - negative + eps, p, -1))
    return reduced(clamp(near - far + margin, min=0), reduction)


def _signs(target: Tensor, input: Tensor, name: str) -> Tensor:
    if not isinstance(target, Tensor):
        raise TypeError(f"{name} takes a target of 1 and -1 as a Tensor, got {type(target).__name__}")
    if target.requires_grad:
        raise ValueError(f"the target of {name} is a constant: pass target.detach()")
    return target.to(input.dtype)


class _Compared(Module):
    """Base of the layers of two inputs and a target, with a margin."""

    def __init__(self, margin: float, reduction: str, name: str) -> None:
        super().__init__()
        check_reduction(reduction, name)
        self.margin, self.reduction = as_number(margin, "margin"), reduction


class MarginRankingLoss(_Compared):
    """margin_ranking_loss as a layer."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(margin, reduction, "MarginRankingLoss")

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(_Compared):
    """hinge_embedding_loss as a layer."""

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(margin, reduction, "HingeEmbeddingLoss")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Compared):
    """cosine_embedding_loss as a layer."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(margin, reduction, "CosineEmbeddingLoss")

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class TripletMarginLoss(Module):
    """triplet_margin_loss as a layer."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction, "TripletMarginLoss")
        check_flags(swap=swap)
        self.margin, self.p, self.eps = as_number(margin, "margin"), as_number(p, "p"), as_number(eps, "eps")
        self.swap, self.reduction = swap, reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


_TARGET = fixed([1.0, -1.0, 1.0, 1.0, -1.0])

register(
    name="margin_ranking_loss",
    function=margin_ranking_loss,
    composed=margin_ranking_loss_composed,
    cases=(
        Case(((5,), (5,), _TARGET)),
        Case(((3, 5), (1, 5), fixed([[1.0, -1.0, 1.0, 1.0, -1.0]])), {"margin": 0.5, "reduction": "sum"}),
        Case(((5,), (5,), _TARGET), {"margin": 0.3, "reduction": "none"}),
        Case(((0,), (0,), fixed([])), {"reduction": "sum"}),
    ),
    errors=(
        ErrorCase(lambda: margin_ranking_loss(ones(2), ones(2), 1), TypeError, "1 and -1"),  # type: ignore[arg-type]
        ErrorCase(
            lambda: margin_ranking_loss(ones(2), ones(2), ones(2), reduction="avg"), ValueError, "'none'"
        ),
        ErrorCase(lambda: margin_ranking_loss(tensor([1]), ones(1), ones(1)), TypeError, "floating-point"),
    ),
    kind="loss",
    title="Margin ranking",
    torch="torch.nn.functional.margin_ranking_loss",
)
for _function, _inputs, _options in (
    (hinge_embedding_loss, ((5,), _TARGET), {"margin": 0.5}),
    (cosine_embedding_loss, ((5, 3), (5, 3), _TARGET), {"margin": 0.1}),
    (triplet_margin_loss, ((5, 3), (5, 3), (5, 3)), {"swap": True, "margin": 0.5}),
):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(Case(_inputs), Case(_inputs, {**_options, "reduction": "none"})),
        errors=(
            ErrorCase(
                lambda f=_function, given=_inputs: f(*[ones(2, 3) for _ in given], reduction="avg"),  # type: ignore[misc]
                ValueError,
                "'none', 'mean', 'sum'",
            ),
        ),
        kind="loss",
        torch=f"torch.nn.functional.{_function.__name__}",
    )
