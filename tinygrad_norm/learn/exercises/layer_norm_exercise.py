"""Layer normalization: the same formula over another pool, with weights that differ inside it.

    x (N, D): N samples of D features. Each sample is normalized over its own features.

    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

    m, v, r (N, 1): one number per row   w, b (D,)   x, x̂, y, dy, dx (N, D)   dweight, dbias (D,)

forward is given. Write dx, dweight and dbias in backward.

Two questions decide every normalization: which values share a statistic, and which values share a
parameter?

    statistics   in BatchNorm a pool was a column, here it is a …: the means of dx are over axis …
    parameters   in both, w_d and b_d are used by all samples: the sums of dweight and dbias are over axis …

In BatchNorm the two were the same axis. So w was one number in a pool, and could be taken out of the means:
mean(w·dy) = w·mean(dy). Here it cannot: the D values of a pool have D weights. What comes back to x̂_j is

    g_j := dL/dx̂_j = …

and from here on, the three paths are those of BatchNorm, with this g:

    straight     r·g_i
    through m    …
    through r    …
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, D), and what backward needs: x_hat (N, D), r (N, 1) and weight (D,)."""
    m = x.mean(axis=1, keepdims=True)
    v = ((x - m) ** 2).mean(axis=1, keepdims=True)
    r = 1 / np.sqrt(v + eps)
    x_hat = (x - m) * r
    y = weight * x_hat + bias
    return y, x_hat, r, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dweight and dbias (D,), for dy (N, D)."""
    # begin solution: write dx, dweight and dbias
    dweight = (dy * x_hat).sum(axis=0)
    dbias = dy.sum(axis=0)
    g = weight * dy
    mean_g = g.mean(axis=1, keepdims=True)
    mean_gx = (g * x_hat).mean(axis=1, keepdims=True)
    dx = r * (g - mean_g - x_hat * mean_gx)
    # end solution
    return dx, dweight, dbias


EXERCISE = Exercise(
    name="layer_norm",
    title="LayerNorm: another pool, and weights inside it",
    level=2,
    hints=(
        "dx is about one row at a time: its statistics are means over the D entries of the row. dweight and "
        "dbias have the shape (D,): N samples share each of their entries.",
        "The weight belongs inside the means, because it differs from entry to entry of a row: g = w·dy.",
        "The means are over axis 1, with keepdims=True so that (N, 1) is broadcast along the row.",
        "dx = r·(g - mean(g) - x̂·mean(g·x̂)), dweight = Σ dy·x̂ and dbias = Σ dy over axis 0.",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(3 + more, 4 + more)),
        rng.uniform(0.5, 2.0, size=4 + more),
        rng.normal(size=4 + more),
        1e-2,
    ),
    like="layer_norm",
    mistakes=(
        TypicalMistake(
            "dweight",
            "x̂ is missing: ∂y/∂w = x̂",
            lambda dy, x_hat, r, w: dy.sum(axis=0),
        ),
    ),
)
