"""Padding: extend x at both ends of its axes, or crop it by a negative width.

    y_j = x_i(j)   j = -before ... S + after - 1, separately along every axis

    mode        outside of x          for x = 0 1 2 3
    constant    a value               v v | 0 1 2 3 | v v
    reflect     mirrored at the ends  2 1 | 0 1 2 3 | 2 1
    replicate   the nearest entry     0 0 | 0 1 2 3 | 3 3
    circular    from the other end    2 3 | 0 1 2 3 | 0 1

Backward, by the chain rule dL/dx_i = Σ_j dy_j·∂y_j/∂x_i. ∂y_j/∂x_i is 1 if y_j is a copy of x_i, else 0, so
the gradients of all copies add up; an entry that was cropped gets 0.

    dx_i = Σ dy_j   over those j with i(j) = i
"""

from collections.abc import Sequence

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.capture import upload
from ...ops import cat, full
from ...ops import ones as _ones
from ...ops.dims import Shape, as_shape
from ...ops.operands import as_tensor
from ...registry import Case, ErrorCase, register

Widths = tuple[tuple[int, int], ...]
Slices = tuple[slice, ...]


def pad_composed(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Padding from primitives, axis by axis: autograd finds the gradient."""
    for axis, (before, after) in enumerate(pad_widths(input.shape, pad)):
        along = (slice(None),) * axis
        if mode != "constant":
            input = input[(*along, _sources(mode, input.shape[axis], before, after))]
            continue
        kept = input[(*along, slice(max(0, -before), input.shape[axis] - max(0, -after)))]
        sides = [(*input.shape[:axis], max(0, width), *input.shape[axis + 1 :]) for width in (before, after)]
        front, back = [full(shape, value or 0, dtype=input.dtype) for shape in sides]
        input = cat([front, kept, back], axis)
    return input


@kernel
def pad_forward(x: Array, widths: Widths, mode: str, value: float) -> Array:
    """Return y: x padded by `widths`, (before, after) for each axis."""
    xp = namespace(x)
    if mode == "constant":
        y = xp.full([S + sum(width) for S, width in zip(x.shape, widths, strict=True)], value, x.dtype)
        inside, kept = overlap(x.shape, widths)
        y[inside] = x[kept]
        return y
    y = x.copy()
    for axis, (before, after) in enumerate(widths):
        if before or after:
            y = y.take(upload(_sources(mode, x.shape[axis], before, after), xp), axis)
    return y


@kernel
def pad_backward(dy: Array, shape: Shape, widths: Widths, mode: str) -> Array:
    """Return dx of `shape`."""
    xp = namespace(dy)
    if mode == "constant":
        dx = xp.zeros(shape, dy.dtype)
        inside, kept = overlap(shape, widths)
        dx[kept] = dy[inside]
        return dx
    dx = upcast(dy)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            dx = _sum_copies(dx, axis, shape[axis], before, after, _sources(mode, shape[axis], before, after))
    return downcast(dx, dy)


def _sum_copies(dy: Array, axis: int, size: int, before: int, after: int, sources: numpy.ndarray) -> Array:
    """Return dx, of length `size` along `axis`: each slice dy_j is added to the slice `sources[j]`."""
    xp = namespace(dy)
    dx = xp.zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
    copies, sums = xp.moveaxis(dy, axis, 0), xp.moveaxis(dx, axis, 0)
    outside: Sequence[int] = range(len(copies))
    if max(0, -before) + max(0, -after) < size:  # some of x is kept
        (inside,), (kept,) = overlap((size,), ((before, after),))
        sums[kept] = copies[inside]
        outside = (*outside[: inside.start], *outside[inside.stop :])
    for j in outside:
        sums[int(sources[j])] += copies[j]
    return dx


def overlap(shape: Shape, widths: Widths) -> tuple[Slices, Slices]:
    """Return the part of y that is copied from x of `shape`, and the part of x that is kept."""
    kept = [slice(max(0, -a), S - max(0, -b)) for S, (a, b) in zip(shape, widths, strict=True)]
    inside = [slice(i.start + a, i.stop + a) for i, (a, _) in zip(kept, widths, strict=True)]
    return tuple(inside), tuple(kept)


def _sources(mode: str, size: int, before: int, after: int) -> numpy.ndarray:
    """Return i(j) for every j."""
    j = numpy.arange(-before, size + after)
    if mode == "replicate":
        return j.clip(0, size - 1)
    if mode == "reflect":
        last = size - 1
        return last - abs(last - abs(j))
    (first,) = overlap((size,), ((before, after),))[1]
    return first.start + (j - first.start) % max(1, first.stop - first.start)


class PadFunction(Function):
    """y_j = x_i(j), or a value outside of x · dx_i = Σ dy_j over all j with i(j) = i"""

    def forward(self, x: Array, *, widths: Widths, mode: str, value: float) -> Array:
        self.saved = x.shape, widths, mode
        return pad_forward(x, widths, mode, value)

    def backward(self, dy: Array) -> Gradients:
        return pad_backward(dy, *self.saved)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Return input with its last axes padded; a negative width crops.

    Args:
        input: (..., S).
        pad: numbers of positions to add before and after the last axis, then the second to last, and so on.
        mode: "constant", "reflect" (fewer than S positions), "replicate", or "circular" (at most S).
            The first two crop what they have padded: with (-4, 5), replicate gives 5 copies of the last entry
            of 4.
        value: the number that "constant" fills in; None for 0.

    Raises:
        ValueError: if the mode is unknown, a value is given with another mode than "constant", the number
            of widths is odd or too large, the input is too short for the mode and a width, or the widths
            crop more than the input.
    """
    x = as_tensor(input)
    widths = pad_widths(x.shape, pad)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f"mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if mode != "constant" and value:
        raise ValueError(
            f"value={value} has no effect with mode={mode!r}: use mode='constant', or leave value out"
        )
    for axis, (before, after) in enumerate(widths):
        if before or after:
            _check_sources(mode, x.shape, axis, before, after)
    return PadFunction.apply(x, widths=widths, mode=mode, value=value or 0)


def pad_widths(shape: Shape, pad: Sequence[int]) -> Widths:
    """Return (before, after) for every axis, from the flat argument of `pad`, last axis first."""
    flat = as_shape(pad, "pad")
    if len(flat) % 2 or len(flat) > 2 * len(shape):
        raise ValueError(
            f"pad takes two widths per axis, last axis first, at most {2 * len(shape)} for an input of "
            f"shape {shape}: got {len(flat)}"
        )
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return ((0, 0),) * (len(shape) - len(pairs)) + tuple(reversed(pairs))


def _check_sources(mode: str, shape: Shape, axis: int, before: int, after: int) -> None:
    size = shape[axis]
    kept = size - max(0, -before) - max(0, -after)
    if mode == "constant":
        if kept < 0:
            raise ValueError(f"pad ({before}, {after}) crops more than the {size} positions of axis {axis}")
        return
    most = {"reflect": size - 1, "replicate": max(before, after), "circular": kept}[mode]
    reason = ""
    if size == 0 or (kept < 1 and mode == "circular"):
        reason = "nothing would be left to copy from"
    elif max(before, after) > most:
        reason = f"it can add at most {most} at each end"
    elif size + before + after < 1:
        reason = "it crops all of them"
    if reason:
        raise ValueError(
            f"pad ({before}, {after}) with mode={mode!r} on axis {axis} of {size} positions: {reason}"
        )


register(
    name="pad",
    function=pad,
    composed=pad_composed,
    cases=(
        Case(((2, 3),), {"pad": (1, 2)}),
        Case(((2, 3, 4),), {"pad": (2, -1, 0, 1), "value": 1.5}),
        Case(((2, 3, 4),), {"pad": (0, 0, 1, 0, 0, 2)}),
        Case(((2, 3),), {"pad": ()}),
        Case(((3, 4),), {"pad": (3, 2), "mode": "reflect"}),
        Case(((1, 3, 4),), {"pad": (-1, 2), "mode": "reflect"}),
        Case(((2, 1, 3, 4),), {"pad": (2, 3, 1, 2), "mode": "reflect"}),
        Case(((3, 4),), {"pad": (2, 6), "mode": "replicate"}),
        Case(((2, 3, 4),), {"pad": (2, -1, -1, 1), "mode": "replicate"}),
        Case(((2, 3, 4),), {"pad": (-4, 5, 3, -5), "mode": "replicate"}),
        Case(((2, 1, 3, 4),), {"pad": (-4, 3, 2, -4), "mode": "reflect"}),
        Case(((3, 4),), {"pad": (4, 3), "mode": "circular"}),
        Case(((3, 4),), {"pad": (-1, 2), "mode": "circular"}),
        Case(((2, 1, 3, 2, 2),), {"pad": (1, 2, 0, 1, 2, -1), "mode": "circular"}),
        Case(((0, 3),), {"pad": (1, 1)}),
        Case(((0, 2, 3),), {"pad": (1, 2), "mode": "reflect"}),
    ),
    errors=(
        ErrorCase(lambda: pad(_ones(2, 3), (1, 2, 3)), ValueError, "two widths per axis"),
        ErrorCase(lambda: pad(_ones(3), (1, 2, 3, 4)), ValueError, "at most 2"),
        ErrorCase(lambda: pad(_ones(2, 3), (-2, -2)), ValueError, "crops more"),
        ErrorCase(lambda: pad(_ones(2, 3), (3, 0), "reflect"), ValueError, "at most 2"),
        ErrorCase(lambda: pad(_ones(2, 3), (0, 4), "circular"), ValueError, "at most 3"),
        ErrorCase(lambda: pad(_ones(2, 0), (0, 1), "replicate"), ValueError, "nothing would be left"),
        ErrorCase(lambda: pad(_ones(2, 3), (-3, 0), "replicate"), ValueError, "crops all"),
        ErrorCase(lambda: pad(_ones(2, 3), (1, 1), "mirror"), ValueError, "mode must be"),
        ErrorCase(lambda: pad(_ones(2, 3), (1, 1), "reflect", 1.0), ValueError, "no effect"),
        ErrorCase(lambda: pad(_ones(2, 3), (1, 0.5)), TypeError, "pad"),  # type: ignore[arg-type]
    ),
    title="Padding",
    torch="torch.nn.functional.pad",
)
