"""Adaptive instance normalization: the content's channels get the mean and standard deviation of a style.

    x (N, C, ...) content   z (N, C, ...) style, with positions of its own
    m, v of x and m_z, v_z of z: mean and variance of one channel of one sample over its positions
    r = 1/√(v + eps)   x̂ = (x - m)·r   σ_z = √(v_z + eps)   ẑ = (z - m_z)/σ_z
    y = σ_z·x̂ + m_z

Instance normalization whose weight and bias are not learned, but measured: on the style, for each sample.

In the code: style z, σ_z weight, m_z bias, ẑ z_hat; x is (1, N·C, S): every channel of every sample is a
channel of one batch, so the bodies are those of batchnorm.py.

Huang, Belongie 2017, arXiv:1703.06868.

Backward, from dy = dL/dy. The content takes the three paths of batchnorm.py, with w = σ_z:

    dx = r·σ_z·(dy - mean(dy) - x̂·mean(dy·x̂))

The style reaches y through σ_z and m_z, which are a weight and a bias:

    dσ_z = Σ dy·x̂      dm_z = Σ dy      over the positions of the content

and with ∂m_z/∂z_i = 1/n_z and ∂σ_z/∂z_i = (z_i - m_z)/(n_z·σ_z) = ẑ_i/n_z the chain rule adds up

    dz = (dm_z + dσ_z·ẑ)/n_z

Insight: of the style only two numbers per channel are seen, so its gradient has two directions per channel:
along 1 and along ẑ, just those that a normalization takes out of the content's.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel
from ...backends.cpu.blocks import in_blocks
from ...module import Module
from ...ops import ones
from ...ops.checks import check_channels, check_eps, check_pool, check_same_dtype
from ...registry import Case, ErrorCase, register
from ..batch.batchnorm import batch_norm_backward, batch_norm_forward
from ..core.moments import standardized, std_of


def adaptive_instance_norm_composed(input: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """Adaptive instance normalization from primitives: autograd finds both gradients."""
    space = tuple(range(2, style.ndim))
    mean = style.mean(space, keepdim=True)
    centered = style - mean
    std = ((centered * centered).mean(space, keepdim=True) + eps) ** 0.5
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2))
    x_hat = standardized(input, tuple(range(2, input.ndim)), eps)
    return x_hat * std.reshape(shape) + mean.reshape(shape)


@in_blocks("z_hat", "dweight", "dbias", axis=1)
def _style_gradient(z_hat: Channels, dweight: PerChannel, dbias: PerChannel) -> Channels:
    return (dbias + dweight * z_hat) / z_hat.shape[2]


@kernel
def adaptive_instance_norm_forward(
    x: Channels, z: Channels, eps: float
) -> tuple[Channels, Channels, PerChannel, PerChannel, PerChannel]:
    """Return y (1, N·C, S), ẑ (1, N·C, S_z), and σ_z, mean and rstd of x (1, N·C, 1)."""
    z_hat, bias, _, rstd_z = batch_norm_forward(z, None, None, eps)
    weight = std_of(rstd_z)
    y, mean, _, rstd = batch_norm_forward(x, weight, bias, eps)
    return y, z_hat, weight, mean, rstd


@kernel
def adaptive_instance_norm_backward(
    dy: Channels, x: Channels, z_hat: Channels, weight: PerChannel, mean: PerChannel, rstd: PerChannel
) -> tuple[Channels, Channels]:
    """Return dx (1, N·C, S) and dz (1, N·C, S_z)."""
    dx, dweight, dbias = batch_norm_backward(dy, x, weight, mean, rstd)
    return dx, _style_gradient(z_hat, dweight, dbias)


class AdaptiveInstanceNormFunction(Function):
    """y = σ_z·x̂ + m_z · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = σ_z·dy, dz = (Σdy + ẑ·Σdy·x̂)/n_z"""

    def forward(self, x: Array, z: Array, *, eps: float) -> Array:
        pools, styles = (a.reshape(1, math.prod(a.shape[:2]), math.prod(a.shape[2:])) for a in (x, z))
        y, *statistics = adaptive_instance_norm_forward(pools, styles, eps)
        self.saved = pools, *statistics
        self.style_shape = z.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dz = adaptive_instance_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dz.reshape(self.style_shape)


def adaptive_instance_norm(input: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """Give each channel of each sample of `input` the mean and standard deviation of `style`.

    Args:
        input: the content, (N, C, ...) with at least two positions.
        style: (N, C, ...), with at least two positions of its own.
        eps: added to both variances, in units of input².

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if samples or channels differ, if a channel has one value, or if eps is negative.

    Source: Huang, Belongie 2017, arXiv:1703.06868.
    """
    name = "adaptive_instance_norm"
    for tensor in (input, style):
        check_channels(tensor, name)
        advice = "the channels of content and style need several positions"
        check_pool(tensor, math.prod(tensor.shape[2:]), name, advice, "channel of a sample")
    if input.shape[:2] != style.shape[:2]:
        raise ValueError(
            f"{name} takes a style with the samples and channels of the input, {input.shape[:2]}, got a "
            f"style of shape {style.shape}"
        )
    check_same_dtype(name, input, style=style)
    check_eps(eps)
    if not style.array.size and input.array.size:
        raise ValueError(f"{name} needs a style with positions, got shape {style.shape}")
    return AdaptiveInstanceNormFunction.apply(input, style, eps=float(eps))


class AdaIN(Module):
    """Adaptive instance normalization: `forward(x, style)`, both (N, C, ...); nothing is learned.

    Source: Huang, Belongie 2017, arXiv:1703.06868.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.eps = eps

    def forward(self, input: Tensor, style: Tensor) -> Tensor:
        return adaptive_instance_norm(input, style, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


def _of(*shapes: tuple[int, ...]) -> Any:
    return [ones(*shape) for shape in shapes]


register(
    name="adaptive_instance_norm",
    function=adaptive_instance_norm,
    composed=adaptive_instance_norm_composed,
    cases=(
        Case(((2, 3, 4), (2, 3, 4))),
        Case(((2, 3, 2, 2), (2, 3, 3, 2))),
        Case(((1, 2, 5), (1, 2, 3)), {"eps": 1e-2}),
        Case(((2, 1, 2, 1, 2), (2, 1, 3))),
        Case(((2, 3, 7, 7), (2, 3, 2))),
        Case(((0, 3, 2), (0, 3, 2))),
    ),
    errors=(
        ErrorCase(lambda: adaptive_instance_norm(*_of((2, 3, 4), (2, 4, 4))), ValueError, "(2, 4, 4)"),
        ErrorCase(lambda: adaptive_instance_norm(*_of((2, 3, 4), (1, 3, 4))), ValueError, "samples"),
        ErrorCase(lambda: adaptive_instance_norm(*_of((2, 3, 1), (2, 3, 4))), ValueError, "more than one"),
        ErrorCase(lambda: adaptive_instance_norm(*_of((2, 3, 4), (2, 3, 0))), ValueError, "with positions"),
        ErrorCase(lambda: adaptive_instance_norm(*_of((2, 3, 4), (2, 3))), ValueError, "more than one"),
        ErrorCase(lambda: adaptive_instance_norm(ones(2, 3, 4), ones(2, 3, 4).half()), TypeError, "float16"),
        ErrorCase(lambda: AdaIN(eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="AdaIN",
    paper="Huang, Belongie 2017, arXiv:1703.06868",
    pool="each channel of each sample; scale and shift from those of the style",
    bench=(Case(((8, 64, 32, 32), (8, 64, 32, 32))),),
)
