"""Find the mistake: LayerNorm, one node of the graph after the other.

    x (N, D)   m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b
    dy and dx (N, D)   m, v and r (N, 1)   w, b, dw and db (D,)

forward is right. backward is wrong: find the mistake and mend it.

backward does not use the closed form. It goes back through the graph, node by node, and adds up what each
node gets from all nodes that use it:

    x̂ = (x - m)·r          uses x, m and r
    r = 1/√(v + eps)       uses v
    v = mean((x - m)²)     uses x and m
    m = mean(x)            uses x

Each use is a path. Count the uses of v, m and x, and look for each of them in backward. And two properties
hold for every right LayerNorm; see which of them does not:

    Σ_i dx_i = 0               adding a number to a row of x does not change y
    Σ_i dx_i·(x_i - m) ≈ 0     nor does scaling x - m, up to eps
"""

import numpy as np

from .exercise import Exercise


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y (N, D), and what backward needs: x - m (N, D), r (N, 1) and weight (D,)."""
    centered = x - x.mean(axis=1, keepdims=True)
    r = 1 / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    return weight * centered * r + bias, centered, r, weight


def backward(
    dy: np.ndarray, centered: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dw and db (D,), for dy (N, D)."""
    D = dy.shape[1]
    g = weight * dy
    dr = (g * centered).sum(axis=1, keepdims=True)
    dv = dr * -(r**3) / 2
    # begin solution
    dm = -(g * r).sum(axis=1, keepdims=True) + dv * (-2 * centered).mean(axis=1, keepdims=True)
    # begin bug
    # dm = dv * (-2 * centered).mean(axis=1, keepdims=True)
    # end solution
    dx = g * r + dv * 2 * centered / D + dm / D
    return dx, (dy * centered * r).sum(axis=0), dy.sum(axis=0)


EXERCISE = Exercise(
    name="planted_layer_norm",
    title="find the mistake: LayerNorm, node by node",
    level=3,
    hints=(
        "dw and db are right, so look at dx. Print dx.sum(axis=1). It is not 0: with this dx, adding "
        "one number to all of a row would change y. Which node of the graph carries that?",
        "m is used twice: in x̂ = (x - m)·r, and in v = mean((x - m)²). How many terms does dm have?",
        "Print dm. It is 0: the term that is there, the one through v, is always 0, because Σ (x - m) = 0. "
        "The other one is missing.",
        "Every x̂_j of the row uses m, with ∂x̂_j/∂m = -r. So dm gets -r·Σ_j g_j as well: "
        "-(g * r).sum(axis=1, keepdims=True).",
    ),
    inputs=lambda rng, more: (
        rng.normal(1, 2, (3 + more, 5)),
        rng.uniform(0.5, 2, 5),
        rng.normal(size=5),
    ),
    like="layer_norm",
)
