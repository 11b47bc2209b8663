"""The reduction of the losses of a batch: none, mean or sum.

The mean of no losses (an empty batch, or one with only ignored targets) is 0 with gradient 0. PyTorch
returns NaN; but a batch without information should not destroy the weights.
"""

from typing import Any

from ...backends import Array, namespace

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str, name: str, choices: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise ValueError if the reduction is not one of `choices`."""
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


def reduce_losses_backward(dy: Array, reduction: str, shape: tuple[int, ...], divisor: Any) -> Array:
    """Return dL/dlosses from dL/dresult: of `shape` without a reduction, else 0-d and equal for all."""
    if reduction == "none":
        return dy.reshape(shape)
    return dy if reduction == "sum" else namespace(dy).asarray(dy / divisor)  # NumPy makes it a number
