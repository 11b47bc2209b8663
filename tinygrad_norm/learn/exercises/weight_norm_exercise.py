"""WeightNorm: a weight is a length times a direction, and both are learned.

    v (K, D), one row per output   n = ‖v‖ = √(Σ v²)   u = v/n   w = g·u   g and n (K, 1)
    dw and dv (K, D)   dg (K, 1)

forward is given. Write dg and dv in backward, from dw = dL/dw.

All rows are alike, so look at one. g is a factor of every w_j of its row, w_j = g·u_j, and paths add up:

    dg = Σ_j dw_j·∂w_j/∂g = Σ_j dw_j·…

v_i reaches w_j = g·v_j/n on two paths: it is one of the v_j, and it is a part of n, which divides them all.
For each path, hold the other one fixed:

    straight     ∂v_j/∂v_i = 1 if i = j            g·dw_i/n
    through n    ∂w_j/∂n = …      ∂n/∂v_i = …      (Σ_j dw_j·∂w_j/∂n)·∂n/∂v_i = …

    dv = straight + through n

By hand: for v = [3, 4], g = 10 and dw = [1, 0], straight is [2, 0], through n [-0.72, -0.96], and dv [1.28,
-0.96]. This dv is at right angles to v. Why must it be? (What does w do if v grows to 2·v?)
"""

import numpy as np

from .exercise import Exercise


def forward(v: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return w (K, D), and what backward needs: u (K, D), n (K, 1) and g (K, 1)."""
    n = np.sqrt((v * v).sum(axis=1, keepdims=True))
    u = v / n
    return g * u, u, n, g


def backward(dw: np.ndarray, u: np.ndarray, n: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dv (K, D) and dg (K, 1), for dw (K, D)."""
    # begin solution: write dg and dv
    dg = (dw * u).sum(axis=1, keepdims=True)
    straight = g * dw / n
    through_n = -g * dg * u / n
    dv = straight + through_n
    # end solution
    return dv, dg


EXERCISE = Exercise(
    name="weight_norm",
    title="a length times a direction: a path through the length",
    level=3,
    hints=(
        "v stands on top and in n. For the straight path treat n as a number; for the path through n treat "
        "the v on top as one. Then add the two.",
        "∂n/∂v_i = v_i/n = u_i, the derivative of √(Σ v²). And ∂w_j/∂n = -g·v_j/n², which is -(g/n)·u_j.",
        "n is one number for the row. First add up what it gets from all w_j: Σ_j dw_j·∂w_j/∂n = "
        "-(g/n)·Σ_j dw_j·u_j. You know this sum: it is dg.",
        "dg = Σ dw·u, over each row with keepdims=True; dv = (g/n)·(dw - dg·u).",
    ),
    inputs=lambda rng, more: (rng.normal(size=(3 + more, 4 + more)), rng.uniform(0.5, 2, (3 + more, 1))),
    like="weight_norm",
)
