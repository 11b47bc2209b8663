"""Elementwise losses of an input x and a target t, times a constant weight, then reduced: the shared code."""

from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.half import downcast, upcast
from ...ops import ones
from ...ops.checks import check_input
from ...registry import ErrorCase
from .loss_reduction import reduce_losses, reduce_losses_backward


class ElementwiseLossFunction(Function):
    """y = value(x, t), reduced · dx = dy·∂value/∂x, dt = dy·∂value/∂t

    A subclass defines `value` and `slopes` on float32 or float64 arrays; both run without warnings.
    """

    def value(self, x: Array, t: Array, *args: Any, **options: Any) -> Array:
        """Return the losses, with the shape of x and t. Every loss defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def slopes(self, x: Array, t: Array, *args: Any, **options: Any) -> tuple[Array, Array]:
        """Return ∂value/∂x and ∂value/∂t. Every loss defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes")

    def forward(
        self, x: Array, t: Array, *, reduction: str, divisor: Array | int | None = None, **options: Any
    ) -> Array:
        if divisor is None:
            divisor = max(len(x) if reduction == "batchmean" and x.ndim else x.size, 1)
        self.saved = x, t, reduction, divisor, options
        losses = self.value(upcast(x), upcast(t), **options)
        return downcast(reduce_losses(losses, reduction, divisor), x)

    def backward(self, dy: Array) -> Gradients:
        return self._chain(dy, *self.saved)

    def _chain(
        self, dy: Array, x: Array, t: Array, reduction: str, divisor: Any, options: dict[str, Any]
    ) -> Gradients:
        dlosses = reduce_losses_backward(upcast(dy), reduction, x.shape, divisor)
        dx, dt = self.slopes(upcast(x), upcast(t), **options)
        return dlosses * dx if self.needs[0] else None, dlosses * dt if self.needs[1] else None


def check_pair(input: Tensor, target: Tensor, name: str) -> None:
    """Raise TypeError unless both are floating-point tensors, ValueError unless they have one shape.

    PyTorch broadcasts them: (N, 1) and (N,) then compare every sample with every other.
    """
    check_input(input, name)
    check_input(target, f"{name} as its target")
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"{name} takes input and target of one shape, got {input.shape} and {target.shape}: "
            "reshape or broadcast one of them first"
        )


def constant(weight: Tensor | None, name: str, input: Tensor) -> Array | None:
    """Return a copy of a constant that broadcasts to the input: a later change cannot affect the backward."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a Tensor, got {type(weight).__name__}")
    if weight.requires_grad:
        raise ValueError(f"{name} is a constant: pass {name}.detach()")
    ndim = input.ndim - weight.ndim
    if ndim < 0 or any(n not in (1, m) for n, m in zip(weight.shape, input.shape[ndim:], strict=True)):
        raise ValueError(f"{name} of shape {weight.shape} does not broadcast to the input's {input.shape}")
    return weight.array.astype(input.dtype)


def weigh(losses: Array, weight: Array | None) -> Array:
    """Return losses, or their slopes, times the weight if there is one."""
    return losses if weight is None else losses * weight


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Reduce losses by primitives, for the composed forms."""
    if reduction == "none":
        return losses
    total = losses.sum()
    divisor = {"sum": 1, "mean": losses.numel(), "batchmean": losses.shape[0] if losses.ndim else 1}[
        reduction
    ]
    return total / max(divisor, 1)


def pair_errors(function: Any) -> tuple[ErrorCase, ...]:
    """Return the calls for which every elementwise loss raises an error."""
    name = function.__name__
    return (
        ErrorCase(lambda: function(ones(4, 1), ones(4)), ValueError, f"{name} takes input and target of one"),
        ErrorCase(lambda: function(ones(4), ones(4, dtype=int)), TypeError, "target takes a floating-point"),
        ErrorCase(lambda: function(ones(4), [1.0] * 4), TypeError, "target takes a Tensor"),
        ErrorCase(lambda: function(ones(4), ones(4), reduction="avg"), ValueError, "'none', 'mean', 'sum'"),
    )
