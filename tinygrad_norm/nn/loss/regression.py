"""Losses of two tensors, elementwise: x against the target t, with d = x - t.

    mse        d²                                        dx = 2·d
    l1         |d|                                       dx = sign(d)
    huber      d²/2 where |d| <= δ, else δ·(|d| - δ/2)   dx = d, but at least -δ and at most δ
    smooth_l1  huber with δ = β, divided by β            dx = d/β, but at least -1 and at most 1

and dt = -dx. With c = min(|d|, δ) both cases of huber are c·(|d| - c/2), which overflows only where the
loss itself does.

A weight w with the shape of x multiplies losses and gradients. The mean of the first two is then
Σ w·loss/Σ w. The mean of huber, as in PyTorch, still divides by the number of entries. The mean of no losses
is 0 (see loss_reduction.py).
"""

from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import upcast
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number, check_numbers
from ...registry import Case, ErrorCase, distinct, positive, register
from .elementwise_loss import ElementwiseLossFunction, check_pair, constant, pair_errors, reduced, weigh
from .loss_reduction import REDUCTIONS, check_reduction


def _weights(weight: Tensor | None, input: Tensor, name: str) -> Array | None:
    """Return the weights of the losses, or None."""
    if weight is None:
        return None
    if isinstance(weight, Tensor) and weight.shape != input.shape:
        raise ValueError(f"weight of {name} has the input's shape {input.shape}, got {weight.shape}")
    return constant(weight, "weight", input)


class _WeighedLossFunction(ElementwiseLossFunction):
    """y = w·f(x, t), whose mean divides by Σ w, or by 1 if that is 0."""

    def forward(self, x: Array, t: Array, *, reduction: str, divisor: Any = None, **options: Any) -> Array:
        if options["weight"] is not None:
            total = upcast(options["weight"]).sum()
            divisor = total + (total == 0)
        return super().forward(x, t, reduction=reduction, divisor=divisor, **options)


def _weighed(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce weighted losses by primitives: the mean divides by the sum of the weights."""
    if weight is None or reduction != "mean":
        return reduced(losses if weight is None else losses * weight, reduction)
    return (losses * weight).sum() / weight.sum()


def mse_loss_composed(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Squared error from primitives: autograd finds the gradient."""
    return _weighed((input - target) ** 2, weight, reduction)


class MSELossFunction(_WeighedLossFunction):
    """y = w·(x - t)², reduced · dx = dy·w·2·(x - t), dt = -dx"""

    def value(self, x: Array, t: Array, *, weight: Array | None) -> Array:
        return weigh(namespace(x).square(x - t), weight)

    def slopes(self, x: Array, t: Array, *, weight: Array | None) -> tuple[Array, Array]:
        d = weigh(2 * (x - t), weight)
        return d, -d


def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return (input - target)² for two tensors of one shape.

    Args:
        input: any shape.
        target: of the same shape.
        reduction: "none", "sum", or "mean": Σ weight·loss/Σ weight, 0 if all weights are 0.
        weight: of the same shape; multiplies the losses. A constant.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "mse_loss")
    check_pair(input, target, "mse_loss")
    weights = _weights(weight, input, "mse_loss")
    return MSELossFunction.apply(input, target, reduction=reduction, weight=weights)


def l1_loss_composed(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Absolute error from primitives: autograd finds the gradient."""
    return _weighed((input - target).abs(), weight, reduction)


class L1LossFunction(_WeighedLossFunction):
    """y = w·|x - t|, reduced · dx = dy·w·sign(x - t), dt = -dx"""

    def value(self, x: Array, t: Array, *, weight: Array | None) -> Array:
        return weigh(abs(x - t), weight)

    def slopes(self, x: Array, t: Array, *, weight: Array | None) -> tuple[Array, Array]:
        d = weigh(namespace(x).sign(x - t), weight)
        return d, -d


def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return |input - target| for two tensors of one shape.

    Args:
        input, target, reduction, weight: as for `mse_loss`.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "l1_loss")
    check_pair(input, target, "l1_loss")
    weights = _weights(weight, input, "l1_loss")
    return L1LossFunction.apply(input, target, reduction=reduction, weight=weights)


def huber_loss_composed(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Huber's loss from primitives: autograd finds the gradient."""
    size = (input - target).abs()
    c = size.clamp(max=delta)
    losses = c * (size - 0.5 * c)
    return reduced(losses if weight is None else losses * weight, reduction)


class HuberLossFunction(ElementwiseLossFunction):
    """y = w·c·(|x - t| - c/2)/unit, c = min(|x - t|, δ) · dx = dy·w·clip(x - t, -δ, δ)/unit, dt = -dx

    Reduced; unit is 1, or δ for the smooth absolute error.
    """

    def value(self, x: Array, t: Array, *, delta: float, unit: float, weight: Array | None) -> Array:
        size = abs(x - t)
        c = namespace(x).minimum(size, delta)
        return weigh(c / unit * (size - 0.5 * c), weight)

    def slopes(
        self, x: Array, t: Array, *, delta: float, unit: float, weight: Array | None
    ) -> tuple[Array, Array]:
        d = weigh(namespace(x).clip(x - t, -delta, delta) / unit, weight)
        return d, -d


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return a loss that is quadratic up to an error of `delta` and linear beyond.

    Args:
        input: any shape.
        target: of the same shape.
        reduction: "none", "sum", or "mean" over all entries, 0 if there are none.
        delta: the error beyond which the loss is linear, in units of input.
        weight: of the same shape; multiplies the losses, but not the divisor of the mean. A constant.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, the reduction is unknown, or delta <= 0.

    Source: Huber 1964.
    """
    check_reduction(reduction, "huber_loss")
    check_pair(input, target, "huber_loss")
    delta = as_number(delta, "delta")
    if not delta > 0:
        raise ValueError(
            f"delta is the error beyond which the loss is linear: it must be positive, got {delta}"
        )
    weights = _weights(weight, input, "huber_loss")
    return HuberLossFunction.apply(input, target, reduction=reduction, delta=delta, unit=1.0, weight=weights)


def smooth_l1_loss_composed(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Smooth absolute error from primitives: autograd finds the gradient."""
    if beta == 0:
        return l1_loss_composed(input, target, reduction=reduction)
    return huber_loss_composed(input, target, reduction, beta) / beta


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return the absolute error, quadratic where it is below `beta`: huber_loss divided by beta.

    Args:
        input, target, reduction: as for `huber_loss`.
        beta: the error below which the loss is quadratic, in units of input.

    Raises:
        TypeError: if input or target is not a floating-point tensor.
        ValueError: if the shapes differ, the reduction is unknown, or beta < 0.
    """
    check_reduction(reduction, "smooth_l1_loss")
    check_pair(input, target, "smooth_l1_loss")
    beta = as_number(beta, "beta")
    if not beta >= 0:
        raise ValueError(
            f"beta is the error below which the loss is quadratic: it must not be negative, got {beta}"
        )
    if beta == 0:
        return L1LossFunction.apply(input, target, reduction=reduction, weight=None)
    return HuberLossFunction.apply(input, target, reduction=reduction, delta=beta, unit=beta, weight=None)


class MSELoss(Module):
    """mse_loss as a layer."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(Module):
    """l1_loss as a layer."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return l1_loss(input, target, reduction=self.reduction)


class HuberLoss(Module):
    """huber_loss as a layer."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__()
        check_numbers(delta=delta)
        check_reduction(reduction, type(self).__name__)
        self.reduction, self.delta = reduction, delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(Module):
    """smooth_l1_loss as a layer."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__()
        check_numbers(beta=beta)
        check_reduction(reduction, type(self).__name__)
        self.reduction, self.beta = reduction, beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


def _register(
    function: Any,
    composed: Any,
    title: str,
    *options: dict[str, Any],
    weighted: bool = True,
    errors: tuple[ErrorCase, ...] = (),
) -> None:
    """Register a loss with cases away from the kinks, and with weights if `weighted`."""
    if weighted:
        errors = (
            *errors,
            ErrorCase(lambda: function(ones(4), ones(4), weight=ones(1)), ValueError, "weight of"),
            ErrorCase(
                lambda: function(ones(4), ones(4), weight=[1.0] * 4), TypeError, "weight must be a Tensor"
            ),
            ErrorCase(
                lambda: function(ones(4), ones(4), weight=ones(4, requires_grad=True)), ValueError, "constant"
            ),
        )
    weights = positive(3, 4, differentiable=False)
    triples = [Case((distinct(3, 4), (3, 4), weights), {"reduction": reduction}) for reduction in REDUCTIONS]
    register(
        name=function.__name__,
        function=function,
        composed=composed,
        cases=(
            Case((distinct(3, 4), (3, 4))),
            Case((distinct(2, 3, 2), (2, 3, 2)), {"reduction": "none"}),
            Case(((4,), (4,)), {"reduction": "sum"}),
            Case((distinct(), ())),
            *(Case((distinct(3, 4), (3, 4)), option) for option in options),
            *(triples if weighted else ()),
        ),
        inputs=("input", "target", "weight") if weighted else (),
        errors=(*pair_errors(function), *errors),
        kind="loss",
        title=title,
        torch=f"torch.nn.functional.{function.__name__}",
    )


_register(mse_loss, mse_loss_composed, "Squared error")
_register(l1_loss, l1_loss_composed, "Absolute error")
_register(
    huber_loss,
    huber_loss_composed,
    "Huber loss",
    {"delta": 0.5},
    {"delta": 2.5, "reduction": "sum"},
    errors=(ErrorCase(lambda: huber_loss(ones(4), ones(4), delta=0.0), ValueError, "positive"),),
)
_register(
    smooth_l1_loss,
    smooth_l1_loss_composed,
    "Smooth absolute error",
    {"beta": 0.5},
    {"beta": 2.5, "reduction": "sum"},
    {"beta": 0.0},
    weighted=False,
    errors=(ErrorCase(lambda: smooth_l1_loss(ones(4), ones(4), beta=-1.0), ValueError, "not be negative"),),
)
