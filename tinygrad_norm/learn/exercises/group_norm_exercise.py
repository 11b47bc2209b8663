"""Group normalization from BatchNorm's function: a normalization is a choice of pools.

    x (N, C, H, W)   the C channels are G groups of C/G channels that stand side by side
    pool: one group of one sample, so there are P = N·G pools of n = (C/G)·H·W values

    y = w·x̂ + b   with w, b (C,)   x̂, y, dy, dx (N, C, H, W)   dweight, dbias (C,)

batch_norm and batch_norm_backward are given: they normalize every column of a matrix (n, P), and go back.
Call them to write x̂ in forward and dx in backward.

Neither function knows what its columns mean. BatchNorm puts a channel into each column; LayerNorm would
put a sample there. So GroupNorm needs no new derivative, only x as a matrix whose columns are its pools,
and the result back in x's shape:

    forward     x (N, C, H, W)  →  (P, n)  →  (n, P)  →  batch_norm  →  x̂ (n, P)  →  (P, n)  →  (N, C, H, W)
    backward    g (N, C, H, W)  →  …  →  batch_norm_backward  →  …  →  dx (N, C, H, W)

In memory the last axis varies first: the C/G channels of a group, with all their positions, are
neighbours. So x.reshape(…) with the right sizes makes each pool a row.

A reshape and a transpose only move values. Their backward moves the gradients back, and multiplies nothing.
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def batch_norm(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x_hat (n, P), every column of x (n, P) normalized, and r (P,)."""
    m = x.mean(axis=0)
    v = ((x - m) ** 2).mean(axis=0)
    r = 1 / np.sqrt(v + eps)
    return (x - m) * r, r


def batch_norm_backward(g: np.ndarray, x_hat: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return dx (n, P), for g = dL/dx_hat (n, P), x_hat (n, P) and r (P,)."""
    return r * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, groups: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, C, H, W), and what backward needs: x_hat (N, C, H, W), r (P,) and weight (C,)."""
    pools = len(x) * groups
    # begin solution: write x_hat (N, C, H, W) and r (P,)
    x_hat, r = batch_norm(x.reshape(pools, -1).T, eps)
    x_hat = x_hat.T.reshape(x.shape)
    # end solution
    y = weight[:, None, None] * x_hat + bias[:, None, None]
    return y, x_hat, r, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, C, H, W), dweight and dbias (C,), for dy (N, C, H, W)."""
    dweight = (dy * x_hat).sum(axis=(0, 2, 3))
    dbias = dy.sum(axis=(0, 2, 3))
    g = weight[:, None, None] * dy
    pools = len(r)
    # begin solution: write dx
    dx = batch_norm_backward(g.reshape(pools, -1).T, x_hat.reshape(pools, -1).T, r)
    dx = dx.T.reshape(dy.shape)
    # end solution
    return dx, dweight, dbias


EXERCISE = Exercise(
    name="group_norm",
    title="GroupNorm from BatchNorm: a reshape",
    level=3,
    hints=(
        "x.reshape(pools, -1) has one row per sample and group. Why is that the pool, and not a mixture?",
        "batch_norm wants pools as columns: transpose with .T, and transpose what it returns before it is "
        "reshaped to x.shape.",
        "In backward, g and x_hat both need the way that x took in forward; r stays (P,).",
        "x_hat, r = batch_norm(x.reshape(pools, -1).T, eps), then x_hat = x_hat.T.reshape(x.shape).",
        "dx = batch_norm_backward(g.reshape(pools, -1).T, x_hat.reshape(pools, -1).T, r).T.reshape(dy.shape)",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(2 + more, 4 + 2 * more, 1, 2)),
        rng.uniform(0.5, 2.0, size=4 + 2 * more),
        rng.normal(size=4 + 2 * more),
        2 + more,
        1e-2,
    ),
    like="group_norm",
    mistakes=(
        TypicalMistake(
            "dx",
            "the result is not transposed before it is reshaped: each pool is a column of it",
            lambda dy, x_hat, r, w: batch_norm_backward(
                (w[:, None, None] * dy).reshape(len(r), -1).T, x_hat.reshape(len(r), -1).T, r
            ).reshape(dy.shape),
        ),
        TypicalMistake(
            "dx",
            "dy stands where g belongs: what comes back to x̂ is w·dy",
            lambda dy, x_hat, r, w: batch_norm_backward(
                dy.reshape(len(r), -1).T, x_hat.reshape(len(r), -1).T, r
            ).T.reshape(dy.shape),
        ),
    ),
)
