"""Which layers are x·W + b with W = layer.weight itself: what is known of W is then known of the layer.

WSConv2d, ScaledWSConv2d, CosineLinear and CosineConv2d compute another weight from `weight`, so they have
forwards of their own. A subclass of a user with its own forward could do anything.
"""

from typing import Any

from ...module import Module
from ..convolution.conv import Conv2d
from ..convolution.convtranspose import ConvTranspose2d
from ..linear import Linear

_FORWARDS: tuple[Any, ...] = (Linear.forward, Conv2d.forward, ConvTranspose2d.forward)


def is_plain(layer: Module) -> bool:
    """Return whether `layer` is a Linear layer or a convolution that computes with `weight` as it is."""
    of_type: Any = type(layer)
    return of_type.forward in _FORWARDS and getattr(of_type, "convolve", Conv2d.convolve) is Conv2d.convolve
