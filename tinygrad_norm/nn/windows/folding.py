"""Unfold and fold: cut images into the windows that a kernel reads, and assemble images from such windows.

    x (N, C, H, W)   cols (N, C·K, P)      K = KH·KW entries of a kernel, P windows

    unfold   cols_n,(c,k),p = x̄_nc(s·p + d·k - a)
    fold     x_ncq = Σ cols_n,(c,k),p   over those k, p with s·p + d·k - a = q

with stride s, dilation d and padding a, one of each per axis; x̄ is x, extended by 0.

Backward, by the chain rule dL/dx_i = Σ_j dy_j·∂y_j/∂x_i, whose derivatives here are 0 or 1. Unfold copies:
an entry of x gets the sum of the gradients of its copies, which is what fold computes. Fold adds: an entry of
cols gets the gradient of the one sum that contains it, which unfold reads.

    unfold   dx    = fold(dcols)
    fold     dcols = unfold(dx)

Insight: each is the transpose of the other, not its inverse: fold(unfold(x)) is x times the number of
windows that contain it.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel
from ...backends.cpu.half import downcast, upcast
from ...module import Module
from ...ops import ones as _ones
from ...ops import stack
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from .padding import pad_composed, pad_forward
from .sliding_view import Sizes, Windows, as_batch, as_tuple, check_fit, fold_windows, window_view


def windows_composed(x: Tensor, windows: Windows, value: float = 0.0) -> Tensor:
    """Return the windows of x (N, C, *S) as patches (N, C, K, *P), made of one slice per k."""
    ends = reversed(tuple(zip(windows.before, windows.after, strict=True)))
    count = windows.counts(x.shape[2:])
    padded = pad_composed(x, [width for pair in ends for width in pair], value=value)
    parts = []
    for offset in windows.offsets():
        starts = [d * k for d, k in zip(windows.dilation, offset, strict=True)]
        places = [
            slice(start, start + s * (P - 1) + 1, s)
            for start, s, P in zip(starts, windows.stride, count, strict=True)
        ]
        parts.append(padded[(slice(None), slice(None), *places)])
    return stack(parts, 2)


def insert_zeros(x: Tensor, stride: Shape) -> Tensor:
    """Return x (N, C, *S) with stride - 1 zeros between neighbouring entries, along every spatial axis."""
    for axis, s in enumerate(stride, 2):
        padded = pad_composed(x.unsqueeze(axis + 1), [0, 0] * (x.ndim - axis - 1) + [0, s - 1])
        padded = padded.reshape(*x.shape[:axis], x.shape[axis] * s, *x.shape[axis + 1 :])
        x = padded[(slice(None),) * axis + (slice(x.shape[axis] * s - s + 1),)]
    return x


def unfold_composed(
    input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """Unfold from primitives: autograd finds the gradient."""
    if input.ndim == 3:
        return unfold_composed(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    patches = windows_composed(input, symmetric_windows(2, kernel_size, stride, padding, dilation))
    return patches.reshape(len(patches), patches.shape[1] * patches.shape[2], math.prod(patches.shape[3:]))


def fold_composed(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Fold from primitives: for each k, the columns at their positions and zeros elsewhere; then the sum."""
    if input.ndim == 2:
        single = input.unsqueeze(0)
        return fold_composed(single, output_size, kernel_size, dilation, padding, stride).squeeze(0)
    windows = symmetric_windows(2, kernel_size, stride, padding, dilation)
    space = as_tuple(output_size, 2, "output_size", 1)
    N, K = len(input), math.prod(windows.kernel)
    cols = input.reshape(N, input.shape[1] // K, K, *windows.counts(space))
    parts = []
    for k, offset in enumerate(windows.offsets()):
        part, widths = insert_zeros(cols[:, :, k], windows.stride), []
        for axis in (1, 0):
            before = windows.dilation[axis] * offset[axis] - windows.before[axis]
            widths += [before, space[axis] - part.shape[2 + axis] - before]
        parts.append(pad_composed(part, widths))
    return stack(parts).sum(0)


@kernel
def unfold_forward(x: Array, windows: Windows) -> Array:
    """Return cols (N, C·K, P): x (N, C, *S)."""
    widths = ((0, 0), (0, 0), *zip(windows.before, windows.after, strict=True))
    count = windows.counts(x.shape[2:])
    patches = window_view(pad_forward(x, widths, "constant", 0), windows, count, 2)
    return patches.reshape(len(x), x.shape[1] * math.prod(windows.kernel), math.prod(count))


@kernel
def fold_forward(cols: Array, windows: Windows, space: Shape) -> Array:
    """Return x (N, C, *S): cols (N, C·K, P)."""
    C = cols.shape[1] // math.prod(windows.kernel)
    parts = upcast(cols).reshape(len(cols), C, *windows.kernel, *windows.counts(space))
    return downcast(fold_windows(parts, windows, space, 2), cols)


class UnfoldFunction(Function):
    """cols_(c,k),p = x̄_c(s·p + d·k - a) · dx = fold(dcols)"""

    def forward(self, x: Array, *, windows: Windows) -> Array:
        self.saved = windows, x.shape[2:]
        return unfold_forward(x, windows)

    def backward(self, dy: Array) -> Gradients:
        return fold_forward(dy, *self.saved)


class FoldFunction(Function):
    """x_cq = Σ cols_(c,k),p over those k, p with s·p + d·k - a = q · dcols = unfold(dx)"""

    def forward(self, cols: Array, *, windows: Windows, space: Shape) -> Array:
        self.saved = (windows,)
        return fold_forward(cols, windows, space)

    def backward(self, dy: Array) -> Gradients:
        return unfold_forward(dy, *self.saved)


def unfold(
    input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """Return the windows of images as columns.

    Args:
        input: (N, C, H, W), or (C, H, W).
        kernel_size: size of a window; here and below, an int, or one int per axis.
        dilation: distance between neighbouring entries of a window.
        padding: number of zeros added at both ends.
        stride: distance between neighbouring windows.

    Returns:
        (N, C·KH·KW, P), or (C·KH·KW, P): the windows from left to right and from top to bottom.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong, or a window is larger than the padded input.
    """
    x, single = as_batch(input, 2, "unfold")
    windows = symmetric_windows(2, kernel_size, stride, padding, dilation)
    check_fit(windows, x.shape[2:], "unfold")
    y = UnfoldFunction.apply(x, windows=windows)
    return y.squeeze(0) if single else y


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Return images assembled from columns, their windows; overlapping windows are added.

    Args:
        input: (N, C·KH·KW, P), or (C·KH·KW, P), as `unfold` returns them.
        output_size: (H, W) of the images; here and below, an int, or one int per axis.
        kernel_size: size of a window.
        dilation: distance between neighbouring entries of a window.
        padding: number of zeros that `unfold` added at both ends, which are dropped.
        stride: distance between neighbouring windows.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the columns do not have the shape of the windows of such images.
    """
    cols, single = as_batch(input, 1, "fold", "C·KH·KW, P")
    windows = symmetric_windows(2, kernel_size, stride, padding, dilation)
    space = as_tuple(output_size, 2, "output_size", 1)
    P, K = math.prod(check_fit(windows, space, "fold")), math.prod(windows.kernel)
    if cols.shape[1] % K or cols.shape[2] != P:
        raise ValueError(
            f"fold to {space} with kernels of {windows.kernel} takes columns (N, C·{K}, {P}), "
            f"got shape {input.shape}"
        )
    y = FoldFunction.apply(cols, windows=windows, space=space)
    return y.squeeze(0) if single else y


class _Windowed(Module):
    """Base of the layers with the four sizes of windows."""

    def __init__(self, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> None:
        super().__init__()
        symmetric_windows(2, kernel_size, stride, padding, dilation)
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def extra_repr(self) -> str:
        names = ("kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class Unfold(_Windowed):
    """unfold as a layer: (N, C, H, W) to (N, C·KH·KW, P)."""

    def __init__(
        self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)

    def forward(self, input: Tensor) -> Tensor:
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Windowed):
    """fold as a layer: (N, C·KH·KW, P) to (N, C, H, W)."""

    def __init__(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        as_tuple(output_size, 2, "output_size", 1)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


def symmetric_windows(
    axes: int, kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Windows:
    """Return windows with the same padding at both ends of an axis."""
    both = as_tuple(padding, axes, "padding", 0)
    return Windows(
        as_tuple(kernel_size, axes, "kernel_size", 1),
        as_tuple(stride, axes, "stride", 1),
        as_tuple(dilation, axes, "dilation", 1),
        both,
        both,
    )


register(
    name="unfold",
    function=unfold,
    composed=unfold_composed,
    cases=(
        Case(((2, 2, 4, 3),), {"kernel_size": 2}),
        Case(((2, 2, 4, 5),), {"kernel_size": (3, 2), "padding": 1, "stride": 2}),
        Case(((2, 4, 5),), {"kernel_size": 2, "dilation": (1, 2), "padding": (0, 1)}),
        Case(((2, 3, 2, 2),), {"kernel_size": 1, "stride": 2}),
        Case(((0, 2, 3, 3),), {"kernel_size": 2}),
    ),
    errors=(
        ErrorCase(lambda: unfold(_ones(2, 3), 2), ValueError, "(N, C, H, W)"),
        ErrorCase(lambda: unfold(_ones(1, 2, 3, 3), 4), ValueError, "more than the input"),
        ErrorCase(lambda: unfold(_ones(1, 2, 3, 3), 2, stride=0), ValueError, "stride"),
        ErrorCase(lambda: unfold(_ones(1, 2, 3, 3).long(), 2), TypeError, "floating-point"),
    ),
    title="Unfold",
    torch="torch.nn.functional.unfold",
)
register(
    name="fold",
    function=fold,
    composed=fold_composed,
    cases=(
        Case(((2, 8, 6),), {"output_size": (4, 3), "kernel_size": 2}),
        Case(((2, 6, 6),), {"output_size": (4, 5), "kernel_size": (3, 2), "padding": 1, "stride": 2}),
        Case(((4, 20),), {"output_size": (5, 5), "kernel_size": 2, "dilation": (1, 2), "padding": (0, 1)}),
        Case(((1, 3, 4),), {"output_size": 4, "kernel_size": 1, "stride": 2}),
        Case(((0, 4, 4),), {"output_size": 3, "kernel_size": 2}),
    ),
    errors=(
        ErrorCase(lambda: fold(_ones(1, 8, 5), (4, 3), 2), ValueError, "got shape (1, 8, 5)"),
        ErrorCase(lambda: fold(_ones(1, 7, 6), (4, 3), 2), ValueError, "C·4, 6"),
        ErrorCase(lambda: fold(_ones(4), (4, 3), 2), ValueError, "C·KH·KW, P"),
        ErrorCase(lambda: fold(_ones(1, 8, 6), 1, 2), ValueError, "more than the input"),
    ),
    title="Fold",
    torch="torch.nn.functional.fold",
)
