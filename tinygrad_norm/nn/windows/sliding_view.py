"""Sliding windows over the last axes of x: their geometry, and a view of all windows at once.

Entry k of window p reads position

    q = s·p + d·k - a      0 <= p < P,  0 <= k < K

with stride s, dilation d, and padding of a positions before and b after, separately along every spatial
axis. The number of windows is P = ⌊(S + a + b - d·(K - 1) - 1)/s⌋ + 1.
"""

import operator
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...ops.checks import check_input
from ...ops.dims import Shape

Slices = tuple[slice, ...]

Sizes = int | Sequence[int]
"""A size, stride, padding or dilation: one int for all axes, or one int per axis."""


class Windows(NamedTuple):
    """The geometry of sliding windows, with one entry per spatial axis. Negative padding crops."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    before: Shape
    after: Shape

    @property
    def extent(self) -> Shape:
        """The number of positions that one window spans: d·(K - 1) + 1."""
        return tuple([d * (K - 1) + 1 for K, d in zip(self.kernel, self.dilation, strict=True)])

    def counts(self, space: Shape) -> Shape:
        """Return how many windows fit in `space` along each axis; less than 1 if none fits."""
        return tuple(
            [
                (S + a + b - extent) // s + 1
                for S, a, b, extent, s in zip(
                    space, self.before, self.after, self.extent, self.stride, strict=True
                )
            ]
        )

    def offsets(self) -> Iterator[Shape]:
        """Yield every k, in the order of a flattened kernel."""
        return product(*map(range, self.kernel))

    def valid_positions(self, offset: Shape, space: Shape, count: Shape) -> tuple[Slices, Slices]:
        """Return the windows p whose entry `offset` reads a position in `space`, and these positions q."""
        pairs = [
            valid_range(d * k - a, s, S, P)
            for k, s, d, a, S, P in zip(
                offset, self.stride, self.dilation, self.before, space, count, strict=True
            )
        ]
        return tuple([p for p, _ in pairs]), tuple([q for _, q in pairs])


def valid_range(shift: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """Return the p in [0, count) with q = stride·p + shift in [0, size), and these q."""
    first = max(0, -(shift // stride))
    last = max(first, min(count, (size - 1 - shift) // stride + 1))
    start = stride * first + shift
    return slice(first, last), slice(start, max(start, stride * (last - 1) + shift + 1), stride)


def window_view(x: Array, windows: Windows, count: Shape, axis: int) -> Array:
    """Return the view (..., *K, *P, ...) of x (..., *S, ...), whose spatial axes begin at `axis`.

    x must be padded already: window 0 starts at its first position.
    """
    shape, strides, end = x.shape, x.strides, axis + len(count)
    steps = strides[axis:end]
    within = [step * d for step, d in zip(steps, windows.dilation, strict=True)]
    between = [step * s for step, s in zip(steps, windows.stride, strict=True)]
    return namespace(x).lib.stride_tricks.as_strided(
        x,
        (*shape[:axis], *windows.kernel, *count, *shape[end:]),
        (*strides[:axis], *within, *between, *strides[end:]),
    )


def fold_windows(cols: Array, windows: Windows, space: Shape, axis: int) -> Array:
    """Return x (..., *S, ...), to which each entry of cols (..., *K, *P, ...) is added where it was read.

    This is the adjoint of `window_view`. Entries in the padding are dropped. The kernel axes begin at `axis`.
    """
    lead, count = cols.shape[:axis], cols.shape[axis + len(space) : axis + 2 * len(space)]
    x = namespace(cols).zeros((*lead, *space, *cols.shape[axis + 2 * len(space) :]), cols.dtype)
    everything = (slice(None),) * axis
    for offset in windows.offsets():
        p, q = windows.valid_positions(offset, space, count)
        x[everything + q] += cols[everything + offset + p]
    return x


def as_tuple(value: Sizes, axes: int, name: str, least: int) -> Shape:
    """Return one int per spatial axis, each at least `least`; a single int is used for every axis.

    Raises:
        TypeError: unless `value` is an int or a sequence of ints.
        ValueError: if their number is wrong, or an int is less than `least`.
    """
    if type(value) is int and value >= least:
        return (value,) * axes
    parts: tuple[Any, ...] = tuple(value) if isinstance(value, Sequence) else (value,)
    try:
        parts = tuple([operator.index(part) for part in parts])
    except TypeError:
        raise TypeError(f"{name} must be an int or {axes} ints, got {value!r}") from None
    parts = parts * axes if len(parts) == 1 else parts
    if len(parts) != axes:
        raise ValueError(f"{name} must be an int or {axes} ints, got {value!r}")
    if any(part < least for part in parts):
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return parts


def conv_windows(kernel: Shape, stride: Sizes, padding: Sizes | str, dilation: Sizes) -> Windows:
    """Return the windows of a convolution; `padding` is a size, "valid" or "same"."""
    axes = len(kernel)
    strides = as_tuple(stride, axes, "stride", 1)
    dilations = as_tuple(dilation, axes, "dilation", 1)
    before, after = paddings(kernel, padding, dilations)
    if padding == "same" and max(strides) > 1:
        raise ValueError(f"padding='same' keeps the size only with stride 1, got stride {stride}")
    return Windows(kernel, strides, dilations, before, after)


def paddings(kernel: Shape, padding: Sizes | str, dilation: Shape) -> tuple[Shape, Shape]:
    """Return the numbers of positions that `padding` adds before and after each axis."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be an int, a tuple of them, 'same' or 'valid', got {padding!r}")
        whole = [d * (K - 1) if padding == "same" else 0 for K, d in zip(kernel, dilation, strict=True)]
        return tuple([a // 2 for a in whole]), tuple([a - a // 2 for a in whole])
    both = as_tuple(padding, len(kernel), "padding", 0)
    return both, both


def check_fit(windows: Windows, space: Shape, name: str) -> Shape:
    """Return how many windows fit in `space` along each axis; raise ValueError if none fits."""
    count = windows.counts(space)
    if min(count) < 1:
        padding = f" with padding {windows.before}" if any(windows.before) else ""
        raise ValueError(
            f"{name}: a kernel of {windows.kernel} with dilation {windows.dilation} spans {windows.extent}, "
            f"more than the input of {space}{padding}: use a smaller kernel, or more padding"
        )
    return count


def as_batch(input: Tensor, axes: int, name: str, shape: str = "") -> tuple[Tensor, bool]:
    """Return the input (N, C, *S), and whether it had no batch axis: then one is added, of size 1.

    `shape` names the axes after N in the error message.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong.
    """
    check_input(input, name)
    if input.ndim not in (axes + 1, axes + 2):
        shape = shape or ("C, L", "C, H, W", "C, D, H, W")[axes - 1]
        raise ValueError(f"{name} takes x (N, {shape}) or ({shape}), got shape {input.shape}")
    single = input.ndim == axes + 1
    return (input.unsqueeze(0) if single else input), single
