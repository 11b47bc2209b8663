"""The windows of average and max pooling."""

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
    """Return the windows of a pooling; stride=None means kernel_size.

    With `ceil_mode` the last window may extend beyond the padding, but must begin in x or before it.

    Raises:
        ValueError: if no window fits, or a window would contain only padding.
    """
    axes = len(space)
    kernel = as_tuple(kernel_size, axes, "kernel_size", 1)
    strides = kernel if stride is None else as_tuple(stride, axes, "stride", 1)
    dilations = as_tuple(dilation, axes, "dilation", 1)
    before = as_tuple(padding, axes, "padding", 0)
    windows = Windows(kernel, strides, dilations, before, before)
    if any(a > extent // 2 for a, extent in zip(before, windows.extent, strict=True)):
        raise ValueError(
            f"{name}: padding ({padding}) must be at most half the extent of a window {windows.extent}"
        )
    if ceil_mode:
        terms = zip(space, strides, windows.extent, before, strict=True)
        windows = windows._replace(after=tuple([_rounded_up(S, s, extent, a) for S, s, extent, a in terms]))
    check_fit(windows, space, name)
    for S, s, d, a in zip(space, strides, dilations, before, strict=True):
        if any(start % d >= S for start in range(-a, 0, s)):
            raise ValueError(
                f"{name}: with dilation {d} and padding {a}, a window would contain only padding, "
                f"none of the {S} positions of the input: use a smaller dilation or padding"
            )
    return windows


def _rounded_up(size: int, stride: int, extent: int, before: int) -> int:
    """Return the padding after x with which the last window fits."""
    more = -(-(size + 2 * before - extent) // stride)
    if more * stride >= size + before:
        more -= 1
    return more * stride + extent - size - before
