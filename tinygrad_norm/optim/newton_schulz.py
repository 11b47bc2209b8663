"""Newton-Schulz iteration: nearly the closest matrix with orthonormal rows, from products of matrices alone.

    G (n, m)   X = G/max(‖G‖, eps), ‖·‖ the root of the sum of squares; all singular values are then at most 1
    X ← a·X + (b·A + c·A²)·X    A = X·Xᵀ    five times, with (a, b, c) = (3.4445, -4.7750, 2.0315)

If G = U·S·Vᵀ, then A = U·S²·Uᵀ, and every step keeps U and V and moves each singular value by itself:

    σ ← p(σ) = a·σ + b·σ³ + c·σ⁵

So the result is U·p(p(p(p(p(S/‖G‖)))))·Vᵀ, with no decomposition. p(σ) is about 3.4·σ near 0, so that after
five steps what was σ = 0.01 is of size 1. The price is that 1 is not a fixed point: p(1) = 0.701, and values
between 0.68 and 1.13 come out, never exactly 1.

If n > m, X is transposed and A is (m, m): the smaller of the two products.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks" (the coefficients); Liu et al.
2025, arXiv:2502.16982.
"""

from ..backends import Array, namespace
from .trust_ratio import length

COEFFICIENTS = 3.4445, -4.7750, 2.0315


def newton_schulz(
    matrix: Array, coefficients: tuple[float, float, float] = COEFFICIENTS, steps: int = 5, eps: float = 1e-7
) -> Array:
    """Return (n, m) with the singular vectors of `matrix`, and singular values near 1."""
    a, b, c = coefficients
    transposed = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if transposed else matrix
    x = x / namespace(x).maximum(length(x), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if transposed else x
