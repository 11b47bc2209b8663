"""Backward from the output: x̂ is found again in y, so that x need not be kept.

    y = w·x̂ + b      x̂ = (y - b)/w

In floating point y is rounded, and with it x̂: its error is about the machine epsilon times |y|/|w|. That is
no loss where w is near 1; a weight of 0 leaves nothing of x̂ in y.
"""

from ...backends import Array, backend_of, host_can_read
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...backends.cuda.launch import mean_dtype


@in_blocks("y", weight=1.0, bias=0.0)
def _x_hat(y: Array, weight: Array | None, bias: Array | None) -> Array:
    return (y - bias) / weight


def x_hat_of(y: Array, weight: Array | None, bias: Array | None) -> Array:
    """Return (y - bias)/weight, in the dtype in which y is accumulated."""
    return _x_hat(upcast(y), weight, bias)


def check_invertible(weight: Array | None, name: str) -> None:
    """Raise ValueError if a weight on the CPU has zeros; on a GPU, gradients become NaN instead."""
    if weight is not None and host_can_read(weight):
        zeros = int((weight == 0).sum())
        if zeros:
            raise ValueError(
                f"{name} finds x̂ again as (y - bias)/weight, which a weight of 0 makes impossible: {zeros} "
                f"of {weight.size} weights are 0; use the layer that keeps its input instead"
            )


def statistics_of_x_hat(x_hat: Array, rstd: Array) -> tuple[Array, Array]:
    """Return mean 0 and rstd 1 for the backward of x̂, in the shape of rstd; NaN where that is NaN."""
    dtype = mean_dtype(x_hat) if backend_of(x_hat).kernels == "cuda" else x_hat.dtype
    return (rstd * 0).astype(dtype), rstd * 0 + 1
