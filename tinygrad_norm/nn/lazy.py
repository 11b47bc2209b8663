"""Lazy layers: the size of the input is that of the first batch.

    LazyConv2d(16, 3)           with the first input (N, C, H, W) it becomes Conv2d(C, 16, 3)

Until then the layer has no parameters. Whatever asks for them, such as an optimizer or `state_dict`, raises
an error. With the first batch, the layer of the right size is made and called. If that works, the lazy layer
takes over its attributes and its class; its hooks and its mode stay.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..autograd.tensor import Tensor
from ..module import Module
from ..module_registry import MODULE
from ..normalization.layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .convolution.conv import Conv1d, Conv2d, Conv3d
from .convolution.convtranspose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear


class LazyLayer(Module):
    """Base of the lazy layers: `becomes` is the class, `axis` that of the input whose size it needs.

    The arguments are those of the class without the first, the size of the input.
    """

    becomes: ClassVar[Any]
    axis: ClassVar[int]
    defaults: ClassVar[Mapping[str, Any]] = {}  # those that are not the class's, as in PyTorch

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "becomes" not in vars(cls):
            return
        of_class = inspect.signature(cls.becomes.__init__)
        own, _, *others = of_class.parameters.values()
        others = [p.replace(default=cls.defaults.get(p.name, p.default)) for p in others]
        signature = of_class.replace(parameters=[own, *others])

        def __init__(self: LazyLayer, *args: Any, **kwargs: Any) -> None:
            Module.__init__(self)
            given = signature.bind(self, *args, **kwargs).arguments
            self._arguments = {**self.defaults, **{name: given[name] for name in given if name != "self"}}
            self._check_arguments()

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[assignment,method-assign]

    def _check_arguments(self) -> None:
        """Make a small layer of them, whose errors are those of the large one."""
        groups = self._arguments.get("groups", 1)
        self.becomes(groups if isinstance(groups, int) and groups > 0 else 1, **self._arguments)

    def forward(self, input: Tensor, *inputs: Any, **options: Any) -> Any:
        name = type(self).__name__
        if not isinstance(input, Tensor) or not -input.ndim <= self.axis < input.ndim:
            got = f"shape {input.shape}" if isinstance(input, Tensor) else type(input).__name__
            raise ValueError(f"{name} takes the size of its input from axis {self.axis}, got {got}")
        layer = self.becomes(input.shape[self.axis], **self._arguments)
        layer.training = self.training
        y = layer(input, *inputs, **options)
        del self._arguments
        self.__class__ = self.becomes
        self.__dict__.update(layer.__dict__)
        return y

    def _entries(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        if set(kinds) - {MODULE}:
            raise RuntimeError(
                f"{type(self).__name__} has no parameters before the first batch, which tells the size "
                "of its input: call the model once, then use parameters(), state_dict(), to() and the rest"
            )
        return super()._entries(*kinds)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._arguments.items())


_STATISTICS = {"affine": True, "track_running_stats": True}


class LazyLinear(LazyLayer):
    """Linear whose in_features the first batch tells."""

    becomes, axis = Linear, -1


class LazyConv1d(LazyLayer):
    """Conv1d whose in_channels the first batch tells."""

    becomes, axis = Conv1d, -2


class LazyConv2d(LazyLayer):
    """Conv2d whose in_channels the first batch tells."""

    becomes, axis = Conv2d, -3


class LazyConv3d(LazyLayer):
    """Conv3d whose in_channels the first batch tells."""

    becomes, axis = Conv3d, -4


class LazyConvTranspose1d(LazyLayer):
    """ConvTranspose1d whose in_channels the first batch tells."""

    becomes, axis = ConvTranspose1d, -2


class LazyConvTranspose2d(LazyLayer):
    """ConvTranspose2d whose in_channels the first batch tells."""

    becomes, axis = ConvTranspose2d, -3


class LazyConvTranspose3d(LazyLayer):
    """ConvTranspose3d whose in_channels the first batch tells."""

    becomes, axis = ConvTranspose3d, -4


class LazyBatchNorm1d(LazyLayer):
    """BatchNorm1d whose num_features the first batch tells."""

    becomes, axis = BatchNorm1d, 1


class LazyBatchNorm2d(LazyLayer):
    """BatchNorm2d whose num_features the first batch tells."""

    becomes, axis = BatchNorm2d, 1


class LazyBatchNorm3d(LazyLayer):
    """BatchNorm3d whose num_features the first batch tells."""

    becomes, axis = BatchNorm3d, 1


class LazyInstanceNorm1d(LazyLayer):
    """InstanceNorm1d whose num_features the first batch tells."""

    becomes, axis = InstanceNorm1d, -2
    defaults = _STATISTICS


class LazyInstanceNorm2d(LazyLayer):
    """InstanceNorm2d whose num_features the first batch tells."""

    becomes, axis = InstanceNorm2d, -3
    defaults = _STATISTICS


class LazyInstanceNorm3d(LazyLayer):
    """InstanceNorm3d whose num_features the first batch tells."""

    becomes, axis = InstanceNorm3d, -4
    defaults = _STATISTICS
