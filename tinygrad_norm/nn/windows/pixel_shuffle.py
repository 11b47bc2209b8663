"""PixelShuffle: r² channels become one channel of r times the height and the width; and back.

    x (N, C·r², H, W)   y (N, C, H·r, W·r)   y[n, c, h·r + i, w·r + j] = x[n, c·r² + i·r + j, h, w]

Every element of y is one of x: the gradient is the same way back. Shi et al. 2016, arXiv:1609.05158.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.operands import as_tensor
from ...ops.shape import permute, reshape
from ...registry import Case, ErrorCase, register


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return (..., C, H·r, W·r) from (..., C·r², H, W), with r the `upscale_factor`.

    Raises:
        TypeError: if the factor is not an int.
        ValueError: if there are less than 3 axes, or r² does not divide the number of channels.
    """
    x, r = _image("pixel_shuffle", input), as_size(upscale_factor, "upscale_factor")
    *batch, C, H, W = x.shape
    if C % (r * r):
        raise ValueError(f"pixel_shuffle by {r} needs a multiple of {r * r} channels, got shape {x.shape}")
    x = reshape(x, (-1 if x.numel() else 0, C // (r * r), r, r, H, W))
    return reshape(permute(x, (0, 1, 4, 2, 5, 3)), (*batch, C // (r * r), H * r, W * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Return (..., C·r², H, W) from (..., C, H·r, W·r), with r the `downscale_factor`.

    Raises:
        TypeError: if the factor is not an int.
        ValueError: if there are less than 3 axes, or r does not divide the height and the width.
    """
    x, r = _image("pixel_unshuffle", input), as_size(downscale_factor, "downscale_factor")
    *batch, C, H, W = x.shape
    if H % r or W % r:
        raise ValueError(f"pixel_unshuffle by {r} needs sizes that are multiples of it, got shape {x.shape}")
    x = reshape(x, (-1 if x.numel() else 0, C, H // r, r, W // r, r))
    return reshape(permute(x, (0, 1, 3, 5, 2, 4)), (*batch, C * r * r, H // r, W // r))


def _image(name: str, input: Tensor) -> Tensor:
    x = as_tensor(input)
    if x.ndim < 3:
        raise ValueError(f"{name} takes (..., C, H, W), got shape {x.shape}")
    return x


class PixelShuffle(Module):
    """pixel_shuffle as a layer."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = as_size(upscale_factor, "upscale_factor")

    def forward(self, input: Tensor) -> Tensor:
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """pixel_unshuffle as a layer."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = as_size(downscale_factor, "downscale_factor")

    def forward(self, input: Tensor) -> Tensor:
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave the channels of the groups of (N, C, ...): y[:, c·G + g] = x[:, g·C/G + c].

    Raises:
        TypeError: if the input is not a Tensor.
        ValueError: if it has fewer than three axes, or C is not a multiple of the groups.

    Source: Zhang, Zhou, Lin, Sun 2017, arXiv:1707.01083.
    """
    G = as_size(groups, "groups")
    if not isinstance(input, Tensor):
        raise TypeError(f"channel_shuffle takes a Tensor, got {type(input).__name__}")
    if input.ndim < 3 or input.shape[1] % G:
        raise ValueError(
            f"channel_shuffle takes (N, C, ...) with a multiple of {G} channels, got shape {input.shape}"
        )
    N, C, *space = input.shape
    return input.reshape(N, G, C // G, *space).transpose(1, 2).reshape(N, C, *space)


class ChannelShuffle(Module):
    """channel_shuffle as a layer. Source: Zhang, Zhou, Lin, Sun 2017, arXiv:1707.01083."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = as_size(groups, "groups")

    def forward(self, input: Tensor) -> Tensor:
        return channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


register(
    name="channel_shuffle",
    function=channel_shuffle,
    composed=None,
    cases=(Case(((2, 6, 2, 3),), {"groups": 2}), Case(((1, 6, 2),), {"groups": 3})),
    errors=(ErrorCase(lambda: channel_shuffle(ones(1, 3, 4), 2), ValueError, "a multiple of 2 channels"),),
    kind="primitive",
    torch="torch.nn.functional.channel_shuffle",
)
register(
    name="pixel_shuffle",
    function=pixel_shuffle,
    composed=None,
    cases=(Case(((2, 8, 2, 3),), {"upscale_factor": 2}), Case(((9, 1, 2),), {"upscale_factor": 3})),
    errors=(
        ErrorCase(lambda: pixel_shuffle(ones(2, 3), 1), ValueError, "takes (..., C, H, W)"),
        ErrorCase(lambda: pixel_shuffle(ones(3, 2, 2), 2), ValueError, "a multiple of 4 channels"),
    ),
    kind="primitive",
    torch="torch.nn.functional.pixel_shuffle",
)
register(
    name="pixel_unshuffle",
    function=pixel_unshuffle,
    composed=None,
    cases=(Case(((2, 2, 4, 6),), {"downscale_factor": 2}), Case(((1, 3, 3),), {"downscale_factor": 3})),
    errors=(ErrorCase(lambda: pixel_unshuffle(ones(1, 3, 4), 2), ValueError, "multiples of it"),),
    kind="primitive",
    torch="torch.nn.functional.pixel_unshuffle",
)
