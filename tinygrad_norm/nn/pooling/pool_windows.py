"""What the pools share: which windows they look through."""

from ...ops.dims import Shape
from ..windows.sliding_view import Sizes, Windows, as_tuple, check_fit


def pool_windows(
    space: Shape,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    name: str,
) -> Windows:
    """Return the windows of a pool: by default side by side, stride = kernel_size.

    With `ceil_mode` a last window may reach beyond the padding, as long as it begins inside of it or of x.

    Raises:
        ValueError: where no window fits, or one would see nothing but padding.
    """
    axes = len(space)
    kernel = as_tuple(kernel_size, axes, "kernel_size", 1)
    strides = kernel if stride is None else as_tuple(stride, axes, "stride", 1)
    dilations = as_tuple(dilation, axes, "dilation", 1)
    before = as_tuple(padding, axes, "padding", 0)
    windows = Windows(kernel, strides, dilations, before, before)
    if any(a > extent // 2 for a, extent in zip(before, windows.extent, strict=True)):
        raise ValueError(
            f"{name}: padding ({padding}) must be at most half of what a window spans {windows.extent}"
        )
    if ceil_mode:
        terms = zip(space, strides, windows.extent, before, strict=True)
        windows = windows._replace(after=tuple([_rounded_up(S, s, extent, a) for S, s, extent, a in terms]))
    check_fit(windows, space, name)
    for S, s, d, a in zip(space, strides, dilations, before, strict=True):
        if any(start % d >= S for start in range(-a, 0, s)):
            raise ValueError(
                f"{name}: with dilation {d} and padding {a}, a window steps over all {S} positions"
            )
    return windows


def _rounded_up(size: int, stride: int, extent: int, before: int) -> int:
    """Return the padding behind for which the last window is whole."""
    more = -(-(size + 2 * before - extent) // stride)
    if more * stride >= size + before:
        more -= 1
    return more * stride + extent - size - before
