"""CenterNorm: subtract its mean from every vector, and scale.

    x (..., D)   m = mean(x)   x̂ = x - m   y = w·x̂

m is one number per vector, w is (D,). In the code: x̂ x_hat, w weight.

Qi et al. 2023, arXiv:2304.09856, where y is also multiplied by D/(D-1).

Backward, for one row, from dy = dL/dy. All rows share the weight:

    dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

By the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = x_j - m there are two paths, which add up:

    straight     ∂x_j/∂x_i = 1 if i = j       g_i
    through m    ∂m/∂x_i = 1/D                -mean(g)

    dx = g - mean(g)

Insight: dx sums to 0 over a row, because adding a number to all of x does not change y.
"""

from tinygrad_norm.autograd.function import Function, Gradients
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import Array, kernel
from tinygrad_norm.backends.cpu.blocks import in_blocks
from tinygrad_norm.backends.cpu.sums import column_sums, row_means
from tinygrad_norm.module import Module, Parameter
from tinygrad_norm.ops import ones
from tinygrad_norm.ops.checks import check_normalized_shape, check_vectors
from tinygrad_norm.registry import Case, ErrorCase, register


def center_norm_composed(input: Tensor, weight: Tensor) -> Tensor:
    """CenterNorm from primitives: autograd finds the gradient."""
    return weight * (input - input.mean(-1, keepdim=True))


@kernel
@in_blocks("x")
def center_norm_forward(x: Array, weight: Array) -> Array:
    """Return y (N, D), for x (N, D) and weight (D,)."""
    x_hat = x - row_means(x)
    return weight * x_hat


@kernel
@in_blocks("dy", "x", add=True)
def center_norm_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """Return dx (N, D) and dweight (D,)."""
    x_hat = x - row_means(x)
    g = weight * dy
    return g - row_means(g), column_sums(dy * x_hat)


class CenterNormFunction(Function):
    """y = w·(x - mean(x)) · dx = g - mean(g) with g = w·dy, means over each row"""

    def forward(self, x: Array, weight: Array) -> Array:
        self.saved = rows, weight = x.reshape(-1, x.shape[-1]), weight
        return center_norm_forward(rows, weight).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        rows, weight = self.saved
        dx, dweight = center_norm_backward(dy.reshape(rows.shape), rows, weight)
        return dx.reshape(dy.shape), dweight


def center_norm(input: Tensor, weight: Tensor) -> Tensor:
    """Subtract its mean from every vector along the last axis of (..., D), then multiply by weight (D,).

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if weight is not (D,).
    """
    shape = check_normalized_shape(input, weight.shape[-1:], "center_norm")
    check_vectors(input, shape, weight=weight)
    return CenterNormFunction.apply(input, weight)


class CenterNorm(Module):
    """CenterNorm of (..., D), with a learned weight (ones) of shape (D,)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = Parameter(ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        return center_norm(input, self.weight)


register(
    name="center_norm",
    function=center_norm,
    composed=center_norm_composed,
    parameters=("weight",),
    cases=(Case(((4, 8), (8,))), Case(((2, 3, 5), (5,))), Case(((1,), (1,))), Case(((0, 3), (3,)))),
    errors=(
        ErrorCase(lambda: center_norm(ones(2, 3).long(), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: center_norm(ones(2, 3), ones(4)), ValueError, "got shape (2, 3)"),
    ),
    kind="normalization",
    title="CenterNorm",
    paper="Qi et al. 2023, arXiv:2304.09856",
    pool="each vector along the last axis, no variance",
    bench=(Case(((4096, 256), (256,))),),
)
