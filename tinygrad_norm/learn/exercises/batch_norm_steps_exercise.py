"""Batch normalization, backwards step by step, through v and m.

    x (N, D): N samples of D features. Each feature is normalized over the batch.

    m = mean(x)   c = x - m   v = mean(c²)   r = 1/√(v + eps)   x̂ = c·r   y = w·x̂ + b

    m, v, r, w, b (D,): one number per feature   c, x̂, y, dy (N, D)   mean: over the N samples
    dx (N, D)   dweight, dbias (D,)      In the code: w weight, b bias, x̂ x_hat, n = N.

forward is given, and the first half of backward. Write dv, dc, dm and dx.

Walk from y to x, one step of forward at a time, and keep a gradient for each value, dm = dL/dm and so on.
Two rules are enough.

    A value that is used in several places gets a gradient from each of them. They add up.
    A value that was broadcast, (D,) to (N, D), is used in N places: its gradient is a sum over the samples.

The first steps, each with the rule that it uses:

    y = w·x̂ + b         dbias = Σ dy   dweight = Σ dy·x̂   g := dL/dx̂ = w·dy       (Σ: b and w were broadcast)
    x̂ = c·r             dr = Σ g·c     and a first part of dc: g·r                  (Σ: so was r)

and those that are left:

    r = (v + eps)^(-½)   dv = dr·∂r/∂v     with ∂r/∂v = …, written by r alone
    v = mean(c²)         a second part of dc: dv times ∂v/∂c_i = …                  (dc is complete: add both)
    c = x - m            dm = …            and a first part of dx: dc               (m was broadcast)
    m = mean(x)          a second part of dx: dm times ∂m/∂x_i = …                  (dx is complete: add both)
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, D), and what backward needs: c and x_hat (N, D), r and weight (D,)."""
    m = x.mean(axis=0)
    c = x - m
    v = (c * c).mean(axis=0)
    r = 1 / np.sqrt(v + eps)
    x_hat = c * r
    y = weight * x_hat + bias
    return y, c, x_hat, r, weight


def backward(
    dy: np.ndarray, c: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dweight and dbias (D,), for dy (N, D)."""
    n = len(dy)
    dbias = dy.sum(axis=0)
    dweight = (dy * x_hat).sum(axis=0)
    g = weight * dy
    dr = (g * c).sum(axis=0)
    # begin solution: write dv, dc, dm and dx
    dv = -dr * r**3 / 2
    dc = g * r + dv * 2 * c / n
    dm = -dc.sum(axis=0)
    dx = dc + dm / n
    # end solution
    return dx, dweight, dbias


def _with(dc: np.ndarray) -> np.ndarray:
    return dc - dc.mean(axis=0)


EXERCISE = Exercise(
    name="batch_norm_steps",
    title="BatchNorm's gradient, one step of forward at a time",
    level=2,
    hints=(
        "Go through your lines in the order dv, dc, dm, dx, and compare each with its row of the derivation: "
        "dc has two parts, and so has dx. Which value of a row was broadcast, and which is a mean of n?",
        "The derivative of u^(-½) is -½·u^(-3/2), and (v + eps)^(-½) is r: dv = -dr·r³/2. Then v is a mean "
        "of c_i² over n samples, so ∂v/∂c_i = 2·c_i/n.",
        "dc has two parts, because c is used in x̂ and in v: g·r and dv·2·c/n.",
        "m was subtracted from every sample: dm = -Σ dc. And ∂m/∂x_i = 1/n.",
        "dx has two parts, because x is used in c and in m: dc and dm/n.",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(4 + more, 3 + more)),
        rng.uniform(0.5, 2.0, size=3 + more),
        rng.normal(size=3 + more),
        1e-2,
    ),
    like="batch_norm",
    mistakes=(
        TypicalMistake(
            "dx",
            "the share 1/n of every sample is missing in ∂v/∂c_i: v is a mean",
            lambda dy, c, x_hat, r, w: _with(w * dy * r - r**3 * (w * dy * c).sum(0) * c),
        ),
        TypicalMistake(
            "dx",
            "dm is not divided by n: m is the mean of n samples, ∂m/∂x_i = 1/n",
            lambda dy, c, x_hat, r, w: w * dy * r - r**3 * (w * dy * c).mean(0) * c - (w * dy * r).sum(0),
        ),
        TypicalMistake(
            "dx",
            "the sign of dv: r falls when v grows",
            lambda dy, c, x_hat, r, w: _with(w * dy * r + r**3 * (w * dy * c).mean(0) * c),
        ),
        TypicalMistake(
            "dx",
            "dv has r³, not r, as a factor: (v + eps)^(-3/2) is r³",
            lambda dy, c, x_hat, r, w: _with(w * dy * r - r * (w * dy * c).mean(0) * c),
        ),
    ),
)
