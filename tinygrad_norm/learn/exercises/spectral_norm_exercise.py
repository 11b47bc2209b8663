"""SpectralNorm: a weight is divided by its largest singular value.

    W (H, D)   u (H,)   v (D,)   σ = uᵀ·W·v = Σ_hd u_h·W_hd·v_d   y = W/σ
    dy and dW (H, D)   σ a number

forward is given. Write dW in backward.

u and v are the first singular vectors of W, ‖u‖ = ‖v‖ = 1. A layer finds them by the power method and keeps
them; for the gradient they are constants, and σ is linear in W.

σ divides all of W. So W_ij reaches every y_hd = W_hd/σ, on two paths:

    straight     ∂W_hd/∂W_ij = 1 if (h, d) = (i, j)     dy_ij/σ
    through σ    ∂y_hd/∂σ = …      ∂σ/∂W_ij = …         (Σ_hd dy_hd·∂y_hd/∂σ)·∂σ/∂W_ij = …

    dW = straight + through σ

By hand: for W = [[2, 0], [0, 1]], u = v = [1, 0] and a dy of ones, σ is 2, straight 0.5 everywhere, through σ
[[-0.75, 0], [0, 0]], and dW [[-0.25, 0.5], [0.5, 0.5]].
"""

import numpy as np

from .exercise import Exercise


def forward(weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y (H, D), and what backward needs: weight W (H, D), σ, u (H,) and v (D,)."""
    sigma = u @ weight @ v
    return weight / sigma, weight, sigma, u, v


def backward(
    dy: np.ndarray, weight: np.ndarray, sigma: float, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, None, None]:
    """Return dW (H, D), and None for u and v, which are constants, for dy (H, D)."""
    # begin solution: write dweight
    dsigma = -(dy * weight).sum() / sigma**2
    dweight = dy / sigma + dsigma * np.outer(u, v)
    # end solution
    return dweight, None, None


def _inputs(rng: np.random.Generator, more: int) -> tuple[np.ndarray, ...]:
    weight = rng.normal(size=(3 + more, 4 + more))
    u, _, vt = np.linalg.svd(weight)
    return weight, u[:, 0], vt[0]


EXERCISE = Exercise(
    name="spectral_norm",
    title="one number that divides a whole matrix",
    level=3,
    hints=(
        "It goes as in WeightNorm: W stands on top and in the divisor. The divisor is now one number for "
        "the whole matrix, so the sum in its gradient runs over both axes.",
        "∂y_hd/∂σ = -W_hd/σ². What σ gets is one number: dσ = -Σ_hd dy_hd·W_hd/σ².",
        "σ = Σ_hd u_h·W_hd·v_d, so ∂σ/∂W_ij = u_i·v_j. As a matrix that is u·vᵀ: np.outer(u, v).",
        "dW = dy/σ + dσ·u·vᵀ, with dσ = -(dy * weight).sum() / sigma**2.",
    ),
    inputs=_inputs,
    like="spectral_norm",
)
