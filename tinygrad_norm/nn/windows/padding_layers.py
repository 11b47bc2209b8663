"""Padding as layers: zeros, a constant, mirrored, repeated or from the other end, for 1 to 3 axes."""

from collections.abc import Sequence
from typing import ClassVar

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops.arguments import as_number
from ...ops.dims import as_shape
from .padding import pad

Padding = int | Sequence[int]


class _Pad(Module):
    """Base of the layers: input (C, ...) or (N, C, ...) with `axes` axes to pad."""

    axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        sides = as_shape(padding, "padding")
        if len(sides) == 1 and not isinstance(padding, Sequence):
            sides *= 2 * self.axes
        if len(sides) != 2 * self.axes:
            raise ValueError(
                f"{type(self).__name__} takes one padding, or {2 * self.axes}: before and after each axis, "
                f"the last axis first; got {padding!r}"
            )
        self.padding = sides

    def forward(self, input: Tensor) -> Tensor:
        return pad(self._checked(input), self.padding, self.mode)

    def _checked(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(
                f"{type(self).__name__} takes an input (C, ...) or (N, C, ...) with {self.axes + 1} or "
                f"{self.axes + 2} axes, got shape {input.shape}"
            )
        return input

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value = as_number(value, "value")

    def forward(self, input: Tensor) -> Tensor:
        return pad(self._checked(input), self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pad the last axis of (N, C, W) with a constant; negative widths crop."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Pad the last 2 axes of (N, C, H, W) with a constant; negative widths crop."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Pad the last 3 axes of (N, C, D, H, W) with a constant; negative widths crop."""

    axes = 3


class ZeroPad1d(_Pad):
    """Pad the last axis of (N, C, W) with zeros; negative widths crop."""

    axes = 1
    mode = "constant"


class ZeroPad2d(_Pad):
    """Pad the last 2 axes of (N, C, H, W) with zeros; negative widths crop."""

    axes = 2
    mode = "constant"


class ZeroPad3d(_Pad):
    """Pad the last 3 axes of (N, C, D, H, W) with zeros; negative widths crop."""

    axes = 3
    mode = "constant"


class ReflectionPad1d(_Pad):
    """Pad the last axis of (N, C, W) with values mirrored at the ends; negative widths crop."""

    axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """Pad the last 2 axes of (N, C, H, W) with values mirrored at the ends; negative widths crop."""

    axes = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """Pad the last 3 axes of (N, C, D, H, W) with values mirrored at the ends; negative widths crop."""

    axes = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """Pad the last axis of (N, C, W) with the outermost values; negative widths crop."""

    axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """Pad the last 2 axes of (N, C, H, W) with the outermost values; negative widths crop."""

    axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """Pad the last 3 axes of (N, C, D, H, W) with the outermost values; negative widths crop."""

    axes = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """Pad the last axis of (N, C, W) with the values of the other end; negative widths crop."""

    axes = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """Pad the last 2 axes of (N, C, H, W) with the values of the other end; negative widths crop."""

    axes = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """Pad the last 3 axes of (N, C, D, H, W) with the values of the other end; negative widths crop."""

    axes = 3
    mode = "circular"
