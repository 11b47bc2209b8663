"""Adaptive group normalization: group normalization whose scale and shift depend on a condition.

    x (N, C, ...)   s, b (N, C): scale and shift of every channel of every sample, made from a condition
    m, r, x̂ as in groupnorm.py, over the C/G channels of a group and all positions of one sample
    y = (1 + s)·x̂ + b

What differs from group normalization is only the affine, which is another for each sample. With the groups of
all samples in one row, x (1, N·G, C/G, S), it is one per channel again: the bodies are those of groupnorm.py.

Dhariwal, Nichol 2021, arXiv:2105.05233.

Backward: with w = 1 + s, the three paths of groupnorm.py, and one gradient of the affine for each sample:

    dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = (1 + s)·dy
    ds = Σ dy·x̂   db = Σ dy   over the positions

The layer `nn.AdaGroupNorm` makes s and b from the condition, by one linear map.

Insight: the condition cannot say what a pixel shall be, only how loud each channel is, and where its zero is.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel
from ...ops import ones
from ...ops.checks import check_channels, check_eps, check_input, check_pool, check_same_dtype
from ...registry import Case, ErrorCase, register
from ..core.moments import standardized
from .groupnorm import check_groups, group_norm_backward, group_norm_forward


def adaptive_group_norm_composed(
    input: Tensor, scale: Tensor, shift: Tensor, num_groups: int, eps: float = 1e-5
) -> Tensor:
    """Adaptive group normalization from primitives: autograd finds the gradients."""
    N, C = input.shape[:2]
    x = input.reshape(N, num_groups, input.numel() // max(N * num_groups, 1))
    x_hat = standardized(x, (-1,), eps).reshape(input.shape)
    shape = (N, C, *(1,) * (input.ndim - 2))
    return x_hat * (1 + scale.reshape(shape)) + shift.reshape(shape)


@kernel
def adaptive_group_norm_forward(
    x: Array, scale: Array, shift: Array, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y (1, N·G, C/G, S), the weight 1 + s, and mean and rstd (1, N·G, 1, 1)."""
    weight = 1 + scale
    return *group_norm_forward(x, weight, shift, eps), weight


@kernel
def adaptive_group_norm_backward(
    dy: Array, x: Array, weight: Array, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """Return dx (1, N·G, C/G, S), dscale and dshift (1, N·G, C/G, 1)."""
    return group_norm_backward(dy, x, weight, mean, rstd)


class AdaptiveGroupNormFunction(Function):
    """y = (1 + s)·x̂ + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = (1 + s)·dy, means over each group"""

    def forward(self, x: Array, scale: Array, shift: Array, *, num_groups: int, eps: float) -> Array:
        N, C, *space = x.shape
        channels = C // num_groups
        pools = x.reshape(1, N * num_groups, channels, math.prod(space))
        scale, shift = (a.reshape(1, N * num_groups, channels, 1) for a in (scale, shift))
        y, mean, rstd, weight = adaptive_group_norm_forward(pools, scale, shift, eps)
        self.saved = pools, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = adaptive_group_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        dscale, dshift = (d.reshape(dy.shape[:2]) for d in vectors)
        return dx.reshape(dy.shape), dscale, dshift


def adaptive_group_norm(
    input: Tensor, scale: Tensor, shift: Tensor, num_groups: int, eps: float = 1e-5
) -> Tensor:
    """Normalize each group of channels of each sample; then scale by 1 + scale, and shift, per sample.

    Args:
        input: (N, C, ...).
        scale: (N, C).
        shift: (N, C).
        num_groups: G, a divisor of C.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if G does not divide C, if scale or shift is not (N, C), if eps is negative, or if a group
            has one value.

    Source: Dhariwal, Nichol 2021, arXiv:2105.05233.
    """
    name = "adaptive_group_norm"
    C = check_channels(input, name)
    check_groups(num_groups, C)
    for what, tensor in (("scale", scale), ("shift", shift)):
        check_input(tensor, f"{name}, for {what},")
        if tensor.shape != input.shape[:2]:
            raise ValueError(f"{name} takes {what} (N, C) = {input.shape[:2]}, got shape {tensor.shape}")
    check_same_dtype(name, input, scale=scale, shift=shift)
    check_eps(eps)
    values = C // num_groups * math.prod(input.shape[2:])
    check_pool(input, values, name, "use fewer groups, or more positions", "group")
    return AdaptiveGroupNormFunction.apply(input, scale, shift, num_groups=num_groups, eps=float(eps))


def _call(
    num_groups: int = 2,
    x: tuple[int, ...] = (2, 4, 3),
    scale: tuple[int, ...] = (2, 4),
    shift: tuple[int, ...] = (2, 4),
    eps: float = 1e-5,
) -> Tensor:
    return adaptive_group_norm(ones(*x), ones(*scale), ones(*shift), num_groups, eps)


register(
    name="adaptive_group_norm",
    function=adaptive_group_norm,
    composed=adaptive_group_norm_composed,
    inputs=("input", "scale", "shift"),
    cases=(
        Case(((2, 4, 3, 2), (2, 4), (2, 4)), {"num_groups": 2}),
        Case(((3, 4, 3), (3, 4), (3, 4)), {"num_groups": 4, "eps": 1e-2}),
        Case(((2, 6), (2, 6), (2, 6)), {"num_groups": 3}),
        Case(((1, 2, 2, 2, 2), (1, 2), (1, 2)), {"num_groups": 1}),
        Case(((2, 4, 7, 7), (2, 4), (2, 4)), {"num_groups": 2}),
        Case(((0, 4, 3), (0, 4), (0, 4)), {"num_groups": 2}),
    ),
    errors=(
        ErrorCase(lambda: _call(3), ValueError, "divide"),
        ErrorCase(lambda: _call(scale=(4,)), ValueError, "scale (N, C) = (2, 4)"),
        ErrorCase(lambda: _call(shift=(2, 3)), ValueError, "shift (N, C)"),
        ErrorCase(
            lambda: adaptive_group_norm(ones(2, 4, 3), ones(2, 4).half(), ones(2, 4), 2), TypeError, "float16"
        ),
        ErrorCase(lambda: _call(4, x=(2, 4)), ValueError, "more than one value"),
        ErrorCase(lambda: _call(eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="AdaGroupNorm",
    paper="Dhariwal, Nichol 2021, arXiv:2105.05233",
    pool="each group of channels of each sample; scale and shift from a condition",
    bench=(Case(((8, 64, 32, 32), (8, 64), (8, 64)), {"num_groups": 32}),),
)
