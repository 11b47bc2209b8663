"""Cosine normalization of a convolution: every output is the cosine of a window of the input and a kernel.

    x (N, C, H, W)   w (F, C/G, KH, KW)   X the window of x that a kernel sees at one position, with zeros in
    the padding   v = w/‖w‖ per output   r = 1/‖X‖ per window   y = r·conv(x, v), from -1 to 1

With G groups, a window has the channels of its group only. There is no bias. The lengths come from sums over
windows, q = ‖X‖² = conv(Σc x², ones), so nothing as large as all windows together is stored.

A window of zeros has no direction: r is 0, so its cosines and gradients are. x is divided by a power of two
per sample first, so that no square overflows; a window that is shorter than the machine epsilon squared, in
units of the largest entry of its sample, counts as zeros.

In the code: r rnorm, v direction.

Luo, Zhan, Wang, Yang 2017, arXiv:1702.05870.

Backward, from dy = dL/dy. With convᵀ the transpose of a convolution (conv.py), and r² = 1/q:

    straight    dz = r·dy            convᵀ(dz, v) to x, and conv's own gradient dv to v
    through r   ∂r/∂q = -r³/2        dq = Σf dy·conv(x, v)·(-r³/2) = -r²/2·Σf dy·y
    through q   ∂q/∂x = 2·x          2·x·convᵀ(dq, ones)

    dx = convᵀ(r·dy, v) - x·convᵀ(r²·Σf dy·y, ones)

and dw from dv as in weightnorm.py, with g = 1. The linear layer is derived in cosinelinear.py.

Insight: an entry of x is in many windows, each with a length of its own. So dx is not orthogonal to x in one
window; only for a whole sample, Σ dx·x = 0, as stretching it changes no angle.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import downcast, upcast
from ..backends.float_info import finfo
from ..normalization.core.magnitudes import scales_of_rows
from ..normalization.core.moments import rsqrt
from ..normalization.core.summary import derived_in
from ..normalization.weight import cosinelinear
from ..normalization.weight.cosinelinear import cosine_linear, directions_composed, ones_of
from ..normalization.weight.weightnorm import weight_norm_backward, weight_norm_forward
from ..ops import ones
from ..ops.arguments import check_flags
from ..registry import Case, ErrorCase, register
from .convolution.conv import Conv2d, check_conv
from .convolution.conv_products import conv_adjoint, conv_backward, conv_forward
from .linear import Linear
from .windows.folding import windows_composed
from .windows.sliding_view import Sizes, Windows, check_fit, conv_windows


def cosine_conv2d_composed(
    input: Tensor,
    weight: Tensor,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cosine convolution from primitives: autograd finds the gradients."""
    if input.ndim == 3:
        single = input.unsqueeze(0)
        return cosine_conv2d_composed(single, weight, stride, padding, dilation, groups).squeeze(0)
    patches = windows_composed(input, conv_windows(weight.shape[2:], stride, padding, dilation))
    N, C, K, *P = patches.shape
    X = patches.reshape(N, groups, C // groups * K, math.prod(P)).mT
    v = directions_composed(weight.reshape(groups, len(weight) // groups, C // groups * K))
    return (v @ directions_composed(X).mT).reshape(N, len(weight), *P)


class CosineConv2dFunction(Function):
    """y = r·conv(x, w/‖w‖), r = 1/‖window‖ · dx = convᵀ(r·dy, w/‖w‖) - x·convᵀ(r²·Σf dy·y, ones)"""

    def forward(self, x: Array, w: Array, *, windows: Windows, groups: int) -> Array:
        wide, xp = upcast(x), namespace(x)
        scale = scales_of_rows(wide.reshape(len(x), math.prod(x.shape[1:]))).reshape(-1, 1, 1, 1)
        wide = wide / scale
        rows = upcast(w).reshape(len(w), math.prod(w.shape[1:]))
        direction, w_rnorm = weight_norm_forward(rows, ones_of(rows))
        direction = direction.reshape(w.shape)
        window_of_ones = xp.ones((groups, 1, *windows.kernel), wide.dtype)
        squares = _channel_sums(wide * wide, groups)
        q = conv_forward(squares, window_of_ones, None, windows, groups)[0]
        rnorm = rsqrt(xp.where(q < float(finfo(q.dtype).eps) ** 4, 0, q))
        y = _by_group(conv_forward(wide, direction, None, windows, groups)[0], rnorm)
        self.saved = wide, scale, rows, w_rnorm, direction, rnorm, y, window_of_ones, windows, groups
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        x, scale, rows, w_rnorm, direction, rnorm, y, window_of_ones, windows, groups = self.saved
        dy = upcast(dy)
        dz, needs = _by_group(dy, rnorm), (*self.needs, False)
        dx, dv, _ = conv_backward(dz, x, direction, None, windows, groups, False, needs)
        if dx is not None:
            dq = rnorm * rnorm * _channel_sums(dy * y, groups)
            around = conv_adjoint(dq, window_of_ones, windows, groups, x.shape[2:])
            dx = (dx - _by_group(x, around)) / scale
        if dv is None:
            return dx, None
        dw, _ = weight_norm_backward(dv.reshape(rows.shape), rows, w_rnorm, ones_of(rows))
        return dx, dw.reshape(direction.shape)


def _channel_sums(x: Array, groups: int) -> Array:
    """Return the sums (N, G, *S) over the channels of each group of x (N, C, *S), as matrix products."""
    N, C, *space = x.shape
    grouped = x.reshape(N, groups, C // groups, math.prod(space))
    return (namespace(x).ones((1, C // groups), x.dtype) @ grouped).reshape(N, groups, *space)


def _by_group(x: Array, factors: Array) -> Array:
    """Return x (N, C, *S) times the factors (N, G, *S) of the channels' groups."""
    N, G, *space = factors.shape
    return (x.reshape(N, G, x.shape[1] // G, *space) * factors[:, :, None]).reshape(x.shape)


def cosine_conv2d(
    input: Tensor,
    weight: Tensor,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return the cosines of the angles between each window of `input` and each kernel.

    Args:
        input: (N, C, H, W), or (C, H, W).
        weight: (F, C/groups, KH, KW).
        stride: as the others, that of conv2d.
        padding: number of zeros at both ends, which add nothing to a window's length; "valid" or "same".
        dilation: distance between neighbouring entries of the kernel.
        groups: number of groups, each with lengths of its own.

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from that of the weight.
        ValueError: if the shapes do not fit, or the kernel is larger than the padded input.

    Source: Luo, Zhan, Wang, Yang 2017, arXiv:1702.05870.
    """
    x, single = check_conv(2, input, weight, None, groups, "cosine_conv2d")
    windows = conv_windows(weight.shape[2:], stride, padding, dilation)
    check_fit(windows, x.shape[2:], "cosine_conv2d")
    y = CosineConv2dFunction.apply(x, weight, windows=windows, groups=groups)
    return y.squeeze(0) if single else y


def _check_no_bias(bias: bool, name: str) -> None:
    check_flags(bias=bias)
    if bias:
        raise ValueError(f"{name} has no bias: a cosine has none. Leave bias=False")


@derived_in(cosinelinear)
class CosineLinear(Linear):
    """Linear layer whose outputs are cosines of the angles between the input and each row of the weight.

    Takes (..., in_features), returns (..., out_features), from -1 to 1. The parameter is `weight`
    (out_features, in_features). `bias` must be False. Source: Luo et al. 2017, arXiv:1702.05870.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        _check_no_bias(bias, "CosineLinear")
        super().__init__(in_features, out_features, False)

    def forward(self, input: Tensor) -> Tensor:
        return cosine_linear(input, self.weight)


@derived_in()
class CosineConv2d(Conv2d):
    """Convolution whose outputs are cosines of the angles between each window of the input and each kernel.

    As Conv2d, but for `bias`, which must be False. Source: Luo et al. 2017, arXiv:1702.05870.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: str = "zeros",
    ) -> None:
        _check_no_bias(bias, "CosineConv2d")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False, padding_mode
        )

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self.padded(input)
        return cosine_conv2d(input, self.weight, self.stride, padding, self.dilation, self.groups)


_call: Any = cosine_conv2d  # with arguments of types that it does not take
register(
    name="cosine_conv2d",
    function=cosine_conv2d,
    composed=cosine_conv2d_composed,
    parameters=("weight",),
    cases=(
        Case(((2, 2, 4, 5), (3, 2, 3, 3))),
        Case(((2, 2, 4, 3), (3, 2, 3, 3)), {"padding": 1}),
        Case(((2, 2, 5, 6), (3, 2, 3, 2)), {"stride": 2, "padding": (0, 1)}),
        Case(((2, 2, 4, 4), (2, 2, 2, 3)), {"padding": "same", "dilation": (1, 2)}),
        Case(((2, 4, 5, 4), (6, 2, 3, 3)), {"groups": 2, "padding": 1}),
        Case(((3, 4, 4), (4, 3, 2, 2))),
        Case(((2, 4, 3, 3), (4, 1, 2, 2)), {"groups": 4}),
        Case(((0, 2, 4, 4), (3, 2, 3, 3))),
    ),
    errors=(
        ErrorCase(lambda: cosine_conv2d(ones(1, 3, 4, 4), ones(3, 2, 3, 3)), ValueError, "with 2 channels"),
        ErrorCase(
            lambda: cosine_conv2d(ones(1, 2, 2, 2), ones(3, 2, 3, 3)), ValueError, "more than the input"
        ),
        ErrorCase(lambda: cosine_conv2d(ones(1, 2, 4), ones(3, 2, 3)), ValueError, "4 axes"),
        ErrorCase(
            lambda: cosine_conv2d(ones(1, 2, 4, 4).long(), ones(3, 2, 3, 3)), TypeError, "floating-point"
        ),
        ErrorCase(lambda: cosine_conv2d(ones(1, 2, 4, 4), ones(3, 2, 3, 3).double()), TypeError, "one dtype"),
        ErrorCase(lambda: _call([[1.0]], ones(3, 2, 3, 3)), TypeError, "Tensor"),
        ErrorCase(lambda: CosineLinear(3, 4, bias=True), ValueError, "no bias"),
        ErrorCase(lambda: CosineConv2d(3, 4, 3, bias=True), ValueError, "no bias"),
    ),
    kind="block",
    title="Cosine convolution",
    paper="Luo et al. 2017, arXiv:1702.05870",
    bench=(Case(((64, 32, 8, 8), (32, 32, 3, 3)), {"padding": 1}),),
)
