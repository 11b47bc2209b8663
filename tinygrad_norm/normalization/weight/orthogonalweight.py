"""Orthogonal weight normalization: the rows of a weight are made orthonormal, all at once.

    x (K, ...) as a matrix V (K, D), D = fan_in   S = V·Vᵀ = U·Λ·Uᵀ   P = S^(-½)   y = P·V      y·yᵀ = I

for K ≤ D; a weight with more rows than columns gets orthonormal columns instead, y = V·(Vᵀ·V)^(-½). Of all
matrices with orthonormal rows, y is the nearest to V: its polar factor. It depends on no order of the rows.

Huang's layer takes the mean of each row from V first; this one does not. In the code V is divided by a power
of two, which leaves y as it is. Directions that V does not have, to rounding, are left out of P.

The condition number of S is the square of that of V: of float32 weights with a large common offset, S in
float32 would have lost the small directions. So float32 is computed in float64, and half types in float32.

This is not torch.nn.utils.parametrizations.orthogonal, which makes orthogonal matrices from the exponential
or from reflections.

Huang, Liu, Lang, Yu, Wang, Li 2018, arXiv:1709.06079.

Backward, from dy = dL/dy. V reaches y straight, and through P with dP = dy·Vᵀ: by the formula of Löwner
(normalization/whitening/symmetricmatrix.py) for f(λ) = 1/√λ,

    dS = U·(K∘(Uᵀ·sym(dP)·U))·Uᵀ      K_ij = -1/(√λi·√λj·(√λi + √λj))

    dV = dx = P·dy + 2·dS·V

Insight: dx is orthogonal to V, since y does not change with its length; and by the same token it is
orthogonal to A·V for every symmetric A that commutes with S: only the directions of V count.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Rows, kernel, namespace
from ...backends.cpu.half import upcast
from ...module import Module
from ...ops import ones
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, register
from ..core.magnitudes import scales_of_rows
from ..whitening.symmetricmatrix import (
    differences_of_inverse_roots,
    eigen,
    gradient_through,
    inverse_root_composed,
    pseudo_inverse,
    roots,
    with_eigenvalues,
)


def orthogonal_weight_norm_composed(weight: Tensor) -> Tensor:
    """Orthogonal weight normalization from primitives: autograd finds the gradient."""
    matrix = weight.flatten(1)
    V = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    y = (inverse_root_composed((V @ V.T).unsqueeze(0)) @ V)[0]
    return (y if matrix.shape[0] <= matrix.shape[1] else y.T).reshape(weight.shape)


def _wide(x: Array) -> Array:
    return x.astype(numpy.float64) if x.dtype == numpy.float32 else upcast(x)


def _narrow(y: Array, like: Array) -> Array:
    with numpy.errstate(over="ignore"):
        return y.astype(like.dtype, copy=False)


def _roots(values: Array, x: Array) -> Array:
    """Return √λ (1, K), and 0 for directions that only the rounding of float32 gives x."""
    s = roots(values)
    if x.dtype != numpy.float32:
        return s
    noise = s.shape[1] * float(numpy.finfo(numpy.float32).eps) * s.max(1, keepdims=True)
    return namespace(s).where(s <= noise, 0, s)


@kernel
def orthogonal_weight_norm_forward(x: Rows) -> tuple[Rows, Array, Array, Array, Array, Array]:
    """Return y (K, D), K ≤ D; V/s (K, D), P, the eigenvectors U (1, K, K), r = 1/√λ (1, K), and s (1, 1)."""
    V = _wide(x)
    scale = scales_of_rows(V.reshape(1, V.size)).reshape(1, 1).astype(V.dtype)
    V = V / scale
    values, vectors = eigen((V @ V.T)[None])
    r = pseudo_inverse(_roots(values, x))
    P = with_eigenvalues(vectors, r)
    return _narrow(P[0] @ V, x), V, P, vectors, r, scale


@kernel
def orthogonal_weight_norm_backward(
    dy: Rows, V: Rows, P: Array, vectors: Array, r: Array, scale: Array
) -> Rows:
    """Return dx (K, D)."""
    wide = _wide(dy)
    dS = gradient_through(vectors, differences_of_inverse_roots(r), (wide @ V.T)[None])
    return _narrow((P[0] @ wide + 2 * dS[0] @ V) / scale, dy)


class OrthogonalWeightNormFunction(Function):
    """y = (V·Vᵀ)^(-½)·V · dV = P·dy + 2·dS·V, dS = U·(K∘Uᵀ·sym(dy·Vᵀ)·U)·Uᵀ"""

    composed = staticmethod(orthogonal_weight_norm_composed)  # recorded arrays have no eigenvectors

    def forward(self, x: Array) -> Array:
        matrix = x.reshape(len(x), -1)
        self.tall = matrix.shape[0] > matrix.shape[1]
        y, *found = orthogonal_weight_norm_forward(matrix.T if self.tall else matrix)
        self.saved = tuple(found)
        return (y.T if self.tall else y).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        matrix = dy.reshape(len(dy), -1)
        dx = orthogonal_weight_norm_backward(matrix.T if self.tall else matrix, *self.saved)
        return (dx.T if self.tall else dx).reshape(dy.shape)


def orthogonal_weight_norm(weight: Tensor) -> Tensor:
    """Return the nearest weight with orthonormal rows, or columns if those are fewer.

    Args:
        weight: (K, ...), with at least two axes; all axes after the first are the columns.

    Raises:
        TypeError: if the weight is not a floating-point tensor.
        ValueError: if it has fewer than two axes, or no entries.

    Source: Huang, Liu, Lang, Yu, Wang, Li 2018, arXiv:1709.06079.
    """
    check_input(weight, "orthogonal_weight_norm")
    if weight.ndim < 2 or not weight.array.size:
        raise ValueError(
            f"orthogonal_weight_norm takes a weight (out, in, ...) with at least one entry, got shape "
            f"{weight.shape}"
        )
    return OrthogonalWeightNormFunction.apply(weight)


class OrthogonalWeightNorm(Module):
    """A parametrization: takes a weight (K, ...), returns the nearest one with orthonormal rows, or columns.

    For nn.utils.parametrize.register_parametrization(layer, "weight", OrthogonalWeightNorm()).
    Source: Huang, Liu, Lang, Yu, Wang, Li 2018, arXiv:1709.06079.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return orthogonal_weight_norm(weight)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight itself: if its rows are orthonormal, it is its own nearest."""
        return weight


register(
    name="orthogonal_weight_norm",
    function=orthogonal_weight_norm,
    composed=orthogonal_weight_norm_composed,
    parameters=("weight",),
    cases=(
        Case(((3, 7),)),
        Case(((2, 3, 2, 2),)),
        Case(((7, 3),)),
        Case(((1, 4),)),
    ),
    errors=(
        ErrorCase(lambda: orthogonal_weight_norm(ones(3)), ValueError, "(out, in, ...)"),
        ErrorCase(lambda: orthogonal_weight_norm(ones(0, 3)), ValueError, "at least one entry"),
        ErrorCase(lambda: orthogonal_weight_norm(ones(3, 4).long()), TypeError, "floating-point"),
    ),
    kind="normalization",
    title="OrthogonalWeightNorm",
    paper="Huang et al. 2018, arXiv:1709.06079",
    pool="the whole weight: all its singular values, no mean",
    bench=(Case(((64, 32, 3, 3),)),),
)
