"""Find the mistake: a BatchNorm that is wrong by a few per cent.

    x (N, C)   m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b
    means over the N samples of each channel   dy and dx (N, C)   m, v, r, w, b, dw and db (C,)

forward is right. backward is wrong: find the mistake and mend it.

For a batch of 256 this dx is nearly right: networks train with it, and plots look as they should. For a batch
of 5 it is not. A property of every right BatchNorm shows it, whatever the size of the batch:

    Σ_n dx_nc·(x_nc - m_c) ≈ 0     scaling x - m does not change y, up to eps
    Σ_n dx_nc = 0                  nor does adding a number to a channel

Which of the two is violated says which path is wrong: the one through m, or the one through v. Then write
down the derivative of that statistic by x, and compare. What does forward divide by?
"""

import numpy as np

from .exercise import Exercise


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y (N, C), and what backward needs: x - m (N, C), r and weight (C,)."""
    centered = x - x.mean(axis=0)
    r = 1 / np.sqrt((centered**2).mean(axis=0) + 1e-5)
    return weight * centered * r + bias, centered, r, weight


def backward(
    dy: np.ndarray, centered: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, C), dw and db (C,), for dy (N, C)."""
    N = len(dy)
    g = weight * dy
    dv = (g * centered).sum(axis=0) * -(r**3) / 2
    straight = g * r
    through_m = -straight.sum(axis=0) / N
    # begin solution
    through_v = dv * 2 * centered / N
    # begin bug
    # through_v = dv * 2 * centered / (N - 1)
    # end solution
    return straight + through_m + through_v, (dy * centered * r).sum(axis=0), dy.sum(axis=0)


EXERCISE = Exercise(
    name="planted_batch_norm",
    title="find the mistake: a BatchNorm that is wrong by a few per cent",
    level=3,
    hints=(
        "Compute both sums, for x of shape (5, 3) and a random dy. dx.sum(axis=0) is 0 up to rounding. "
        "(dx * centered).sum(axis=0) is not.",
        "So the path through v is wrong: dv, or through_v. Differentiate v = mean((x - m)²) by x_n, with m "
        "fixed.",
        "∂v/∂x_n = 2·(x_n - m)/N. Compare the divisor with the one in backward.",
        "N - 1 belongs to the unbiased variance, which BatchNorm keeps in its running statistics only. y is "
        "made with the mean over N, so the derivative divides by N.",
    ),
    inputs=lambda rng, more: (
        rng.normal(1, 2, (5 + more, 3)),
        rng.uniform(0.5, 2, 3),
        rng.normal(size=3),
    ),
    like="batch_norm",
)
