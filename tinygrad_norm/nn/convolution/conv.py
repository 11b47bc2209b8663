"""Convolution: at every position, a weighted sum over a window of the input, always with the same weights.

    x (N, C, *S)   weight (F, C/G, *K)   bias (F,)   y (N, F, *P)

    y_nfp = bias_f + Σck weight_fck·x̄_ncq      q = s·p + d·k - a

The derivation holds for 1, 2 and 3 spatial axes: S, K, P, the indices q, k, p, the stride s, the dilation d
and the padding a have one entry per axis. x̄ is x, extended by 0. With G groups, c runs over the C/G channels
in the group of f.

LeCun, Boser, Denker et al. 1989; the arithmetic of shapes: Dumoulin, Visin 2016, arXiv:1603.07285.

Backward, from dy = dL/dy. An input that is used in many sums gets a contribution from each, and all of them
add up: by the chain rule, dL/dw_i = Σ_j dy_j·∂y_j/∂w_i, and likewise for x and bias.

    through bias    dbias_f     = Σnp dy_nfp
    through weight  dweight_fck = Σnp dy_nfp·x̄_nc(s·p + d·k - a)
    through x       dx_ncq      = Σfk Σp weight_fck·dy_nfp   over those p with s·p + d·k - a = q

As matrix products, for every sample and group: X has one window per column, X_(c,k),p = x̄_c(s·p + d·k - a),
and W is the weight with its axes (c, k) merged into one (see im2col.py):

    y = W @ X      dW = Σn dy @ Xᵀ      dX = Wᵀ @ dy      dx = fold(dX)

where fold adds every entry of dX to the entry of x that it is a copy of, and drops those in the padding.
The bias is the weight of an input that is always 1: a row of ones in X yields it, and its gradient, in the
same product. With stride 1 there is one p for each k, p = q + a - d·k. With k counted from the other end of
the kernel, k' = K - 1 - k, this is a convolution again: of dy padded by d·(K - 1) - a, with the weight
flipped and its two channel axes swapped. Then no fold is needed.

Insight: a convolution is a Linear layer whose matrix is mostly zeros and repeats K·C numbers; its gradient
is the transposed matrix, which is why convtranspose.py has nothing left to derive.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array
from ...ops import ones as _ones
from ...ops.arguments import as_size
from ...ops.checks import check_same_dtype, check_vector
from ...registry import Case, ErrorCase, register
from ..windows.folding import windows_composed
from ..windows.padding import pad
from ..windows.sliding_view import Sizes, Windows, as_batch, check_fit, conv_windows, paddings
from .conv_products import conv_backward, conv_forward
from .convnd import ConvNd


def conv_composed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution from primitives: autograd finds the gradient."""
    axes = weight.ndim - 2
    if input.ndim == axes + 1:
        return conv_composed(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    patches = windows_composed(input, conv_windows(weight.shape[2:], stride, padding, dilation))
    N, C, K, *P = patches.shape
    X = patches.reshape(N, groups, C // groups * K, math.prod(P))
    y = weight.reshape(groups, len(weight) // groups, C // groups * K) @ X
    y = y.reshape(N, len(weight), *P)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


class ConvFunction(Function):
    """y = W @ X + b, X with one window of x per column · dx = fold(Wᵀ @ dy), dW = dy @ Xᵀ, db = Σ dy"""

    def forward(self, x: Array, weight: Array, bias: Array | None, *, windows: Windows, groups: int) -> Array:
        y, X = conv_forward(x, weight, bias, windows, groups)
        self.saved = x, weight, X, windows, groups, bias is not None
        return y

    def backward(self, dy: Array) -> Gradients:
        return conv_backward(dy, *self.saved, self.needs)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return weighted sums over sliding windows of the last axis; see conv2d.

    Args:
        input: (N, C, L), or (C, L).
        weight: (F, C/groups, K).
        bias: (F,), or None.
        stride: distance between neighbouring windows.
        padding: number of zeros at both ends; "valid" for none, or "same" to keep the size (stride 1 only).
        dilation: distance between neighbouring entries of the kernel.
        groups: number of groups; each connects its own input channels to its own output channels only.
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return weighted sums over sliding windows of the last two axes.

    Args:
        input: (N, C, H, W), or (C, H, W).
        weight: (F, C/groups, KH, KW).
        bias: (F,), or None.
        stride: distance between neighbouring windows; here and below, an int, or one int per axis.
        padding: number of zeros at both ends; "valid" for none, or "same" to keep the size (stride 1 only;
            if their sum is odd, the end gets one more).
        dilation: distance between neighbouring entries of the kernel.
        groups: number of groups; each connects its own input channels to its own output channels only.

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from that of the weight.
        ValueError: if the shapes do not fit, or the kernel is larger than the padded input.

    Source: LeCun et al. 1989; Dumoulin, Visin 2016, arXiv:1603.07285.
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return weighted sums over sliding windows of the last three axes; see conv2d.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W).
        weight: (F, C/groups, KD, KH, KW).
        bias: (F,), or None.
        stride: distance between neighbouring windows.
        padding: number of zeros at both ends; "valid" for none, or "same" to keep the size (stride 1 only).
        dilation: distance between neighbouring entries of the kernel.
        groups: number of groups; each connects its own input channels to its own output channels only.
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _conv(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    name = f"conv{axes}d"
    x, single = check_conv(axes, input, weight, bias, groups, name)
    check_vector(bias, "bias", weight.shape[:1])
    windows = conv_windows(weight.shape[2:], stride, padding, dilation)
    check_fit(windows, x.shape[2:], name)
    y = ConvFunction.apply(x, weight, bias, windows=windows, groups=groups)
    return y.squeeze(0) if single else y


def check_conv(
    axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, name: str
) -> tuple[Tensor, bool]:
    """Return the input (N, C, *S), and whether it had no batch axis; the weight must fit its channels."""
    x, single = as_batch(input, axes, name)
    check_weight(x, weight, bias, groups, name, "out, in/groups")
    C = weight.shape[1] * groups
    if weight.shape[0] % groups or x.shape[1] != C:
        raise ValueError(
            f"{name} with groups={groups} and a weight (out, in/groups, *kernel) of shape {weight.shape} "
            f"takes x with {C} channels, and groups must divide {weight.shape[0]}: got shape {input.shape} "
            f"as ({'' if single else 'N, '}C, {('L', 'H, W', 'D, H, W')[axes - 1]}): channels are axis "
            f"{0 if single else 1}"
        )
    return x, single


def check_weight(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, name: str, channels: str
) -> None:
    """Raise an error unless weight and bias have x's dtype, weight has x's axes, and groups >= 1."""
    if weight.ndim != x.ndim or min(weight.shape[2:]) < 1:
        raise ValueError(
            f"{name} takes a weight ({channels}, *kernel) with {x.ndim} axes and a kernel of at least 1, "
            f"got shape {weight.shape}"
        )
    as_size(groups, "groups")
    check_same_dtype(name, x, weight=weight, bias=bias)


class _Conv(ConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.convolve(input, self.weight)

    def convolve(self, input: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution with this weight, and with everything else as in the layer."""
        input, padding = self.padded(input)
        return _conv(self.axes, input, weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def padded(self, input: Tensor) -> tuple[Tensor, Sizes | str]:
        """Return the input, padded unless by zeros, and the padding that is left to the convolution."""
        if self.padding_mode == "zeros":
            return input, self.padding
        ends = zip(*paddings(self.kernel_size, self.padding, self.dilation), strict=True)
        return pad(input, [width for pair in reversed(tuple(ends)) for width in pair], self.padding_mode), 0


class Conv1d(_Conv):
    """Convolution of (N, in_channels, L): weight (out_channels, in_channels/groups, K), bias (out_channels,).

    Both are initialized uniformly in ±1/√fan_in. `padding` is a size, "valid" or "same"; `padding_mode` is
    "zeros", "reflect", "replicate" or "circular" (see pad). Source: see conv2d.
    """

    axes = 1


class Conv2d(_Conv):
    """Convolution of (N, in_channels, H, W) with a kernel (KH, KW); see Conv1d."""

    axes = 2


class Conv3d(_Conv):
    """Convolution of (N, in_channels, D, H, W) with a kernel (KD, KH, KW); see Conv1d."""

    axes = 3


register(
    name="conv1d",
    function=conv1d,
    composed=conv_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 6), (4, 3, 3), (4,))),
        Case(((2, 3, 6), (4, 3, 3), None), {"padding": 1}),
        Case(((3, 6), (4, 3, 3), (4,)), {"stride": 2, "padding": 2}),
        Case(((2, 4, 7), (6, 2, 2), (6,)), {"dilation": 3, "groups": 2, "padding": "same"}),
        Case(((2, 3, 4), (2, 3, 4), None), {"padding": "valid"}),
        Case(((2, 2, 3), (2, 2, 1), (2,)), {"padding": 2}),
        Case(((0, 3, 6), (4, 3, 3), (4,))),
    ),
    errors=(
        ErrorCase(lambda: conv1d(_ones(3, 2), _ones(4, 3, 3)), ValueError, "more than the input"),
        ErrorCase(lambda: conv1d(_ones(1, 2, 3, 4), _ones(4, 3, 3)), ValueError, "(N, C, L)"),
        ErrorCase(lambda: conv1d(_ones(2, 3, 6), _ones(4, 3, 3), stride=(1, 1)), ValueError, "stride"),
    ),
    kind="block",
    title="Conv1d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv1d",
    bench=(Case(((32, 64, 256), (64, 64, 3), (64,)), {"padding": 1}),),
)
register(
    name="conv2d",
    function=conv2d,
    composed=conv_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 2, 4, 5), (3, 2, 3, 3), (3,))),
        Case(((2, 2, 4, 3), (3, 2, 3, 3), (3,)), {"padding": 1}),
        Case(((8, 4, 3, 3), (1, 4, 2, 2), (1,))),
        Case(((1, 1, 3, 4), (5, 1, 2, 2), None)),
        Case(((2, 2, 5, 6), (3, 2, 3, 2), None), {"stride": 2, "padding": (0, 1)}),
        Case(((2, 2, 5, 5), (2, 2, 3, 2), (2,)), {"stride": (3, 1), "dilation": (1, 2), "padding": 1}),
        Case(((2, 2, 4, 4), (2, 2, 2, 3), (2,)), {"padding": "same", "dilation": (1, 2)}),
        Case(((2, 4, 3, 3), (4, 1, 2, 2), (4,)), {"groups": 4}),
        Case(((2, 4, 5, 4), (2, 2, 3, 3), (2,)), {"groups": 2, "stride": 2, "padding": 1}),
        Case(((2, 3, 3), (2, 2, 1, 1), (2,)), {"padding": 1}),
        Case(((0, 2, 4, 4), (3, 2, 3, 3), (3,))),
        Case(((2, 8, 4, 3), (3, 8, 3, 3), (3,)), {"padding": 1}),  # runs as loops
    ),
    errors=(
        ErrorCase(lambda: conv2d(_ones(1, 3, 4, 4), _ones(2, 2, 3, 3)), ValueError, "with 2 channels"),
        ErrorCase(
            lambda: conv2d(_ones(1, 8, 8, 3), _ones(2, 3, 3, 3)),
            ValueError,
            "got shape (1, 8, 8, 3) as (N, C, H, W): channels are axis 1",
        ),
        ErrorCase(
            lambda: conv2d(_ones(8, 8, 3), _ones(2, 3, 3, 3)), ValueError, "as (C, H, W): channels are axis 0"
        ),
        ErrorCase(lambda: conv2d(_ones(1, 4, 4, 4), _ones(3, 2, 3, 3), groups=2), ValueError, "divide 3"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 2, 4), _ones(3, 2, 3, 3)), ValueError, "more than the input"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3)), ValueError, "4 axes"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 0)), ValueError, "at least 1"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), _ones(2)), ValueError, "bias"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), stride=0), ValueError, "stride"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), padding=-1), ValueError, "padding"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), padding="full"), ValueError, "'same'"),
        ErrorCase(
            lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), stride=2, padding="same"),
            ValueError,
            "stride 1",
        ),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), dilation=1.5), TypeError, "dilation"),  # type: ignore[arg-type]
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), groups=0), ValueError, "groups"),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3).double()), TypeError, "one dtype"),
        ErrorCase(
            lambda: conv2d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3), _ones(3).half()), TypeError, "input and bias"
        ),
        ErrorCase(lambda: conv2d(_ones(1, 2, 4, 4).long(), _ones(3, 2, 3, 3)), TypeError, "floating-point"),
        ErrorCase(lambda: Conv2d(3, 4, 3, groups=2), ValueError, "in_channels (3)"),
        ErrorCase(lambda: Conv2d(3, 4, 3, padding_mode="zero"), ValueError, "padding_mode"),
        ErrorCase(lambda: Conv2d(3, 4, 3)(_ones(1, 2, 4, 4)), ValueError, "with 3 channels"),
    ),
    kind="block",
    title="Conv2d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv2d",
    bench=(
        Case(((64, 1, 8, 8), (16, 1, 3, 3), (16,)), {"padding": 1}),
        Case(((64, 32, 8, 8), (32, 32, 3, 3), (32,)), {"padding": 1}),
        Case(((32, 16, 28, 28), (32, 16, 3, 3), (32,)), {"padding": 1}),
    ),
)
register(
    name="conv3d",
    function=conv3d,
    composed=conv_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 2, 3, 2, 3), (2, 2, 2, 2, 2), (2,))),
        Case(((1, 2, 3, 3, 3), (2, 1, 3, 2, 1), (2,)), {"groups": 2, "padding": 1, "stride": (1, 2, 1)}),
        Case(((1, 2, 3, 2), (2, 1, 2, 2, 2), None), {"padding": "same", "dilation": 2}),
    ),
    errors=(
        ErrorCase(lambda: conv3d(_ones(1, 2, 4, 4), _ones(3, 2, 3, 3)), ValueError, "5 axes"),
        ErrorCase(lambda: conv3d(_ones(2, 4, 4), _ones(3, 2, 3, 3, 3)), ValueError, "(N, C, D, H, W)"),
    ),
    kind="block",
    title="Conv3d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv3d",
    bench=(Case(((4, 8, 12, 12, 12), (16, 8, 3, 3, 3), (16,)), {"padding": 1}),),
)
