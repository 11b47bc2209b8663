"""Layer normalization of the channels at one position of an image: what LayerNorm is to the last axis.

    x (N, C, H, W)   m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps) over the C channels of one position
    x̂ = (x - m)·r   y = w·x̂ + b

m, v and r are one number per position; w and b are (C,). The channels are moved behind the positions, and
each position is then a row of layernorm.py, which derives the gradient; autograd moves it back.

Ba, Kiros, Hinton 2016, arXiv:1607.06450; the layer of ConvNeXt: Liu et al. 2022, arXiv:2201.03545.

Backward, from dy = dL/dy, with g := dL/dx̂ = w·dy and means over the channels of a position:

    db = Σ dy      dw = Σ dy·x̂      over samples and positions
    dx = r·(g - mean(g) - x̂·mean(g·x̂))

Insight: GroupNorm with one group has the same affine, but its pool is the whole image: there a bright spot
darkens every other position, here none.
"""

from ...autograd.tensor import Tensor
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels
from .layernorm import LayerNorm, layer_norm


class LayerNorm2d(LayerNorm):
    """Layer normalization over the channels of each position of (N, num_channels, H, W), as in timm.

    `weight` (ones) and `bias` (zeros) are (num_channels,), unless `affine` is False. Raises ValueError if
    the input does not have four axes and `num_channels` channels. Source: Ba, Kiros, Hinton 2016,
    arXiv:1607.06450.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6, affine: bool = True) -> None:
        check_flags(affine=affine)
        super().__init__(as_size(num_channels, "num_channels"), eps, affine)

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "LayerNorm2d", self.normalized_shape[0])
        if input.ndim != 4:
            raise ValueError(f"LayerNorm2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        rows = input.movedim(1, -1)
        return layer_norm(rows, self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)
