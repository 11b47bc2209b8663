"""What becomes of the losses of a batch: kept apart, averaged or summed.

The mean over nothing (an empty batch, nothing but ignored targets) is 0 with gradient 0, where PyTorch
gives NaN: a batch without information should not destroy the weights.
"""

from typing import Any

from ...backends import Array, namespace

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str, name: str, choices: tuple[str, ...] = REDUCTIONS) -> None:
    """Refuse an unknown reduction."""
    if reduction not in choices:
        raise ValueError(
            f"reduction of {name} must be one of {', '.join(map(repr, choices))}, got {reduction!r}"
        )


def reduce_losses(losses: Array, reduction: str, divisor: Any) -> Array:
    """Return the losses as they are, their sum, or their sum divided by `divisor`, which is not 0."""
    if reduction == "none":
        return losses
    total = namespace(losses).add.reduce(losses, None)
    return total if reduction == "sum" else total / divisor


def spread_gradient(dy: Array, reduction: str, shape: tuple[int, ...], divisor: Any) -> Array:
    """Return dL/dlosses from dL/dresult: of `shape` where losses are kept apart, else one for all."""
    if reduction == "none":
        return dy.reshape(shape)
    return dy if reduction == "sum" else dy / divisor
