"""Affines that a condition makes: FiLM of each channel, SPADE of each pixel. Both are (1 + scale)·x + shift.

Behind a normalization, g = (1 + scale)·dy varies inside a pool, from sample to sample or from pixel to pixel,
and stays inside the means of dx: see normalization/batch/conditionalbatchnorm.py.
"""

from ..autograd.tensor import Tensor
from ..module import Module
from ..normalization import BatchNorm2d, InstanceNorm2d
from ..ops.arguments import as_size
from ..ops.checks import check_channels
from .activation.rectifiers import ReLU
from .adaptive import check_condition
from .containers import Sequential
from .convolution.conv import Conv2d
from .linear import Linear
from .windows.interpolation import interpolate


class FiLM(Module):
    """Feature-wise linear modulation: scale and shift each channel of x (N, C, ...) by a condition.

    `forward(x, c)`, with c (N, cond_dim), returns (1 + scale)·x + shift; one linear map of c makes scale and
    shift, in this order. It normalizes nothing: put it behind a normalization without an affine, or
    wherever a condition shall enter. Source: Perez et al. 2018, arXiv:1709.07871.
    """

    def __init__(self, cond_dim: int, num_channels: int) -> None:
        super().__init__()
        self.cond_dim = as_size(cond_dim, "cond_dim")
        self.num_channels = as_size(num_channels, "num_channels")
        self.linear = Linear(cond_dim, 2 * num_channels)

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        check_channels(input, "FiLM", self.num_channels)
        check_condition(condition, len(input), self.cond_dim, "FiLM")
        scale, shift = self.linear(condition).chunk(2, 1)
        for _ in range(input.ndim - 2):
            scale, shift = scale.unsqueeze(-1), shift.unsqueeze(-1)
        return (1 + scale) * input + shift

    def extra_repr(self) -> str:
        return f"{self.cond_dim}, {self.num_channels}"


class SPADE(Module):
    """Spatially adaptive normalization of x (N, C, H, W): scale and shift of each pixel, from a label map.

    `forward(x, label_map)` returns (1 + scale)·x̂ + shift, both (N, C, H, W). x̂ is a normalization without
    an affine. The label map (N, label_channels, H', W'), such as one channel for each class, is resized to
    x, nearest neighbour; a 3×3 convolution to `hidden_channels` with ReLU, and one each for scale and shift,
    follow.

    A label map that is normalized itself would be lost: of one that is constant, InstanceNorm leaves 0.

    Args:
        num_channels: C.
        label_channels: the channels of the label map.
        hidden_channels: those between the two convolutions.
        norm: "instance" or "batch".

    Raises:
        ValueError: if `norm` is another, or a shape does not fit.

    Source: Park, Liu, Wang, Zhu 2019, arXiv:1903.07291. Parameters have the names of the authors' code.
    """

    def __init__(
        self, num_channels: int, label_channels: int, hidden_channels: int = 128, norm: str = "instance"
    ) -> None:
        super().__init__()
        norms = {"instance": InstanceNorm2d, "batch": BatchNorm2d}
        if norm not in norms:
            raise ValueError(f"SPADE takes the norm 'instance' or 'batch', got {norm!r}")
        self.num_channels, self.label_channels = num_channels, as_size(label_channels, "label_channels")
        self.hidden_channels, self.norm = as_size(hidden_channels, "hidden_channels"), norm
        self.param_free_norm = norms[norm](num_channels, affine=False)
        self.mlp_shared = Sequential(Conv2d(label_channels, hidden_channels, 3, padding=1), ReLU())
        self.mlp_gamma = Conv2d(hidden_channels, num_channels, 3, padding=1)
        self.mlp_beta = Conv2d(hidden_channels, num_channels, 3, padding=1)

    def forward(self, input: Tensor, label_map: Tensor) -> Tensor:
        x_hat = self.param_free_norm(input)
        check_channels(label_map, "SPADE, for the label map,", self.label_channels)
        if label_map.ndim != 4 or len(label_map) != len(input):
            raise ValueError(
                f"SPADE takes one label map for each sample, of shape ({len(input)}, {self.label_channels}, "
                f"height, width), got {label_map.shape}"
            )
        hidden = self.mlp_shared(interpolate(label_map, input.shape[2:]))
        return (1 + self.mlp_gamma(hidden)) * x_hat + self.mlp_beta(hidden)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, {self.label_channels}, {self.hidden_channels}, norm={self.norm!r}"
