"""Transposed convolution: the backward pass of a convolution, used as a layer.

    x (N, F, *P)   weight (F, C/G, *K)   bias (C,)   y (N, C, *S)

    y_ncq = bias_c + Σfk Σp weight_fck·x_nfp   over those p with s·p + d·k - a = q

Every entry of x adds its filter, times the entry, to the window of y that a convolution of y would read for
it. Sizes are reversed too: the first axis of weight counts the input channels, and S is the size that a
convolution with padding a before and b after would reduce to P:

    S = s·(P - 1) + d·(K - 1) + 1 - a - b      b = a - output_padding

With stride s there are s such sizes; `output_padding` selects one of them.

Zeiler, Krishnan, Taylor, Fergus 2010; Dumoulin, Visin 2016, arXiv:1603.07285.

Backward, from dy = dL/dy. Let A be the matrix of the convolution in conv.py. Then y = Aᵀ x, and by the chain
rule dx_j = Σ_i dy_i·∂y_i/∂x_j = (A dy)_j: the convolution itself. The sum above pairs weight_fck with the
same products as in conv.py, so dweight is the one derived there:

    through bias    dbias_c     = Σnq dy_ncq
    through weight  dweight_fck = Σnp x_nfp·d̄y_nc(s·p + d·k - a)     dweight of conv, with x and dy swapped
    through x       dx_nfp      = Σck weight_fck·d̄y_nc(s·p + d·k - a)   conv of dy

Insight: it is not a deconvolution. Aᵀ puts things where they came from, A⁻¹ would undo what was done.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array
from ...ops import flip
from ...ops import ones as _ones
from ...ops.checks import check_vector
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from ..windows.folding import insert_zeros
from ..windows.padding import pad_composed
from ..windows.sliding_view import Sizes, Windows, as_batch, as_tuple, conv_windows
from .conv import check_weight, conv_composed
from .conv_products import conv_transpose_backward, conv_transpose_forward
from .convnd import ConvNd


def conv_transpose_composed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transposed convolution from primitives: x with zeros between its entries, times the flipped kernel."""
    axes = weight.ndim - 2
    if input.ndim == axes + 1:
        batch = input.unsqueeze(0)
        options = (stride, padding, output_padding, groups, dilation)
        return conv_transpose_composed(batch, weight, bias, *options).squeeze(0)
    windows = transposed_windows(weight.shape[2:], stride, padding, output_padding, dilation)
    widths: list[int] = []
    for extent, a, b in reversed(tuple(zip(windows.extent, windows.before, windows.after, strict=True))):
        widths += [extent - 1 - a, extent - 1 - b]
    F, C, *K = weight.shape
    flipped = weight.reshape(groups, F // groups, C, *K).transpose(1, 2).reshape(groups * C, F // groups, *K)
    flipped = flip(flipped, tuple(range(2, 2 + axes)))
    spaced = pad_composed(insert_zeros(input, windows.stride), widths)
    return conv_composed(spaced, flipped, bias, 1, 0, dilation, groups)


class ConvTransposeFunction(Function):
    """y = fold(Wᵀ @ x) + b · dx = W @ Y, dW = x @ Yᵀ, db = Σ dy, Y with one window of dy per column"""

    def forward(
        self, x: Array, weight: Array, bias: Array | None, *, windows: Windows, groups: int, space: Shape
    ) -> Array:
        self.saved = x, weight, windows, groups
        return conv_transpose_forward(x, weight, bias, windows, groups, space)

    def backward(self, dy: Array) -> Gradients:
        return conv_transpose_backward(dy, *self.saved, self.needs)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return the sum of kernels, one per position of the last axis; see conv_transpose2d.

    Args:
        input: (N, F, L), or (F, L).
        weight: (F, C/groups, K).
        bias: (C,), or None.
        stride: distance between neighbouring kernels on the output.
        padding: number of positions to crop at both ends of the output.
        output_padding: number of positions to add at the end of the output; less than stride or dilation.
        groups: number of groups; each connects its own input channels to its own output channels only.
        dilation: distance between neighbouring entries of the kernel.
    """
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return the sum of kernels, one per position of the last two axes: the transpose of conv2d.

    Args:
        input: (N, F, H, W), or (F, H, W).
        weight: (F, C/groups, KH, KW).
        bias: (C,), or None.
        stride: distance between neighbouring kernels on the output; here and below, an int or one per axis.
        padding: number of positions to crop at both ends of the output.
        output_padding: number of positions to add at the end of the output; less than stride or dilation.
        groups: number of groups; each connects its own input channels to its own output channels only.
        dilation: distance between neighbouring entries of the kernel.

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from that of the weight.
        ValueError: if the shapes do not fit, or the result would be empty.

    Source: Zeiler et al. 2010; Dumoulin, Visin 2016, arXiv:1603.07285.
    """
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return the sum of kernels, one per position of the last three axes; see conv_transpose2d.

    Args:
        input: (N, F, D, H, W), or (F, D, H, W).
        weight: (F, C/groups, KD, KH, KW).
        bias: (C,), or None.
        stride: distance between neighbouring kernels on the output.
        padding: number of positions to crop at both ends of the output.
        output_padding: number of positions to add at the end of the output; less than stride or dilation.
        groups: number of groups; each connects its own input channels to its own output channels only.
        dilation: distance between neighbouring entries of the kernel.
    """
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _conv_transpose(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    name = f"conv_transpose{axes}d"
    x, single = as_batch(input, axes, name)
    check_weight(x, weight, bias, groups, name, "in, out/groups")
    if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{name} with groups={groups} and a weight (in, out/groups, *kernel) of shape {weight.shape} "
            f"takes x with {weight.shape[0]} channels, divisible by groups: got x of shape {input.shape}"
        )
    check_vector(bias, "bias", (weight.shape[1] * groups,))
    windows = transposed_windows(weight.shape[2:], stride, padding, output_padding, dilation)
    space = _space(x.shape[2:], windows)
    if min(space) < 1:
        raise ValueError(
            f"{name} of x with shape {input.shape} would return {space} positions: use less padding"
        )
    y = ConvTransposeFunction.apply(x, weight, bias, windows=windows, groups=groups, space=space)
    return y.squeeze(0) if single else y


def transposed_windows(
    kernel: Shape, stride: Sizes, padding: Sizes, output_padding: Sizes, dilation: Sizes
) -> Windows:
    """Return the windows of the convolution of which this is the transpose."""
    windows = conv_windows(kernel, stride, padding, dilation)
    more = as_tuple(output_padding, len(kernel), "output_padding", 0)
    if any(extra >= max(s, d) for extra, s, d in zip(more, windows.stride, windows.dilation, strict=True)):
        raise ValueError(
            f"output_padding ({output_padding}) must be less than stride ({stride}) or dilation ({dilation})"
        )
    after = tuple([a - extra for a, extra in zip(windows.before, more, strict=True)])
    return windows._replace(after=after)


def _space(count: Shape, windows: Windows) -> Shape:
    _, stride, _, before, after = windows
    terms = zip(count, stride, windows.extent, before, after, strict=True)
    return tuple([s * (P - 1) + extent - a - b for P, s, extent, a, b in terms])


class _ConvTranspose(ConvNd):
    transposed = True
    padding: Shape

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f"{type(self).__name__} supports only padding_mode='zeros', got {padding_mode!r}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            as_tuple(padding, self.axes, "padding", 0),
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )

    def forward(self, input: Tensor, output_size: Sizes | None = None) -> Tensor:
        more = self.output_padding if output_size is None else self._padding_for(input, output_size)
        return _conv_transpose(
            self.axes,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            more,
            self.groups,
            self.dilation,
        )

    def _padding_for(self, input: Tensor, output_size: Sizes) -> Shape:
        if isinstance(output_size, tuple | list) and len(output_size) == input.ndim > self.axes:
            output_size = output_size[-self.axes :]  # the size of a whole result, as x.size() gives it
        sizes = as_tuple(output_size, self.axes, "output_size", 1)
        windows = conv_windows(self.kernel_size, self.stride, self.padding, self.dilation)
        least = _space(input.shape[-self.axes :], windows)
        more = tuple([S - low for S, low in zip(sizes, least, strict=True)])
        if any(not 0 <= extra < s for extra, s in zip(more, self.stride, strict=True)):
            most = tuple([low + s - 1 for low, s in zip(least, self.stride, strict=True)])
            raise ValueError(f"output_size must be from {least} to {most}, got {output_size}")
        return more


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, in_channels, L): weight (in_channels, out_channels/groups, K).

    Weight and bias (out_channels,) are initialized uniformly in ±1/√(out_channels/groups·K). With a stride,
    pass `output_size` in the call to select one of the possible sizes: (L,) or (N, out_channels, L), of which
    only L counts. Source: see conv_transpose2d.
    """

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (N, in_channels, H, W) with a kernel (KH, KW); see ConvTranspose1d."""

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, in_channels, D, H, W) with a kernel (KD, KH, KW); see ConvTranspose1d."""

    axes = 3


register(
    name="conv_transpose1d",
    function=conv_transpose1d,
    composed=conv_transpose_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 4), (3, 2, 3), (2,))),
        Case(((2, 3, 4), (3, 2, 3), None), {"stride": 2, "padding": 1, "output_padding": 1}),
        Case(((4, 3), (4, 1, 2), (2,)), {"stride": 3, "groups": 2, "dilation": 2}),
        Case(((1, 2, 5), (2, 2, 1), (2,)), {"padding": 2}),
        Case(((1, 2, 4), (2, 3, 1), (3,)), {"padding": 1, "output_padding": 2, "dilation": 3}),
        Case(((2, 2, 7), (2, 2, 2), (2,)), {"padding": 4, "output_padding": 2, "dilation": 3}),
        Case(((0, 3, 4), (3, 2, 3), (2,))),
    ),
    errors=(
        ErrorCase(
            lambda: conv_transpose1d(_ones(1, 2, 3), _ones(2, 2, 1), padding=2), ValueError, "positions"
        ),
        ErrorCase(lambda: conv_transpose1d(_ones(2, 2, 2, 2), _ones(2, 2, 1)), ValueError, "(N, C, L)"),
    ),
    kind="block",
    title="ConvTranspose1d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv_transpose1d",
)
register(
    name="conv_transpose2d",
    function=conv_transpose2d,
    composed=conv_transpose_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 2, 3, 2), (2, 3, 2, 3), (3,))),
        Case(((2, 2, 3, 3), (2, 3, 3, 3), (3,)), {"padding": 1}),
        Case(((8, 3, 2, 2), (3, 1, 2, 2), (1,)), {"stride": 2}),
        Case(((1, 5, 2, 3), (5, 1, 2, 2), None)),
        Case(
            ((2, 2, 3, 2), (2, 2, 3, 2), (2,)),
            {"stride": (2, 3), "padding": (2, 0), "output_padding": (1, 2), "dilation": (1, 2)},
        ),
        Case(((2, 4, 2, 2), (4, 1, 2, 2), (4,)), {"groups": 4}),
        Case(((1, 4, 3, 2), (4, 2, 3, 2), (4,)), {"groups": 2, "stride": 2, "padding": 1}),
        Case(((2, 2, 3), (2, 2, 2, 2), (2,)), {"dilation": 2, "output_padding": 1}),
        Case(((0, 2, 3, 3), (2, 3, 2, 2), (3,))),
    ),
    errors=(
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 3, 4, 4), _ones(2, 2, 3, 3)), ValueError, "with 2 channels"
        ),
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 3, 4, 4), _ones(3, 2, 3, 3), groups=2), ValueError, "divisible"
        ),
        ErrorCase(lambda: conv_transpose2d(_ones(1, 2, 4, 4), _ones(2, 3, 3)), ValueError, "4 axes"),
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 2, 4, 4), _ones(2, 3, 3, 3), _ones(2)), ValueError, "bias"
        ),
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 2, 4, 4), _ones(2, 3, 3, 3), output_padding=1),
            ValueError,
            "output_padding",
        ),
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 2, 4, 4), _ones(2, 3, 3, 3), stride=0), ValueError, "stride"
        ),
        ErrorCase(
            lambda: conv_transpose2d(_ones(1, 2, 4, 4), _ones(2, 3, 3, 3).double()), TypeError, "one dtype"
        ),
        ErrorCase(lambda: ConvTranspose2d(2, 3, 3, padding_mode="reflect"), ValueError, "padding_mode"),
        ErrorCase(lambda: ConvTranspose2d(2, 3, 3, groups=2), ValueError, "out_channels (3)"),
        ErrorCase(
            lambda: ConvTranspose2d(2, 3, 3, stride=2)(_ones(1, 2, 4, 4), output_size=11),
            ValueError,
            "from (9, 9) to (10, 10)",
        ),
    ),
    kind="block",
    title="ConvTranspose2d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv_transpose2d",
    bench=(Case(((64, 32, 4, 4), (32, 16, 4, 4), (16,)), {"stride": 2, "padding": 1}),),
)
register(
    name="conv_transpose3d",
    function=conv_transpose3d,
    composed=conv_transpose_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((1, 2, 2, 1, 2), (2, 2, 2, 2, 2), (2,))),
        Case(
            ((1, 2, 2, 2, 1), (2, 1, 2, 1, 2), (2,)),
            {"groups": 2, "stride": (2, 1, 2), "output_padding": (1, 0, 0)},
        ),
    ),
    errors=(
        ErrorCase(lambda: conv_transpose3d(_ones(1, 2, 4), _ones(2, 3, 3)), ValueError, "(N, C, D, H, W)"),
    ),
    kind="block",
    title="ConvTranspose3d",
    paper="Dumoulin, Visin 2016, arXiv:1603.07285",
    torch="torch.nn.functional.conv_transpose3d",
)
