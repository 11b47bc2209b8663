"""Modulated convolution: a convolution whose weight a style scales, for each sample, and demodulates.

    x (N, I, H, W)   w (O, I, KH, KW)   s (N, I)   W = u/√(Σ u² + eps), u = s·w, as in weightdemodulation.py
    y_n = W_n * x_n      without demodulation W = u

As each sample has a weight of its own, its windows are columns (unfold), and y_n = W_n @ columns_n. Up to
rounding that is d·((s·x) * w): a scale of input channels, one weight for all, a scale of output channels.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila 2020, arXiv:1912.04958.
"""

import math

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...normalization.weight.weightdemodulation import weight_demodulation
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_eps, check_input, check_same_dtype
from .. import init
from ..linear import Linear
from ..windows.folding import unfold
from ..windows.sliding_view import Sizes, as_tuple


def modulated_conv2d(
    input: Tensor,
    weight: Tensor,
    style: Tensor,
    padding: Sizes = 0,
    demodulate: bool = True,
    eps: float = 1e-8,
) -> Tensor:
    """Convolve each sample with the weight, whose inputs its style scales and whose outputs get length 1.

    Args:
        input: (N, I, H, W).
        weight: (O, I, KH, KW).
        style: (N, I).
        padding: zeros on each side of the last two axes.
        demodulate: whether each output of the scaled weight is divided by its length.
        eps: added to the squared length.

    Returns:
        (N, O, H', W').

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if a shape does not fit, or eps is negative.

    Source: Karras et al. 2020, arXiv:1912.04958.
    """
    name = "modulated_conv2d"
    check_input(input, name)
    check_input(weight, f"{name}, for weight,")
    check_flags(demodulate=demodulate)
    if weight.ndim != 4 or input.ndim != 4 or input.shape[1] != weight.shape[1]:
        raise ValueError(
            f"{name} takes an input (N, in, H, W) and a weight (out, in, height, width), got shapes "
            f"{input.shape} and {weight.shape}"
        )
    check_input(style, f"{name}, for style,")
    if style.shape != input.shape[:2]:
        raise ValueError(f"{name} takes a style (N, in) = {input.shape[:2]}, got shape {style.shape}")
    check_same_dtype(name, input, weight=weight, style=style)
    if demodulate:
        weights = weight_demodulation(weight, style, eps)
    else:
        weights = weight * style.reshape(-1, 1, style.shape[1], 1, 1)
    kernel, pads = weight.shape[2:], as_tuple(padding, 2, "padding", 0)
    columns = unfold(input, kernel, padding=pads)
    sizes = [n + 2 * pad - k + 1 for n, pad, k in zip(input.shape[2:], pads, kernel, strict=True)]
    return (weights.flatten(2) @ columns).unflatten(2, sizes)


class ModulatedConv2d(Module):
    """Convolution whose weight a style scales per input channel, and brings back to length 1 per output.

    `forward(x, style)` takes x (N, in_channels, H, W) and style (N, style_dim); a linear map of the style,
    whose bias is 1 at first, makes the scale of each input channel. The weight is (out_channels, in_channels,
    *kernel_size). There is no bias.

    Args:
        padding: zeros on each side of the last two axes.
        demodulate: whether each output of the scaled weight is divided by its length. Without it, the
            outputs are as large as the style makes them.
        eps: added to the squared length.

    Raises:
        ValueError: if a size is below 1, or eps is negative.

    Source: Karras et al. 2020, arXiv:1912.04958.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        style_dim: int,
        padding: Sizes = 0,
        demodulate: bool = True,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        check_flags(demodulate=demodulate)
        check_eps(eps)
        self.in_channels = as_size(in_channels, "in_channels")
        self.out_channels = as_size(out_channels, "out_channels")
        self.style_dim = as_size(style_dim, "style_dim")
        self.kernel_size = as_tuple(kernel_size, 2, "kernel_size", 1)
        self.padding = as_tuple(padding, 2, "padding", 0)
        self.demodulate, self.eps = demodulate, eps
        self.modulation = Linear(style_dim, in_channels)
        with no_grad():
            self.modulation.bias.fill_(1)
        fan_in = in_channels * math.prod(self.kernel_size)
        self.weight = Parameter(numpy.empty((out_channels, in_channels, *self.kernel_size), numpy.float32))
        init.normal_(self.weight, std=fan_in**-0.5)

    def forward(self, input: Tensor, style: Tensor) -> Tensor:
        scales = self.modulation(style)
        return modulated_conv2d(input, self.weight, scales, self.padding, self.demodulate, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"style_dim={self.style_dim}, padding={self.padding}, demodulate={self.demodulate}"
        )
