"""Losses of probabilities, elementwise: x (or its sigmoid σ(x)) against the target t in [0, 1].

    binary cross entropy   -(t·log x + (1 - t)·log(1 - x))                 dx = (x - t)/(x·(1 - x))
    the same of logits     (1 - t)·softplus(x) + p·t·softplus(-x)          dx = (1 - t)·σ(x) - p·t·σ(-x)
    Kullback-Leibler       t·(log t - x), x a logarithm of probabilities   dx = -t

p is the weight of the positive targets. As softplus(x) = -log(1 - σ(x)) and softplus(-x) = -log σ(x), the
second is the first with the sigmoid inside. It never takes the logarithm of 0, and for p = 1 its gradient is
σ(x) - t, prediction minus truth. The first has to clamp its logarithms at -100, as PyTorch does. The mean
of no losses is 0 (see loss_reduction.py).
"""

from ...autograd.tensor import Tensor
from ...backends import Array, host_can_read, namespace
from ...backends.cuda.deferred import check_all_later
from ...module import Module
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.elementwise import logistic
from ...registry import Case, ErrorCase, Input, fixed, positive, register, uniform
from ..activation.sigmoids import log1p_exp
from .elementwise_loss import ElementwiseLossFunction, check_pair, constant, pair_errors, reduced, weigh
from .loss_reduction import REDUCTIONS, check_reduction

_LOWEST_LOG, _SMALLEST_VARIANCE = -100.0, 1e-12  # PyTorch's bounds where x is 0 or 1


def binary_cross_entropy_composed(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Binary cross entropy from primitives: autograd finds the gradient."""
    losses = -(target * input.log() + (1 - target) * (-input).log1p())
    return reduced(losses if weight is None else losses * weight, reduction)


class BinaryCrossEntropyFunction(ElementwiseLossFunction):
    """y = -w·(t·log x + (1 - t)·log(1 - x)), reduced · dx = dy·w·(x - t)/(x·(1 - x))

    dt = dy·w·log((1 - x)/x)
    """

    def value(self, x: Array, t: Array, *, weight: Array | None) -> Array:
        log_x, log_rest = self._logs(x)
        return weigh(-(t * log_x + (1 - t) * log_rest), weight)

    def slopes(self, x: Array, t: Array, *, weight: Array | None) -> tuple[Array, Array]:
        log_x, log_rest = self._logs(x)
        variance = namespace(x).maximum(x * (1 - x), _SMALLEST_VARIANCE)
        return weigh((x - t) / variance, weight), weigh(log_rest - log_x, weight)

    def _logs(self, x: Array) -> tuple[Array, Array]:
        xp = namespace(x)
        return xp.maximum(xp.log(x), _LOWEST_LOG), xp.maximum(xp.log1p(-x), _LOWEST_LOG)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return -(target·log input + (1 - target)·log(1 - input)), in nats; logarithms are at least -100.

    Args:
        input: probabilities in [0, 1], of any shape. If they come from a sigmoid, pass the sigmoid's input
            to binary_cross_entropy_with_logits instead.
        target: of the same shape, in [0, 1].
        weight: broadcast to that shape; multiplies the losses. A constant.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the input is outside [0, 1], the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "binary_cross_entropy")
    check_pair(input, target, "binary_cross_entropy")
    x = input.array
    expected = "binary_cross_entropy takes probabilities between 0 and 1"
    advice = "use binary_cross_entropy_with_logits for any other numbers"
    if not host_can_read(x):
        check_all_later((x >= 0) & (x <= 1), f"{expected}: {advice}")
    elif x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"{expected}, got {x.min()} to {x.max()}: {advice}")
    return BinaryCrossEntropyFunction.apply(
        input, target, reduction=reduction, weight=constant(weight, "weight", input)
    )


def binary_cross_entropy_with_logits_composed(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of logits from primitives: autograd finds the gradient."""
    rest = (-input.abs()).exp().log1p()
    positives = target if pos_weight is None else target * pos_weight
    losses = (1 - target) * (input.clamp(min=0) + rest) + positives * ((-input).clamp(min=0) + rest)
    return reduced(losses if weight is None else losses * weight, reduction)


class BinaryCrossEntropyWithLogitsFunction(ElementwiseLossFunction):
    """y = w·((1 - t)·softplus(x) + p·t·softplus(-x)), reduced · dx = dy·w·((1 - t)·σ(x) - p·t·σ(-x))

    dt = dy·w·(p·softplus(-x) - softplus(x))
    """

    def value(self, x: Array, t: Array, *, weight: Array | None, pos_weight: Array | None) -> Array:
        losses = (1 - t) * log1p_exp(x) + weigh(t, pos_weight) * log1p_exp(-x)
        return weigh(losses, weight)

    def slopes(
        self, x: Array, t: Array, *, weight: Array | None, pos_weight: Array | None
    ) -> tuple[Array, Array]:
        dx = (1 - t) * logistic(x) - weigh(t, pos_weight) * logistic(-x)
        dt = weigh(log1p_exp(-x), pos_weight) - log1p_exp(x)
        return weigh(dx, weight), weigh(dt, weight)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return the binary cross entropy of sigmoid(input) against `target`, in nats, exact for any logit.

    Args:
        input: logits of any shape.
        target: of the same shape, in [0, 1].
        weight: broadcast to that shape; multiplies the losses. A constant.
        reduction: "none", "mean" or "sum".
        pos_weight: broadcast to that shape; multiplies the term of the positive targets. A constant.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "binary_cross_entropy_with_logits")
    check_pair(input, target, "binary_cross_entropy_with_logits")
    return BinaryCrossEntropyWithLogitsFunction.apply(
        input,
        target,
        reduction=reduction,
        weight=constant(weight, "weight", input),
        pos_weight=constant(pos_weight, "pos_weight", input),
    )


def kl_div_composed(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Kullback-Leibler divergence from primitives: autograd finds the gradient."""
    if log_target:
        return reduced(target.exp() * (target - input), reduction)
    zero = target.eq(0)
    return reduced(target * (target.masked_fill(zero, 1.0).log() - input.masked_fill(zero, 0.0)), reduction)


class KLDivFunction(ElementwiseLossFunction):
    """y = t·(log t - x), 0 where t = 0, reduced · dx = -dy·t, dt = dy·(log t + 1 - x), 0 where t = 0

    With log_target, t stands for log t: y = exp(t)·(t - x), dx = -dy·exp(t), dt = dy·exp(t)·(t + 1 - x).
    """

    def value(self, x: Array, t: Array, *, log_target: bool) -> Array:
        mass, log_mass = self._masses(t, log_target)
        return namespace(x).where(mass == 0, 0, mass * (log_mass - x))

    def slopes(self, x: Array, t: Array, *, log_target: bool) -> tuple[Array, Array]:
        mass, log_mass = self._masses(t, log_target)
        dt = (log_mass + 1 - x) * (mass if log_target else 1)
        return -mass, namespace(x).where(mass == 0, 0, dt)

    def _masses(self, t: Array, log_target: bool) -> tuple[Array, Array]:
        xp = namespace(t)
        return (xp.exp(t), t) if log_target else (t, xp.log(t))


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return target·(log target - input), in nats: by how much `input` misjudges `target`.

    Args:
        input: logarithms of probabilities, of any shape.
        target: probabilities of the same shape, or their logarithms with `log_target`.
        reduction: "none", "sum", "mean" over all entries, or "batchmean", the sum divided by the batch
            size: only "batchmean" is the mean divergence of the samples.
        log_target: whether the target holds logarithms.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if a probability is negative, the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "kl_div", (*REDUCTIONS, "batchmean"))
    check_pair(input, target, "kl_div")
    check_flags(log_target=log_target)
    t, expected = target.array, "kl_div takes probabilities as targets"
    advice = "for their logarithms pass log_target=True"
    if not log_target and not host_can_read(t):
        check_all_later(~(t < 0), f"{expected}, got a negative number: {advice}")
    elif not log_target and t.size and t.min() < 0:
        raise ValueError(f"{expected}, got {t.min()}: {advice}")
    return KLDivFunction.apply(input, target, reduction=reduction, log_target=log_target)


class BCELoss(Module):
    """binary_cross_entropy as a layer; `weight` is a buffer."""

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.register_buffer("weight", weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """binary_cross_entropy_with_logits as a layer; `weight` and `pos_weight` are buffers."""

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(Module):
    """kl_div as a layer."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        check_flags(log_target=log_target)
        check_reduction(reduction, type(self).__name__, (*REDUCTIONS, "batchmean"))
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


def _probabilities(*shape: int) -> Input:
    return uniform(0.1, 0.9, *shape)


_WEIGHT = positive(4, differentiable=False)


register(
    name="binary_cross_entropy",
    function=binary_cross_entropy,
    composed=binary_cross_entropy_composed,
    cases=(
        Case((_probabilities(3, 4), _probabilities(3, 4), None)),
        Case((_probabilities(3, 4), _probabilities(3, 4), _WEIGHT), {"reduction": "sum"}),
        Case((_probabilities(2, 3, 4), _probabilities(2, 3, 4), _WEIGHT), {"reduction": "none"}),
        Case((_probabilities(), _probabilities(), None)),
    ),
    errors=(
        *pair_errors(binary_cross_entropy),
        ErrorCase(lambda: binary_cross_entropy(2 * ones(2), ones(2)), ValueError, "between 0 and 1"),
        ErrorCase(lambda: binary_cross_entropy(ones(2), ones(2), ones(3)), ValueError, "broadcast"),
        ErrorCase(
            lambda: binary_cross_entropy(ones(2), ones(2), ones(2, requires_grad=True)),
            ValueError,
            "constant",
        ),
    ),
    kind="loss",
    title="Binary cross entropy",
    torch="torch.nn.functional.binary_cross_entropy",
)
register(
    name="binary_cross_entropy_with_logits",
    function=binary_cross_entropy_with_logits,
    composed=binary_cross_entropy_with_logits_composed,
    inputs=("input", "target", "weight", "pos_weight"),
    cases=(
        Case(((3, 4), _probabilities(3, 4), None, None)),
        Case(((3, 4), _probabilities(3, 4), _WEIGHT, None), {"reduction": "sum"}),
        Case(((3, 4), _probabilities(3, 4), None, _WEIGHT)),
        Case(((2, 3, 4), _probabilities(2, 3, 4), _WEIGHT, _WEIGHT), {"reduction": "none"}),
        Case(((), _probabilities(), None, None)),
    ),
    errors=(
        *pair_errors(binary_cross_entropy_with_logits),
        ErrorCase(
            lambda: binary_cross_entropy_with_logits(ones(2), ones(2), pos_weight=ones(3)),
            ValueError,
            "pos_weight of shape",
        ),
    ),
    kind="loss",
    title="Binary cross entropy of logits",
    torch="torch.nn.functional.binary_cross_entropy_with_logits",
)
register(
    name="kl_div",
    function=kl_div,
    composed=kl_div_composed,
    cases=(
        Case(((3, 4), _probabilities(3, 4)), {"reduction": "batchmean"}),
        Case(((), _probabilities()), {"reduction": "sum"}),
        Case(((2, 3, 2), _probabilities(2, 3, 2)), {"reduction": "none"}),
        Case(((3, 4), (3, 4)), {"log_target": True, "reduction": "sum"}),
        Case(((2, 3), fixed([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])), {"reduction": "batchmean"}),
    ),
    errors=(
        *pair_errors(kl_div),
        ErrorCase(lambda: kl_div(ones(2), -ones(2)), ValueError, "log_target=True"),
    ),
    kind="loss",
    title="Kullback-Leibler divergence",
    torch="torch.nn.functional.kl_div",
)
