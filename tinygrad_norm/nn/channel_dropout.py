"""Dropout of whole channels: in training, every map of an image is kept or zeroed as one.

    x (N, C, *S)   mask_nc ~ Bernoulli(1 - p)   y_ncs = x_ncs·mask_nc/(1 - p)

Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.

Backward: the mask is a constant and y is linear in x, so dx_ncs = dy_ncs·mask_nc/(1 - p). That is the
gradient of a product with the factor mask/(1 - p), which is drawn as the dropout of N·C ones.

Insight: neighbouring pixels say nearly the same. Dropping one of them loses nothing, because the convolution
behind it reads its neighbours; dropping the map does.
"""

from ..autograd.tensor import Tensor
from ..backends import namespace
from ..ops.arguments import check_flags
from ..ops.checks import Shape, check_input
from .dropout import DropoutModule, check_probability, dropout


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, L) or (C, L) with probability p and divide the others by 1 - p.

    `tn.manual_seed` decides which channels are chosen. `inplace` is accepted and changes nothing.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1], or the number of axes is wrong.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """
    return _drop_channels("dropout1d", input, p, training, {2: "(C, L)", 3: "(N, C, L)"})


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, H, W) or (N, C, L) with probability p and divide the others by 1 - p.

    Three axes are (N, C, L), as in PyTorch, and not one image. Otherwise as `dropout1d`.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1], or the number of axes is wrong.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """
    return _drop_channels("dropout2d", input, p, training, {3: "(N, C, L)", 4: "(N, C, H, W)"})


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, D, H, W) or (C, D, H, W) with probability p and divide the others by 1 - p.

    Otherwise as `dropout1d`.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1], or the number of axes is wrong.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """
    return _drop_channels("dropout3d", input, p, training, {4: "(C, D, H, W)", 5: "(N, C, D, H, W)"})


def channel_shape(input: Tensor, name: str, takes: dict[int, str]) -> Shape:
    """Return the shape of one number per channel; `takes` has the shapes that are taken, by number of axes.

    Raises ValueError for any other number of axes.
    """
    if input.ndim not in takes:
        raise ValueError(f"{name} takes {' or '.join(takes.values())}, got shape {input.shape}")
    leading = 2 if takes[input.ndim].startswith("(N") else 1
    return (*input.shape[:leading], *(1,) * (input.ndim - leading))


def _drop_channels(name: str, input: Tensor, p: float, training: bool, takes: dict[int, str]) -> Tensor:
    check_probability(p)
    check_input(input, name)
    check_flags(training=training)
    shape = channel_shape(input, name, takes)
    if not training or p == 0:
        return input
    array = input.array
    return input * dropout(Tensor._wrap(namespace(array).ones(shape, array.dtype)), p)


class Dropout1d(DropoutModule):
    """dropout1d as a layer: channels of (N, C, L) are zeroed in training; x in evaluation.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout1d(input, self.p, self.training)


class Dropout2d(DropoutModule):
    """dropout2d as a layer: channels of (N, C, H, W) are zeroed in training; x in evaluation.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout2d(input, self.p, self.training)


class Dropout3d(DropoutModule):
    """dropout3d as a layer: channels of (N, C, D, H, W) are zeroed in training; x in evaluation.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, arXiv:1411.4280.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout3d(input, self.p, self.training)
