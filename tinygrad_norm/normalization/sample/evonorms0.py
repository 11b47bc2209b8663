"""EvoNorm-S0: a sigmoid gate and the standard deviation of a group, found by a search over formulas.

    x (N, C, ...)   m, v² of a pool: mean and variance of one group of channels of one sample, n values
    r = 1/√(v² + eps)   s = σ(u·x)   t = x·s·r   y = w·t + b

x·σ(u·x) is swish, with a learned u for each channel; it is divided by the deviation of x, not by its own, and
the mean is not subtracted. u, w and b are (C,).

In the code: u v (as in timm), r rstd, w weight, b bias; x is (N, G, C/G, S) as in groupnorm.py.

Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.

Backward, from dy = dL/dy. The affine and u are shared by all positions of a channel:

    dw = Σ dy·t      db = Σ dy      g := dL/dt = w·dy      du = Σ g·r·x·∂s/∂u,  ∂s/∂u = x·s·(1 - s)

With t_j = x_j·s_j·r there are two paths from x_i to t_j:

    straight     ∂(x·s)/∂x = s + u·x·s·(1 - s) =: s'           r·s'_i·g_i
    through r    ∂v²/∂x_i = (2/n)·(x_i - m), ∂r/∂v² = -r³/2     -r·x̂_i·mean(g·t),  x̂ = (x - m)·r

    dx = r·(s'·g - x̂·mean(g·t))

Insight: the second part is that of GroupNorm with t in the place of x̂, and there is no mean(g): y moves if a
constant is added to x, so no direction along 1 is taken out of dx.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import mean_products, sum_products, sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import Shape, check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.moments import affine
from .groupnorm import check_groups, group_norm_forward

POOL = (2, 3)  # of x (N, G, C/G, S)


def evo_norm_s0_composed(
    input: Tensor,
    num_groups: int,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """EvoNorm-S0 from primitives: autograd finds the gradients."""
    N, C, *space = input.shape
    per_channel = (C, *(1,) * len(space))
    pools = input.reshape(N, num_groups, math.prod((C // num_groups, *space)))
    centered = pools - pools.mean(2, keepdim=True)
    rstd = ((centered * centered).mean(2, keepdim=True) + eps) ** -0.5
    gate = 0.5 + 0.5 * (0.5 * (v.reshape(per_channel) * input)).tanh()
    t = ((input * gate).reshape(pools.shape) * rstd).reshape(input.shape)
    return affine(t, weight, bias, per_channel)


def _sigmoid(z: Array) -> Array:
    """Return 1/(1 + exp(-z)) by an exponential that does not overflow."""
    xp = namespace(z)
    e = xp.exp(-abs(z))
    return xp.where(z < 0, e, 1) / (1 + e)


@in_blocks("x", "rstd", weight=1.0, bias=0.0)
def _gated(x: Array, v: Array, weight: Array | None, bias: Array | None, rstd: Array) -> Array:
    return weight * (x * rstd * _sigmoid(v * x)) + bias


@kernel
def evo_norm_s0_forward(
    x: Array, v: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y (N, G, C/G, S), mean and rstd (N, G, 1, 1); v, weight and bias are (1, G, C/G, 1)."""
    _, mean, rstd = group_norm_forward(x, None, None, eps)
    return _gated(x, v, weight, bias, rstd), mean, rstd


@kernel
@in_blocks("dy", "x", "mean", "rstd", add=True, weight=1.0)
def evo_norm_s0_backward(
    dy: Array, x: Array, v: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array, Array]:
    """Return dx (N, G, C/G, S), dv, dweight and dbias (1, G, C/G, 1)."""
    s = _sigmoid(v * x)
    bend = x * (s * (1 - s))
    t, g = x * rstd * s, weight * dy
    dx = rstd * (g * (s + v * bend) - (x - mean) * rstd * mean_products(g, t, POOL))
    by_position = sum_products(g, x * rstd * bend, (3,)), sum_products(dy, t, (3,)), sums(dy, (3,))
    dv, dweight, dbias = (sums(each, (0,)) for each in by_position)
    return dx, dv, dweight, dbias


class EvoNormS0Function(Function):
    """y = w·x·s·r + b, s = σ(u·x) · dx = r·(s'·g - x̂·mean(g·t)) with g = w·dy, means over each group"""

    def forward(
        self, x: Array, v: Array, weight: Array | None, bias: Array | None, *, num_groups: int, eps: float
    ) -> Array:
        N, C = x.shape[:2]
        sizes = num_groups, C // num_groups
        pools = x.reshape(N, *sizes, math.prod(x.shape[2:]))
        vectors: Any = [None if a is None else a.reshape(1, *sizes, 1) for a in (v, weight, bias)]
        y, mean, rstd = evo_norm_s0_forward(pools, *vectors, eps)
        self.saved = pools, *vectors[:2], mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        shape: Shape = self.saved[0].shape
        dx, *vectors = evo_norm_s0_backward(dy.reshape(shape), *self.saved)
        return dx.reshape(dy.shape), *[vector.reshape(-1) for vector in vectors]


def evo_norm_s0(
    input: Tensor,
    num_groups: int,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return input·σ(v·input) over the standard deviation of its group of channels, scaled and shifted.

    Args:
        input: (N, C, ...).
        num_groups: G, a divisor of C.
        v: (C,), the steepness of the gates, in units of 1/input.
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if a vector is not (C,), if `num_groups` does not divide C, if a group has one value, or
            if eps is negative.

    Source: Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.
    """
    C = check_channels(input, "evo_norm_s0")
    check_vectors(input, (C,), v=v, weight=weight, bias=bias)
    check_groups(num_groups, C)
    check_eps(eps)
    n = C // num_groups * math.prod(input.shape[2:])
    check_pool(input, n, "evo_norm_s0", "use fewer groups", "group")
    return EvoNormS0Function.apply(input, v, weight, bias, num_groups=num_groups, eps=float(eps))


class EvoNorm2dS0(Module):
    """EvoNorm-S0 of (N, C, H, W), a normalization and its activation: no ReLU follows it. As timm's.

    The parameters are `weight` (ones), `bias` (zeros) and `v` (ones), all (num_features,). `group_size`, if
    given, replaces the number of `groups`. With `apply_act=False` only weight and bias are left, as in timm.
    Source: Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.
    """

    def __init__(
        self,
        num_features: int,
        groups: int = 32,
        group_size: int | None = None,
        apply_act: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_flags(apply_act=apply_act)
        check_eps(eps)
        self.num_features = as_size(num_features, "num_features")
        if group_size:
            groups, rest = divmod(self.num_features, as_size(group_size, "group_size"))
            if rest:
                raise ValueError(f"group_size={group_size} must divide num_features={num_features}")
        check_groups(groups, self.num_features)
        self.groups, self.apply_act, self.eps = groups, apply_act, eps
        self.weight = Parameter(numpy.ones(num_features, numpy.float32))
        self.bias = Parameter(numpy.zeros(num_features, numpy.float32))
        steepness = numpy.ones(num_features, numpy.float32)
        self.register_parameter("v", Parameter(steepness) if apply_act else None)

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "EvoNorm2dS0", self.num_features)
        if input.ndim != 4:
            raise ValueError(f"EvoNorm2dS0 takes a 4-d input (N, C, H, W), got shape {input.shape}")
        if not self.apply_act:
            return affine(input, self.weight, self.bias, (-1, 1, 1))
        return evo_norm_s0(input, self.groups, self.v, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, groups={self.groups}, apply_act={self.apply_act}, eps={self.eps}"


register(
    name="evo_norm_s0",
    function=evo_norm_s0,
    composed=evo_norm_s0_composed,
    inputs=("input", "v", "weight", "bias"),
    parameters=("v", "weight", "bias"),
    cases=(
        Case(((2, 4, 2, 3), (4,), (4,), (4,)), {"num_groups": 2}),
        Case(((2, 3, 4), (3,), None, (3,)), {"num_groups": 3, "eps": 1e-2}),
        Case(((3, 4), (4,), (4,), None), {"num_groups": 1}),
        Case(((0, 4, 2), (4,), (4,), (4,)), {"num_groups": 2}),
    ),
    errors=(
        ErrorCase(lambda: evo_norm_s0(ones(2, 4, dtype=int), 2, ones(4)), TypeError, "floating-point"),
        ErrorCase(lambda: evo_norm_s0(ones(2, 4, 2), 3, ones(4)), ValueError, "divide"),
        ErrorCase(lambda: evo_norm_s0(ones(2, 4, 2), 2, ones(3)), ValueError, "v has shape (3,)"),
        ErrorCase(lambda: evo_norm_s0(ones(2, 4), 4, ones(4)), ValueError, "more than one"),
        ErrorCase(lambda: evo_norm_s0(ones(2, 4, 2), 2, ones(4), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: EvoNorm2dS0(4, group_size=3), ValueError, "group_size=3"),
        ErrorCase(lambda: EvoNorm2dS0(4, 2)(ones(2, 4, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="EvoNormS0",
    paper="Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967",
    pool="each group of channels of each sample, no mean; a gate instead of an activation",
    bench=(Case(((8, 64, 32, 32), (64,), (64,), (64,)), {"num_groups": 32}),),
)
