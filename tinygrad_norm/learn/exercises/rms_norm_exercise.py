"""RMS normalization: derive it yourself. Scale without centering.

    x (N, D)   v = mean(x²)   r = 1/√(v + eps)   x̂ = x·r   y = w·x̂

    v, r (N, 1): one number per row   w (D,)   x, x̂, y, dy, dx (N, D)   dweight (D,)

forward is given. Write dx and dweight in backward.

Transformers often leave out the mean: what matters is the size of a row, and one statistic costs less
than two. There is no m, so one path is gone. Begin as before, with g := dL/dx̂, and x̂_j = x_j·r:

    straight     ∂x_j/∂x_i = 1 if i = j:         …
    through r    ∂v/∂x_i = …    ∂r/∂v = …    ∂x̂_j/∂r = …
                 multiplied, summed over j, and written by x̂:   …

Then add up the two.

A check on paper: for eps = 0, y is the same for x and for 2·x, so dx must not point along x. Multiply
your dx by x̂, take the mean over the row, and use mean(x̂²) = 1. Is it 0?
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(
    x: np.ndarray, weight: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, D), and what backward needs: x_hat (N, D), r (N, 1) and weight (D,)."""
    v = (x * x).mean(axis=1, keepdims=True)
    r = 1 / np.sqrt(v + eps)
    x_hat = x * r
    y = weight * x_hat
    return y, x_hat, r, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return dx (N, D) and dweight (D,), for dy (N, D)."""
    # begin solution: write dx and dweight
    dweight = (dy * x_hat).sum(axis=0)
    g = weight * dy
    dx = r * (g - x_hat * (g * x_hat).mean(axis=1, keepdims=True))
    # end solution
    return dx, dweight


EXERCISE = Exercise(
    name="rms_norm",
    title="RMSNorm: two paths, derived alone",
    level=2,
    hints=(
        "x_i is in x̂_j in two places: in x_j if i = j, and in r for every j.",
        "∂v/∂x_i = (2/D)·x_i, ∂r/∂v = -r³/2 and ∂x̂_j/∂r = x_j. The 2 cancels.",
        "Through r: -r³·x_i·(1/D)·Σ_j g_j·x_j. Two of the three r make x̂_i and x̂_j, and the sum is a mean.",
        "dx = r·(g - x̂·mean(g·x̂)) with g = w·dy, and dweight = Σ dy·x̂ over axis 0.",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(3 + more, 4 + more)),
        rng.uniform(0.5, 2.0, size=4 + more),
        1e-2,
    ),
    like="rms_norm",
    mistakes=(
        TypicalMistake(
            "dweight",
            "x̂ is missing: ∂y/∂w = x̂",
            lambda dy, x_hat, r, w: dy.sum(axis=0),
        ),
    ),
)
