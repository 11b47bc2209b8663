"""Adaptive layer normalization: layer normalization whose scale and shift depend on a condition.

    x (N, T, D)   s, b (N, D): scale and shift of every feature of a sample, the same at all T steps
    m, r, x̂ as in layernorm.py, over the D features of one step
    y = (1 + s)·x̂ + b

What differs from layer normalization is only the affine, which is another for each sample. The layers
`nn.AdaLayerNorm` and `nn.AdaLayerNormZero` make s and b from the condition. In the second all of it is 0 at
first, and so is the gate of what the block adds to its input: a new block is the identity.

In the code: m mean, r rstd, x̂ x_hat, 1 + s weight, b shift.

Peebles, Xie 2022, arXiv:2212.09748.

Backward, from dy = dL/dy: with g = dL/dx̂ = (1 + s)·dy the three paths of layernorm.py give

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

s and b reach all steps of their sample, and the chain rule adds up:

    ds = Σ dy·x̂      db = Σ dy      over the steps of a sample

Insight: with a gate of 0, weights inside the block have the gradient 0, exactly. What learns first is the
gate: its gradient is what the block would have added.
"""

from pathlib import Path

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...backends.cpu.sums import sum_products, sums
from ...backends.cuda.launch import CudaSource
from ...ops import ones
from ...ops.checks import check_eps, check_input, check_same_dtype
from ...registry import Case, ErrorCase, register
from ..core.moments import standardized
from .layernorm import layer_norm_backward, layer_norm_forward

_kernels = CudaSource(str(Path(__file__).with_name("layernorm")), "../core/moments.cuh", "rowgradients.cuh")
STEPS = (1,)


def adaptive_layer_norm_composed(input: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """Adaptive layer normalization from primitives: autograd finds the gradients."""
    x_hat = standardized(input, (-1,), eps)
    return x_hat * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


@in_blocks("x_hat", "weight", "shift")
def _scale_and_shift(x_hat: Array, weight: Array, shift: Array) -> Array:
    return weight * x_hat + shift


@kernel
def adaptive_layer_norm_forward(
    x: Array, scale: Array, shift: Array, eps: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Return y and x̂ (N, T, D), the weight 1 + s, mean and rstd (N·T, 1); scale, shift, weight (N, 1, D)."""
    rows, mean, rstd = layer_norm_forward(x.reshape(-1, x.shape[2]), None, None, eps)
    x_hat, weight = rows.reshape(x.shape), 1 + scale
    return _scale_and_shift(x_hat, weight, shift), x_hat, weight, mean, rstd


@kernel
@in_blocks("dy", "x_hat", "weight")
def adaptive_affine_backward(dy: Array, x_hat: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return g (N, T, D), dscale and dshift (N, 1, D)."""
    return weight * dy, sum_products(dy, x_hat, STEPS), sums(dy, STEPS)


@adaptive_affine_backward.cuda
def adaptive_affine_backward_cuda(dy: Array, x_hat: Array, weight: Array) -> tuple[Array, Array, Array]:
    """One kernel for each sum over steps; the products are elementwise."""
    wide = upcast(dy)
    terms = namespace(dy).concatenate((wide * x_hat, wide))
    dscale, dshift = _kernels.sum_columns(terms).reshape(2, len(dy), 1, dy.shape[2])
    return (weight * wide).astype(dy.dtype, copy=False), dscale, dshift


@in_blocks("dx", "rstd")
def _scaled(dx: Array, rstd: Array) -> Array:
    return rstd * dx


@kernel
def adaptive_layer_norm_backward(
    dy: Array, x_hat: Array, weight: Array, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """Return dx (N, T, D), dscale and dshift (N, 1, D).

    x̂ is normalized already: as rows of mean 0 and r = 1, whose gradient is dx/r.
    """
    g, dscale, dshift = adaptive_affine_backward(dy, x_hat, weight)
    rows = (a.reshape(-1, dy.shape[2]) for a in (g, x_hat))
    xp = namespace(dy)
    dx = layer_norm_backward(*rows, None, xp.zeros_like(mean), xp.ones_like(rstd))[0]
    return _scaled(dx, rstd).reshape(dy.shape), dscale, dshift


class AdaptiveLayerNormFunction(Function):
    """y = (1 + s)·x̂ + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = (1 + s)·dy, means over each row"""

    def forward(self, x: Array, scale: Array, shift: Array, *, eps: float) -> Array:
        y, *statistics = adaptive_layer_norm_forward(x, scale[:, None], shift[:, None], eps)
        self.saved = tuple(statistics)
        return y

    def backward(self, dy: Array) -> Gradients:
        dx, dscale, dshift = adaptive_layer_norm_backward(dy, *self.saved)
        return dx, dscale[:, 0], dshift[:, 0]


def adaptive_layer_norm(input: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """Normalize each step of each sample; then scale by 1 + scale, and shift, per sample.

    Args:
        input: (N, T, D).
        scale: (N, D).
        shift: (N, D).
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if the input is not (N, T, D), if scale or shift is not (N, D), or if eps is negative.

    Source: Peebles, Xie 2022, arXiv:2212.09748.
    """
    name = "adaptive_layer_norm"
    check_input(input, name)
    if input.ndim != 3 or not input.shape[2]:
        raise ValueError(f"{name} takes an input (N, T, D), got shape {input.shape}")
    N, _, D = input.shape
    for what, tensor in (("scale", scale), ("shift", shift)):
        check_input(tensor, f"{name}, for {what},")
        if tensor.shape != (N, D):
            raise ValueError(f"{name} takes {what} (N, D) = {(N, D)}, got shape {tensor.shape}")
    check_same_dtype(name, input, scale=scale, shift=shift)
    check_eps(eps)
    return AdaptiveLayerNormFunction.apply(input, scale, shift, eps=float(eps))


register(
    name="adaptive_layer_norm",
    function=adaptive_layer_norm,
    composed=adaptive_layer_norm_composed,
    cases=(
        Case(((2, 3, 4), (2, 4), (2, 4))),
        Case(((3, 1, 5), (3, 5), (3, 5)), {"eps": 1e-2}),
        Case(((1, 4, 7), (1, 7), (1, 7))),
        Case(((2, 3, 33), (2, 33), (2, 33))),
        Case(((0, 3, 4), (0, 4), (0, 4))),
        Case(((2, 0, 4), (2, 4), (2, 4))),
    ),
    errors=(
        ErrorCase(lambda: adaptive_layer_norm(ones(2, 4), ones(2, 4), ones(2, 4)), ValueError, "(N, T, D)"),
        ErrorCase(
            lambda: adaptive_layer_norm(ones(2, 3, 4), ones(4), ones(2, 4)),
            ValueError,
            "scale (N, D) = (2, 4)",
        ),
        ErrorCase(
            lambda: adaptive_layer_norm(ones(2, 3, 4), ones(2, 4), ones(3, 4)), ValueError, "shift (N, D)"
        ),
        ErrorCase(
            lambda: adaptive_layer_norm(ones(2, 3, 4), ones(2, 4).half(), ones(2, 4)), TypeError, "float16"
        ),
        ErrorCase(
            lambda: adaptive_layer_norm(ones(2, 3, 4), ones(2, 4), ones(2, 4), eps=-1.0), ValueError, "eps"
        ),
    ),
    kind="normalization",
    title="AdaLayerNorm",
    paper="Peebles, Xie 2022, arXiv:2212.09748",
    pool="the features of each step; scale and shift from a condition",
    bench=(Case(((8, 256, 384), (8, 384), (8, 384))),),
)
