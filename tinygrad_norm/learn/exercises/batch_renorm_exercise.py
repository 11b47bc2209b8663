"""Batch Renorm: BatchNorm, corrected towards the running statistics.

    x (N, C)   m = mean(x)   v = mean((x - m)²)   x̂ = (x - m)/√(v + eps), over the N samples of one channel
    M, V the running mean and variance   s = √(V + eps)
    r = clip(√(v + eps)/s, 1/3, 3)   d = clip((m - M)/s, -5, 5)   y = w·(x̂·r + d) + b
    dy and dx (N, C)   dw and db (C,), as m, v, M, V, r, d, w and b

forward is given. Write dx, dweight and dbias in backward.

If nothing is clipped, x̂·r + d = (x - M)/s: training computes what evaluation does. But r and d come from x:
if the gradient flowed through them, dx would be that of (x - M)/s, with nothing left of the paths through m
and v, and training would be as unstable as with constant statistics. So the paper (Ioffe 2017,
arXiv:1702.03275) makes r and d constants: only x̂ has paths to x.

First what is elementwise; all samples share w and b:

    db = Σ dy      dw = Σ dy·∂y/∂w = …      g := dL/dx̂ = …

then the three paths through x̂. They are those of BatchNorm, with the g of this exercise:

    straight     g_i/√(v + eps)
    through m    …
    through v    …

    dx = straight + through m + through v

Finite differences only agree with constants that do not move. So the check uses running statistics that put
every r and d at a limit.
"""

import numpy as np

from .exercise import Exercise

EPS = 1e-5


def forward(
    x: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return y (N, C), and what backward needs: x̂ (N, C), 1/√(v + eps) as rstd, r, d and weight, all (C,)."""
    m, v = x.mean(axis=0), x.var(axis=0)
    rstd, s = 1 / np.sqrt(v + EPS), np.sqrt(running_var + EPS)
    r = np.clip(np.sqrt(v + EPS) / s, 1 / 3, 3)
    d = np.clip((m - running_mean) / s, -5, 5)
    x_hat = (x - m) * rstd
    return weight * (x_hat * r + d) + bias, x_hat, rstd, r, d, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, rstd: np.ndarray, r: np.ndarray, d: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, None, None, np.ndarray, np.ndarray]:
    """Return dx (N, C), None for the two running statistics, dweight (C,) and dbias (C,), for dy (N, C)."""
    # begin solution: write dx, dweight and dbias
    dbias = dy.sum(axis=0)
    dweight = (dy * (x_hat * r + d)).sum(axis=0)
    g = weight * r * dy
    dx = rstd * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))
    # end solution
    return dx, None, None, dweight, dbias


def _inputs(rng: np.random.Generator, more: int) -> tuple[np.ndarray, ...]:
    running_mean, running_var = np.array([5.0, -1000.0, -3.0]), np.array([1e-4, 1e4, 1e-4])
    x = rng.normal(size=(5 + more, 3))
    return x, running_mean, running_var, rng.uniform(0.5, 2, 3), rng.normal(size=3)


EXERCISE = Exercise(
    name="batch_renorm",
    title="what is a constant for the gradient, and what is not",
    level=3,
    hints=(
        "With r and d constant, y = (w·r)·x̂ + (w·d + b): a BatchNorm with the weight w·r and the bias w·d "
        "+ b. You have written its backward.",
        "y = w·(x̂·r + d) + b, so ∂y/∂x̂ = w·r. And ∂y/∂w is everything that w multiplies.",
        "The other two paths of BatchNorm, with means over the samples: through m it is -mean(g)/√(v + "
        "eps), through v -x̂·mean(g·x̂)/√(v + eps).",
        "g = w·r·dy; dx = rstd·(g - mean(g) - x̂·mean(g·x̂)); dw = Σ dy·(x̂·r + d).",
    ),
    inputs=_inputs,
    like="batch_renorm",
)
