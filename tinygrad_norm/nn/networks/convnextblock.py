"""ConvNeXtV2Block: a convolution of single channels, then a small network at every pixel, with responses.

    x (N, C, H, W)   d = a K×K convolution of each channel by itself   A (C to mlp_ratio·C), B (back) linear
    y = x + scale(B·GRN(GELU(A·LN(d(x)))))

LN normalizes the channels of one pixel. GRN amplifies the hidden channels that respond more than others to
the whole image, so they do not all become alike. The scale is the identity, as in V2; V1 has a LayerScale.

Woo, Debnath, Hu, Chen, Liu, Kweon, Xie 2023, arXiv:2301.00808. The backward of the normalization is derived
in globalresponsenorm.py.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization.sample.globalresponsenorm import GlobalResponseNorm
from ...normalization.sample.layernorm import LayerNorm
from ...ops.arguments import as_size
from ...ops.checks import check_channels
from ..activation.gated import gelu
from ..convolution.conv import Conv2d
from ..linear import Identity, Linear


class ConvNeXtV2Block(Module):
    """A residual block for (N, dim, H, W), which keeps the shape.

    Args:
        dim: C, the channels.
        kernel_size: K of the depthwise convolution, an odd number.
        mlp_ratio: the hidden channels are mlp_ratio·dim.

    Raises:
        ValueError: if a size is below 1, or kernel_size is even.

    The parts are `dwconv`, `norm`, `pwconv1`, `grn`, `pwconv2` and `scale`. Assign `nn.Identity()` to `grn`
    for a block without it; `norm` and `scale` take (N, H, W, dim). Source: Woo et al. 2023, arXiv:2301.00808.
    """

    def __init__(self, dim: int, kernel_size: int = 7, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.dim, K = as_size(dim, "dim"), as_size(kernel_size, "kernel_size")
        if K % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that the block keeps the shape, got {K}")
        hidden = as_size(mlp_ratio, "mlp_ratio") * dim
        self.dwconv = Conv2d(dim, dim, K, padding=K // 2, groups=dim)
        self.norm: Module = LayerNorm(dim, eps=1e-6)
        self.pwconv1 = Linear(dim, hidden)
        self.grn: Module = GlobalResponseNorm(hidden, channels_last=True)
        self.pwconv2 = Linear(hidden, dim)
        self.scale: Module = Identity()

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "ConvNeXtV2Block", self.dim)
        if input.ndim != 4:
            raise ValueError(f"ConvNeXtV2Block takes a 4-d input (N, C, H, W), got shape {input.shape}")
        pixels = self.norm(self.dwconv(input).movedim(1, -1))
        y = self.scale(self.pwconv2(self.grn(gelu(self.pwconv1(pixels)))))
        return input + y.movedim(-1, 1)
