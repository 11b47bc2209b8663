"""Matrix square-root pooling (MPN-COV): each sample is pooled to the root of its covariance.

    x (N, C, ...)   S positions of each of N samples
    m = mean(x)   c = x - m   Σ = c·cᵀ/S = U·Λ·Uᵀ   y = Σ^½ = U·√Λ·Uᵀ (N, C, C)

A covariance says which channels occur together, where a mean says how much there is of each. Its root has the
unit of x, and takes weight from the few largest eigenvalues. iSQRT-COV finds it by a few Newton steps.

In the code: c is divided by a power of two, `scale`, of about its size; √Λ root.

Li, Xie, Wang, Zuo 2017, arXiv:1703.08050; iSQRT-COV: Li, Xie, Wang, Gao 2018, arXiv:1712.01034.

Backward, from dy = dL/dy, by the formula of Löwner (normalization/whitening/symmetricmatrix.py), f(λ) = √λ:

    dΣ = U·(K∘(Uᵀ·sym(dy)·U))·Uᵀ      K_ij = 1/(√λi + √λj)

x reaches Σ through both factors, and nothing is left of the path through m, as the mean of c is 0:

    dx = (2/S)·dΣ·c

Of directions without variance (there are some if S ≤ C), K is infinite only between two of them, and c has no
part in those: K counts as 0 there.

Insight: the derivative of √λ is infinite at 0, but that of y is not, for a sample that has fewer positions
than channels: c comes with λ.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, kernel
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import means
from ...module import Module
from ...normalization.core.magnitudes import scales_of_rows
from ...normalization.whitening.symmetricmatrix import (
    differences_of_roots,
    eigen,
    gradient_through,
    roots,
    roots_composed,
    with_eigenvalues,
)
from ...ops import ones
from ...ops.checks import check_channels, check_pool
from ...registry import Case, ErrorCase, register


def matrix_sqrt_pool_composed(input: Tensor) -> Tensor:
    """Matrix square-root pooling from primitives: autograd finds the gradient."""
    N, C, *space = input.shape
    x = input.reshape(N, C, math.prod(space))
    c = x - x.mean(2, keepdim=True)
    return roots_composed(c @ c.transpose(1, 2) / math.prod(space))[0]


@kernel
def matrix_sqrt_pool_forward(x: Channels) -> tuple[Array, Array, Array, Array]:
    """Return y (N, C, C); c/scale (N, C, S), its eigenvectors (N, C, C) and their roots (N, C)."""
    N, C, S = x.shape
    c = upcast(x)
    c = c - means(c, (2,))
    c = c - means(c, (2,))  # of means that were rounded
    scale = scales_of_rows(c.reshape(N, C * S))[:, None, None].astype(c.dtype)
    c = c / scale
    values, vectors = eigen(c @ c.swapaxes(1, 2) / max(S, 1))
    root = roots(values)
    return downcast(scale * with_eigenvalues(vectors, root), x), c, vectors, root


@kernel
def matrix_sqrt_pool_backward(dy: Array, c: Array, vectors: Array, root: Array) -> Channels:
    """Return dx (N, C, S): the scale is a factor of y and a divisor of x, so dx is without it."""
    dS = gradient_through(vectors, differences_of_roots(root), upcast(dy))
    return downcast(dS * (2 / max(c.shape[2], 1)) @ c, dy)


class MatrixSqrtPoolFunction(Function):
    """y = Σ^½ of each sample · dx = (2/S)·dΣ·c, dΣ = U·(K∘Uᵀ·sym(dy)·U)·Uᵀ, K = 1/(√λi + √λj)"""

    composed = staticmethod(matrix_sqrt_pool_composed)  # recorded arrays have no eigenvectors

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        y, *found = matrix_sqrt_pool_forward(x.reshape(*x.shape[:2], math.prod(x.shape[2:])))
        self.saved = tuple(found)
        return y

    def backward(self, dy: Array) -> Gradients:
        return matrix_sqrt_pool_backward(dy, *self.saved).reshape(self.shape)


def matrix_sqrt_pool(input: Tensor) -> Tensor:
    """Return the square root of the covariance of the channels over the positions of each sample.

    Args:
        input: (N, C, ...), with more than one position; the output is (N, C, C), symmetric.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if it has fewer than two axes, or samples of one position.

    Source: Li, Xie, Wang, Zuo 2017, arXiv:1703.08050.
    """
    check_channels(input, "matrix_sqrt_pool")
    positions = math.prod(input.shape[2:])
    advice = "a covariance is taken over several positions"
    check_pool(input, positions, "matrix_sqrt_pool", advice, "channel of a sample")
    return MatrixSqrtPoolFunction.apply(input)


class MatrixSqrtPool(Module):
    """matrix_sqrt_pool as a layer (MPN-COV): (N, C, ...) becomes (N, C, C).

    Source: Li, Xie, Wang, Zuo 2017, arXiv:1703.08050.
    """

    def forward(self, input: Tensor) -> Tensor:
        return matrix_sqrt_pool(input)


register(
    name="matrix_sqrt_pool",
    function=matrix_sqrt_pool,
    composed=matrix_sqrt_pool_composed,
    cases=(
        Case(((2, 3, 8),)),
        Case(((2, 2, 3, 4),)),
        Case(((1, 1, 5),)),
        Case(((0, 3, 4),)),
    ),
    errors=(
        ErrorCase(lambda: matrix_sqrt_pool(ones(2, 3, 1)), ValueError, "several positions"),
        ErrorCase(lambda: matrix_sqrt_pool(ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: matrix_sqrt_pool(ones(2, 3, 4).long()), TypeError, "floating-point"),
    ),
    title="MatrixSqrtPool",
    paper="Li, Xie, Wang, Zuo 2017, arXiv:1703.08050",
)
