"""Convolutions with standardized weights: the layer keeps W, and convolves with Ŵ.

    WSConv2d        Ŵ = (W - m)/√(v + eps)
    ScaledWSConv2d  Ŵ = gain·gamma/√fan_in·(W - m)/√(v + eps)

with the mean m and the biased variance v of the fan_in weights of each output; gain is learned, per output.
The backward is derived in weightstandardization.py, which has the gains of activations too.

Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520; scaled: Brock, De, Smith 2021, arXiv:2101.08692.
"""

import numpy

from ...autograd.tensor import Tensor
from ...module import Parameter
from ...normalization.weight.weightstandardization import (
    check_weights_per_output,
    scaled_weight_standardization,
    weight_standardization,
)
from ...ops.arguments import as_finite
from ...ops.checks import check_eps
from ..windows.sliding_view import Sizes
from .conv import Conv2d


class WSConv2d(Conv2d):
    """Convolution whose weight is standardized: mean 0 and variance 1 over the weights of each output.

    As Conv2d, with the same parameters; GroupNorm or BatchNorm after it sets the size of its outputs.

    Args:
        eps: added to the variance, in units of weight².

    Raises:
        ValueError: if an output has a single weight, or eps is negative.

    Source: Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        eps: float = 1e-6,
    ) -> None:
        check_eps(eps)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode
        )
        check_weights_per_output(self.weight.shape, type(self).__name__)
        self.eps = eps

    def forward(self, input: Tensor) -> Tensor:
        return self.convolve(input, weight_standardization(self.weight, eps=self.eps))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}"


class ScaledWSConv2d(WSConv2d):
    """Convolution with standardized weights, scaled so that outputs keep the variance of the inputs.

    As Conv2d, and with the parameter `gain` (out_channels, 1, 1, 1), which starts at 1: the convolution of
    Normalizer-Free networks.

    Args:
        gamma: the gain of the activation before this layer, see `nn.init.ACTIVATION_GAINS`.
        eps: added to the variance, in units of weight².

    Raises:
        ValueError: if an output has a single weight, eps is negative, or eps or gamma not finite.

    Source: Brock, De, Smith 2021, arXiv:2101.08692.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        gamma: float = 1.0,
        eps: float = 1e-6,
    ) -> None:
        gamma = as_finite(gamma, "gamma")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, eps
        )
        self.gamma = gamma
        self.gain = Parameter(numpy.ones((out_channels, 1, 1, 1), numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return self.convolve(
            input, scaled_weight_standardization(self.weight, self.gain, self.gamma, self.eps)
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}"
