"""Batch normalization in closed form: three paths, one line.

    x (N, C, H, W): N images of C channels. A channel is normalized over its pool: all samples and positions.

    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

    m, v, r, w, b (C,): one number per channel, kept as (1, C, 1, 1)   n = N·H·W values in a pool
    x, x̂, y, dy, dx (N, C, H, W)   dweight, dbias (1, C, 1, 1)    In the code: w weight, b bias, x̂ x_hat.

forward is given. Write dbias, dweight and dx in backward: dx as one formula of r, x̂ and g = w·dy.

Step by step the gradient is right, but what the steps do together does not show. By paths, it is one
line. In one channel, every x_i moves every x̂_j of the pool, so

    dx_i = Σ_j g_j·∂x̂_j/∂x_i      with g := dL/dx̂ = w·dy, and x̂_j = (x_j - m)·r

and x_i is in x̂_j in three places. Each is a path; take the other two as constants, and add up the three.

    straight     ∂x_j/∂x_i = 1 if i = j, else 0. One term of the sum is left:                     r·g_i

    through m    ∂m/∂x_i = 1/n and ∂x̂_j/∂m = -r, the same for every j. So the sum is that of g:
                 Σ_j g_j·(-r)·(1/n) =                                                            -r·mean(g)

    through r    ∂v/∂x_i = (2/n)·(x_i - m) and ∂r/∂v = -r³/2, and ∂x̂_j/∂r = x_j - m. So
                 Σ_j g_j·(x_j - m)·(-r³/2)·(2/n)·(x_i - m) =                                     …

                 Write it with x̂ = (x - m)·r and a mean: of the factors r, two go into the two x̂.

(m is also in v, but that path is 0: ∂v/∂m = -2·mean(x - m), and the mean of x - m is 0.)

All sums and means are those of a pool: over axes 0, 2 and 3.
"""

import numpy as np

from .exercise import Exercise, TypicalMistake

POOL = (0, 2, 3)  # the axes of x over which a channel's statistics are taken


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, C, H, W), and what backward needs: x_hat (N, C, H, W), r and weight (1, C, 1, 1)."""
    m = x.mean(POOL, keepdims=True)
    v = ((x - m) ** 2).mean(POOL, keepdims=True)
    r = 1 / np.sqrt(v + eps)
    x_hat = (x - m) * r
    y = weight * x_hat + bias
    return y, x_hat, r, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, C, H, W), dweight and dbias (1, C, 1, 1), for dy (N, C, H, W)."""
    # begin solution: write dx, dweight and dbias
    dbias = dy.sum(POOL, keepdims=True)
    dweight = (dy * x_hat).sum(POOL, keepdims=True)
    g = weight * dy
    mean_g = g.mean(POOL, keepdims=True)
    mean_gx = (g * x_hat).mean(POOL, keepdims=True)
    dx = r * (g - mean_g - x_hat * mean_gx)
    # end solution
    return dx, dweight, dbias


EXERCISE = Exercise(
    name="batch_norm",
    title="BatchNorm's gradient in one line: three paths",
    level=2,
    hints=(
        "dx is the sum of three paths, each with its means over one pool. dbias and dweight are sums over a "
        "pool. All with keepdims=True, so that one number per channel has the shape (1, C, 1, 1).",
        "In the path through r, take r, x_i - m and the sum over j apart: "
        "-r³·(x_i - m)·(1/n)·Σ_j g_j·(x_j - m).",
        "(x_i - m)·r is x̂_i, and (1/n)·Σ_j g_j·(x_j - m)·r is mean(g·x̂). One r is left in front.",
        "The path through r is -r·x̂·mean(g·x̂). All three have the factor r.",
        "dx = r·(g - mean(g) - x̂·mean(g·x̂)), with g = w·dy and means over axes 0, 2, 3.",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(2 + more, 3, 1 + more, 2)),
        rng.uniform(0.5, 2.0, size=(1, 3, 1, 1)),
        rng.normal(size=(1, 3, 1, 1)),
        1e-2,
    ),
    like="batch_norm",
    mistakes=(
        TypicalMistake(
            "dweight",
            "x̂ is missing: ∂y/∂w = x̂",
            lambda dy, x_hat, r, w: dy.sum(POOL, keepdims=True),
        ),
        TypicalMistake(
            "dbias",
            "a mean over the pool stands where the sum belongs",
            lambda dy, x_hat, r, w: dy.mean(POOL, keepdims=True),
        ),
    ),
)
