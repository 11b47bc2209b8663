"""ResidualBlock: two convolutions beside an identity, normalization and ReLU before each of them.

    x (N, C, H, W)   f = ReLU(norm₁(x))   s the shortcut
    y = s + scale(conv₂(ReLU(norm₂(conv₁(f)))))

s = x, or, if channels or size change, a 1×1 convolution of f. Nothing is normalized on the way from block to
block: dy reaches every block unchanged, and each adds the variance of its branch, about the same in all.
The scale is the identity, unless another is assigned (nn/residual).

He, Zhang, Ren, Sun 2016, arXiv:1603.05027.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization.batch.batchnorm import BatchNorm2d
from ..activation.rectifiers import relu
from ..convolution.conv import Conv2d
from ..linear import Identity


class ResidualBlock(Module):
    """A residual block for (N, in_channels, H, W): to (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: of the input and the output.
        stride: of the first convolution, and of the shortcut.

    Raises:
        ValueError: if a size is below 1.

    The parts are `norm1`, `conv1`, `norm2`, `conv2`, `scale` and `shortcut`, which is None where the input
    itself is added. The norms are BatchNorm2d, and the scale is the identity; assign others to them for
    another block.
    Source: He et al. 2016, arXiv:1603.05027.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1: Module = BatchNorm2d(in_channels)
        self.conv1: Module = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2: Module = BatchNorm2d(out_channels)
        self.conv2: Module = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.scale: Module = Identity()
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None

    def forward(self, input: Tensor) -> Tensor:
        f = relu(self.norm1(input))
        branch = self.scale(self.conv2(relu(self.norm2(self.conv1(f)))))
        return branch + (input if self.shortcut is None else self.shortcut(f))
