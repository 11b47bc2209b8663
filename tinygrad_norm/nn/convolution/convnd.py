"""Base class of the layers for convolutions and transposed convolutions."""

import math
from typing import ClassVar

import numpy

from ...module import Module, Parameter
from ...ops.arguments import as_size, check_flags
from .. import init
from ..windows.sliding_view import Sizes, as_tuple, conv_windows


class ConvNd(Module):
    """Base of the Conv and ConvTranspose layers: checks the arguments and creates the parameters."""

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        output_padding: Sizes,
        dilation: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
    ) -> None:
        super().__init__()
        check_flags(bias=bias)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if as_size(channels, name) % as_size(groups, "groups"):
                raise ValueError(f"{name} ({channels}) must be a multiple of groups ({groups})")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got {padding_mode!r}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = as_tuple(kernel_size, self.axes, "kernel_size", 1)
        windows = conv_windows(self.kernel_size, stride, padding, dilation)
        self.stride, self.dilation = windows.stride, windows.dilation
        self.padding = padding if isinstance(padding, str) else windows.before
        self.output_padding = as_tuple(output_padding, self.axes, "output_padding", 0)
        self.padding_mode = padding_mode
        ends = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = ends[0], ends[1] // groups, *self.kernel_size
        self.weight = Parameter(numpy.empty(shape, numpy.float32))
        self.register_parameter("bias", Parameter(numpy.empty(out_channels, numpy.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weight and bias again, both uniformly in ±1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ]
        for name, default in (
            ("padding", (0,) * self.axes),
            ("dilation", (1,) * self.axes),
            ("output_padding", (0,) * self.axes),
            ("groups", 1),
        ):
            value = getattr(self, name)
            parts += [f"{name}={value}"] if value != default else []
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(
            parts + ([f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else [])
        )
