"""Losses of two tensors, entry by entry: x against the target t, with d = x - t.

    mse        d²                                        dx = 2·d
    l1         |d|                                       dx = sign(d)
    huber      d²/2 where |d| <= δ, else δ·(|d| - δ/2)   dx = d, but at least -δ and at most δ
    smooth_l1  huber with δ = β, divided by β            dx = d/β, but at least -1 and at most 1

and dt = -dx. With c = min(|d|, δ) both pieces of huber are c·(|d| - c/2), which overflows only where the
loss itself does.
"""

from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..module import Module
from ..normalization.checks import check_input
from ..ops import ones
from ..ops.arguments import as_number
from ..ops.half import narrow, widen
from ..ops.ieee import silent
from ..registry import Case, ErrorCase, distinct, register
from .reduction import check_reduction, reduce_losses, spread_gradient


class PointwiseLossFunction(Function):
    """y = value(x, t), reduced · dx = dy·∂value/∂x, dt = dy·∂value/∂t

    A subclass says `value` and `slopes` on arrays of float32 or float64; both run without warnings.
    """

    def value(self, x: Array, t: Array, *args: Any, **options: Any) -> Array:
        """Return the losses, of the shape of x and t; every loss defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def slopes(self, x: Array, t: Array, *args: Any, **options: Any) -> tuple[Array, Array]:
        """Return ∂value/∂x and ∂value/∂t; every loss defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes")

    def forward(self, x: Array, t: Array, *, reduction: str, **options: Any) -> Array:
        divisor = max(len(x) if reduction == "batchmean" and x.ndim else x.size, 1)
        self.saved = x, t, reduction, divisor, options
        losses = silent.run(self.value, widen(x), widen(t), **options)
        return narrow(silent.run(reduce_losses, losses, reduction, divisor), x)

    def backward(self, dy: Array) -> Gradients:
        return silent.run(self._chain, dy, *(self.saved or ()))

    def _chain(
        self, dy: Array, x: Array, t: Array, reduction: str, divisor: int, options: dict[str, Any]
    ) -> Gradients:
        dlosses = spread_gradient(widen(dy), reduction, x.shape, divisor)
        dx, dt = self.slopes(widen(x), widen(t), **options)
        return dlosses * dx if self.needs[0] else None, dlosses * dt if self.needs[1] else None


def check_pair(input: Tensor, target: Tensor, name: str) -> None:
    """Refuse anything but two floating-point tensors of one shape.

    PyTorch broadcasts: (N, 1) against (N,) would then compare every sample with every other.
    """
    check_input(input, name)
    check_input(target, f"{name} as its target")
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"{name} takes input and target of one shape, got {input.shape} and {target.shape}: "
            "reshape or broadcast one of them first"
        )


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Reduce losses by primitives: what the composed forms share."""
    if reduction == "none":
        return losses
    total = losses.sum()
    divisor = {"sum": 1, "mean": losses.numel(), "batchmean": losses.shape[0] if losses.ndim else 1}[
        reduction
    ]
    return total / max(divisor, 1)


def mse_loss_composed(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Squared error from primitives: autograd finds the gradient."""
    return reduced((input - target) ** 2, reduction)


class MSELossFunction(PointwiseLossFunction):
    """y = (x - t)², reduced · dx = dy·2·(x - t), dt = -dx"""

    def value(self, x: Array, t: Array) -> Array:
        return namespace(x).square(x - t)

    def slopes(self, x: Array, t: Array) -> tuple[Array, Array]:
        d = 2 * (x - t)
        return d, -d


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return (input - target)² for two tensors of one shape.

    Raises:
        TypeError: for anything but floating-point tensors.
        ValueError: for two shapes, or an unknown reduction ("none", "mean", "sum").
    """
    check_reduction(reduction, "mse_loss")
    check_pair(input, target, "mse_loss")
    return MSELossFunction.apply(input, target, reduction=reduction)


def l1_loss_composed(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Absolute error from primitives: autograd finds the gradient."""
    return reduced((input - target).abs(), reduction)


class L1LossFunction(PointwiseLossFunction):
    """y = |x - t|, reduced · dx = dy·sign(x - t), dt = -dx"""

    def value(self, x: Array, t: Array) -> Array:
        return abs(x - t)

    def slopes(self, x: Array, t: Array) -> tuple[Array, Array]:
        sign = namespace(x).sign(x - t)
        return sign, -sign


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return |input - target| for two tensors of one shape.

    Raises:
        TypeError: for anything but floating-point tensors.
        ValueError: for two shapes, or an unknown reduction ("none", "mean", "sum").
    """
    check_reduction(reduction, "l1_loss")
    check_pair(input, target, "l1_loss")
    return L1LossFunction.apply(input, target, reduction=reduction)


def huber_loss_composed(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Huber's loss from primitives: autograd finds the gradient."""
    size = (input - target).abs()
    c = size.clamp(max=delta)
    return reduced(c * (size - 0.5 * c), reduction)


class HuberLossFunction(PointwiseLossFunction):
    """y = c·(|x - t| - c/2)/unit, c = min(|x - t|, δ), reduced · dx = dy·clip(x - t, -δ, δ)/unit, dt = -dx

    unit is 1, or δ for the smooth absolute error.
    """

    def value(self, x: Array, t: Array, *, delta: float, unit: float) -> Array:
        size = abs(x - t)
        c = namespace(x).minimum(size, delta)
        return c / unit * (size - 0.5 * c)

    def slopes(self, x: Array, t: Array, *, delta: float, unit: float) -> tuple[Array, Array]:
        d = namespace(x).clip(x - t, -delta, delta) / unit
        return d, -d


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Return a loss that is quadratic up to an error of `delta` and linear beyond.

    Raises:
        TypeError: for anything but floating-point tensors.
        ValueError: for two shapes, an unknown reduction ("none", "mean", "sum"), or delta <= 0.

    Source: Huber 1964.
    """
    check_reduction(reduction, "huber_loss")
    check_pair(input, target, "huber_loss")
    delta = as_number(delta, "delta")
    if not delta > 0:
        raise ValueError(
            f"delta is the error beyond which the loss is linear: it must be positive, got {delta}"
        )
    return HuberLossFunction.apply(input, target, reduction=reduction, delta=delta, unit=1.0)


def smooth_l1_loss_composed(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Smooth absolute error from primitives: autograd finds the gradient."""
    if beta == 0:
        return l1_loss_composed(input, target, reduction=reduction)
    return huber_loss_composed(input, target, reduction, beta) / beta


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return the absolute error, rounded off where it is below `beta`: huber_loss divided by beta.

    Raises:
        TypeError: for anything but floating-point tensors.
        ValueError: for two shapes, an unknown reduction ("none", "mean", "sum"), or beta < 0.
    """
    check_reduction(reduction, "smooth_l1_loss")
    check_pair(input, target, "smooth_l1_loss")
    beta = as_number(beta, "beta")
    if not beta >= 0:
        raise ValueError(f"beta is the error below which the loss is quadratic: not negative, got {beta}")
    if beta == 0:
        return L1LossFunction.apply(input, target, reduction=reduction)
    return HuberLossFunction.apply(input, target, reduction=reduction, delta=beta, unit=beta)


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
        check_reduction(reduction, type(self).__name__)
        self.reduction, self.delta = reduction, delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(Module):
    """smooth_l1_loss as a layer."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__()
        check_reduction(reduction, type(self).__name__)
        self.reduction, self.beta = reduction, beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


def pair_errors(function: Any) -> tuple[ErrorCase, ...]:
    """Return the calls that every loss of a pair refuses."""
    name = function.__name__
    return (
        ErrorCase(lambda: function(ones(4, 1), ones(4)), ValueError, f"{name} takes input and target of one"),
        ErrorCase(lambda: function(ones(4), ones(4, dtype=int)), TypeError, "target takes a floating-point"),
        ErrorCase(lambda: function(ones(4), [1.0] * 4), TypeError, "target takes a Tensor"),
        ErrorCase(lambda: function(ones(4), ones(4), reduction="avg"), ValueError, "'none', 'mean', 'sum'"),
    )


def _register(
    function: Any, composed: Any, title: str, *options: dict[str, Any], errors: tuple[ErrorCase, ...] = ()
) -> None:
    """Register a loss on pairs whose difference stays clear of the kinks."""
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
        ),
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
    errors=(ErrorCase(lambda: smooth_l1_loss(ones(4), ones(4), beta=-1.0), ValueError, "not negative"),),
)
