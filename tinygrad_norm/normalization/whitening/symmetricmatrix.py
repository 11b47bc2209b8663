"""Functions of symmetric matrices, and their gradients without a difference of eigenvalues.

    S (G, d, d) symmetric   S = U·Λ·Uᵀ   F = f(S) = U·f(Λ)·Uᵀ

Backward, from dF = dL/dF, by the formula of Löwner (also Daleckii and Krein):

    dS = U·(K∘(Uᵀ·sym(dF)·U))·Uᵀ      K_ij = (f(λi) - f(λj))/(λi - λj), f′(λi) where i = j

sym(A) = (A + Aᵀ)/2. Computed as it stands, K is 0/0 for equal eigenvalues, and noise for nearly equal ones:
that is what autograd does that goes through the eigenvectors. For roots the difference cancels,

    f(λ) = √λ      K_ij = 1/(√λi + √λj)
    f(λ) = 1/√λ    K_ij = -1/(√λi·√λj·(√λi + √λj)) = -(ri·rj)²/(ri + rj)      with r = 1/√λ

and equal eigenvalues are no special case, although their eigenvectors may be any that span the same space.

In the code: λ values, U vectors, r roots.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cuda.launch import CudaSource, contiguous
from ...backends.float_info import finfo
from ...ops import eye

_kernels = CudaSource(__file__)
_SWEEPS = 30
_NEWTON_STEPS = 30


@kernel
def symmetric_eigen(S: Array) -> tuple[Array, Array]:
    """Return the eigenvalues (G, d) of S (G, d, d), in any order, and the eigenvectors as columns."""
    if not S.size:
        return S.sum(2), S
    eigh: Any = numpy.linalg.eigh  # NumPy's annotations know no other array than its own
    values, vectors = eigh(S)
    return values, vectors


@symmetric_eigen.cuda
def symmetric_eigen_cuda(S: Array) -> tuple[Array, Array]:
    """One kernel: a block for each matrix turns it until it is diagonal."""
    xp, (G, d, _) = namespace(S), S.shape
    values, vectors = xp.empty((G, d), S.dtype), xp.empty(S.shape, S.dtype)
    args = contiguous(S.copy())[0], values, vectors, d, _SWEEPS
    _kernels.launch("symmetric_eigen", S.dtype, (), G, 256, args, (d + 1) // 2 * 2 * S.dtype.itemsize)
    return values, vectors


def eigen(S: Array) -> tuple[Array, Array]:
    """Return what `symmetric_eigen` does; the eigenvalues are NaN if a number of the matrix is not finite."""
    xp, d = namespace(S), S.shape[-1]
    finite = xp.isfinite(S).all((1, 2))
    values, vectors = symmetric_eigen(xp.where(finite[:, None, None], S, xp.eye(d, dtype=S.dtype)))
    return xp.where(finite[:, None], values, numpy.nan), vectors


def with_eigenvalues(vectors: Array, values: Array) -> Array:
    """Return U·diag(values)·Uᵀ (G, d, d)."""
    return (vectors * values[:, None]) @ vectors.swapaxes(1, 2)


def gradient_through(vectors: Array, K: Array, dF: Array) -> Array:
    """Return dS = U·(K∘(Uᵀ·sym(dF)·U))·Uᵀ, which is symmetric."""
    turned = vectors.swapaxes(1, 2)
    return vectors @ (K * (turned @ symmetric(dF) @ vectors)) @ turned


def symmetric(A: Array) -> Array:
    """Return (A + Aᵀ)/2 of each matrix."""
    return (A + A.swapaxes(-1, -2)) / 2


def inverse_roots(values: Array, least: Array | float) -> Array:
    """Return r = 1/√λ, for eigenvalues that are `least` at least: smaller ones are rounding errors.

    So are those below the machine epsilon of the largest. The inverse root of 0 counts as 0.
    """
    xp = namespace(values)
    floor = finfo(values.dtype).eps * abs(values).max(1, keepdims=True)
    values = xp.maximum(values, xp.maximum(floor, least))
    return xp.where(values == 0, 0, xp.where(values == 0, 1, values) ** -0.5)


def roots(values: Array) -> Array:
    """Return √λ of eigenvalues (G, d) ≥ 0; those that only rounding keeps from 0 are 0."""
    xp = namespace(values)
    noise = values.shape[1] * finfo(values.dtype).eps * abs(values).max(1, keepdims=True)
    return xp.where(values <= noise, 0, abs(values) ** 0.5)


def pseudo_inverse(roots: Array) -> Array:
    """Return 1/√λ from √λ (G, d), and 0 for 0."""
    xp = namespace(roots)
    return xp.where(roots == 0, 0, 1 / xp.where(roots == 0, 1, roots))


def differences_of_roots(s: Array) -> Array:
    """Return K (G, d, d) of f(λ) = √λ, from s = √λ (G, d); 0 where both are 0."""
    return pseudo_inverse(s[:, :, None] + s[:, None])


def differences_of_inverse_roots(r: Array) -> Array:
    """Return K (G, d, d) of f(λ) = 1/√λ, from r = 1/√λ (G, d)."""
    xp = namespace(r)
    product, total = r[:, :, None] * r[:, None], r[:, :, None] + r[:, None]
    return -product * (product / xp.where(total == 0, 1, total))


def inverse_root_composed(S: Tensor) -> Tensor:
    """Return S^(-½) from primitives, for positive definite S (G, d, d): autograd finds the gradient."""
    return roots_composed(S)[1]


def roots_composed(S: Tensor) -> tuple[Tensor, Tensor]:
    """Return S^½ and S^(-½) from primitives, for positive definite S (G, d, d).

    A coupled Newton iteration on S/tr S, Y → S^½ and Z → S^(-½), which rounding errors do not make diverge.
    """
    one = eye(S.shape[-1], dtype=S.dtype)
    trace = (S * one).sum((1, 2), keepdim=True)
    Y, Z = S / trace, one
    for _ in range(_NEWTON_STEPS):
        step = 1.5 * one - 0.5 * (Z @ Y)
        Y, Z = Y @ step, step @ Z
    return Y * trace**0.5, Z * trace**-0.5
