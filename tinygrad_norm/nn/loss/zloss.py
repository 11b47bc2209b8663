"""z-loss: the square of log Z, with Z the sum that a softmax divides by, holds logits near a fixed level.

    z (..., C) logits   Z = Σ exp(z)   y = (log Z)², averaged over rows

Cross-entropy does not change if a constant is added to all logits, so nothing keeps that constant from
drifting until exponentials lose their digits. A small multiple of the z-loss, such as 1e-4, added to it
does.

Backward, with p = softmax(z): ∂log Z/∂z = p, so

    dz = dy·2·log Z·p

It is a composition of logsumexp and a square, whose gradients are known.
"""

from ...autograd.tensor import Tensor
from ...ops.checks import check_input
from .elementwise_loss import reduced
from .loss_reduction import check_reduction


def z_loss(input: Tensor, dim: int = -1, reduction: str = "mean") -> Tensor:
    """Return (log Σ exp(input))² along axis `dim`, averaged over all rows: add a small multiple to a loss.

    Args:
        input: logits, of any shape with at least one axis.
        dim: the axis of the classes.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if the input is not a floating-point tensor.
        IndexError: if the axis does not exist.
        ValueError: if the reduction is unknown, or there are no classes.
    """
    check_input(input, "z_loss")
    check_reduction(reduction, "z_loss")
    log_z = input.logsumexp(dim)
    if not input.shape[dim]:
        raise ValueError(
            f"z_loss needs at least one class, got shape {input.shape} with classes on axis {dim}"
        )
    return reduced(log_z.square(), reduction)
