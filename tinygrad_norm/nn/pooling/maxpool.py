"""Max pooling: the largest entry of every window.

    x (N, C, *S)   y_ncp = x_nc(q*)      q* = argmax over k of x_nc(s·p + d·k - a), inside of x

over 1, 2 or 3 spatial axes, with kernel K, stride s, dilation d and padding a as in sliding_view.py. Padding
is never the largest.

Backward, by the chain rule dL/dx_q = Σ_p dy_p·∂y_p/∂x_q: y_p is a copy of x_q*, so ∂y_p/∂x_q is 1 if
q = q*(p), else 0. If windows overlap, one entry may get several contributions, which add up.

    dx_ncq = Σ dy_ncp   over those p with q*(p) = q

Of equal entries the first one is taken, in the order of the flattened window. NaN counts as larger than any
number; of several NaN the last one is taken.

Insight: the positions q* are all that backward needs to know of x. Moving any other entry a little changes
nothing: y is a copy of a part of x, and only that part learns.
"""

import math
from functools import partial
from typing import Any, ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ...backends.cuda.launch import CudaSource, contiguous
from ...module import Module
from ...ops import ones as _ones
from ...ops.arguments import check_flags
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, distinct, register
from ..windows.folding import windows_composed
from ..windows.sliding_view import Sizes, Windows, as_batch
from .pool_windows import Bounds, as_planes, bounds_inside, pool_windows

_kernels = CudaSource(__file__)


def max_pool_composed(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Max pooling over the last `axes` from primitives: autograd finds the gradient."""
    x = input if input.ndim == axes + 2 else input.unsqueeze(0)
    windows = pool_windows(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode, "max_pool")
    y = windows_composed(x, windows, -math.inf).amax(2)
    return y if input.ndim == axes + 2 else y.squeeze(0)


@kernel
def max_pool_forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Return y (N, C, *P) and the positions of its entries in the flattened *S: x (N, C, *S)."""
    xp, space = namespace(x), x.shape[2:]
    count = windows.counts(space)
    steps = [math.prod(space[axis + 1 :]) for axis in range(len(space))]
    # index counts from the begin of the window; initially it is the window's first entry inside of x.
    begin, index = 0, 0
    for axis, (P, s, d, a, step) in enumerate(
        zip(count, windows.stride, windows.dilation, windows.before, steps, strict=True)
    ):
        along = (xp.arange(P) * s - a).reshape(-1, *(1,) * (len(space) - axis - 1))
        begin = begin + along * step
        index = index + xp.where(along < 0, along % d - along, 0) * step
    y = xp.full((*x.shape[:2], *count), -math.inf, x.dtype)
    index = xp.broadcast_to(index, y.shape).copy()
    for offset in windows.offsets():
        p, q = windows.valid_positions(offset, space, count)
        entries, maxima = xp.ascontiguousarray(x[(..., *q)]), y[(..., *p)]
        larger = entries > maxima
        larger |= entries != entries
        xp.maximum(maxima, entries, out=maxima)
        jump = sum(d * k * step for d, k, step in zip(windows.dilation, offset, steps, strict=True))
        xp.copyto(index[(..., *p)], jump, where=larger)
    index += begin
    return y, index


@helper
def is_larger(v: float, q: int, largest: float, at: int) -> bool:
    """Return whether v at q is taken before `largest` at `at`: larger, equal and first, or NaN and last."""
    return (v > largest) | ((v == largest) & (q < at)) | ((v != v) & ((largest == largest) | (q > at)))


def max_pool_forward_loop(
    x: Array,
    begin: tuple[Array, Array, Array],
    end: tuple[Array, Array, Array],
    step: tuple[int, int, int],
    y: Array,
    index: Array,
    start: int,
    stop: int,
) -> None:
    """One row of windows after the other: the largest entry of each column, and of those of each window."""
    (b1, b2, b3), (e1, e2, e3), (d1, d2, d3) = begin, end, step
    (_, _, S2, S3), (_, P1, P2, P3), int32 = x.shape, y.shape, numpy.int32
    largest_of, at_of = numpy.empty(S3, x.dtype), numpy.empty(S3, int32)
    for n in range(start, stop):
        for p1 in range(P1):
            for p2 in range(P2):
                first = (b1[p1] * S2 + b2[p2]) * S3
                for q3 in range(S3):
                    largest_of[q3], at_of[q3] = -numpy.inf, first + q3
                for q1 in range(b1[p1], e1[p1], d1):
                    for q2 in range(b2[p2], e2[p2], d2):
                        row = int32((q1 * S2 + q2) * S3)
                        for q3 in range(S3):
                            v = x[n, q1, q2, q3]
                            larger = (v > largest_of[q3]) | (v != v)
                            largest_of[q3] = v if larger else largest_of[q3]
                            at_of[q3] = row + int32(q3) if larger else at_of[q3]
                for p3 in range(P3):
                    largest, at = largest_of[b3[p3]], at_of[b3[p3]]
                    q3 = b3[p3] + d3
                    while q3 < e3[p3]:  # range with a step would divide, to count
                        v, q = largest_of[q3], at_of[q3]
                        larger = is_larger(v, q, largest, at)
                        largest = v if larger else largest
                        at = q if larger else at
                        q3 += d3
                    y[n, p1, p2, p3], index[n, p1, p2, p3] = largest, at


_forward_loop = Loop(max_pool_forward_loop)


def max_over_bounds(x: Array, bounds: Bounds, count: Shape) -> Any:
    """Return y (N, C, *count) and its positions, of windows with these bounds, by plain loops."""
    if not fits_a_loop(x) or math.prod(x.shape[2:]) > numpy.iinfo(numpy.int32).max:
        return NotImplemented
    planes = plain(x).reshape(-1, *as_planes(x.shape[2:]))
    y = numpy.empty((*x.shape[:2], *count), x.dtype)
    index = numpy.empty(y.shape, numpy.int64)
    split = len(planes), *bounds.counts
    run_over_pools(
        _forward_loop, x.size, len(planes), planes, *bounds, y.reshape(split), index.reshape(split)
    )
    return y, index


@max_pool_forward.cpu
def max_pool_forward_cpu(x: Array, windows: Windows) -> Any:
    """Every row of windows is found in rows of x, which stay in the cache."""
    bounds = bounds_inside(windows, x.shape[2:])
    return max_over_bounds(x, bounds, bounds.counts[5 - x.ndim :])


@max_pool_forward.cuda
def max_pool_forward_cuda(x: Array, windows: Windows) -> Any:
    """One launch: a thread has a window."""
    xp, (*lead, S1, S2, S3) = namespace(x), (*x.shape[:2], *as_planes(x.shape[2:]))
    count = windows.counts(x.shape[2:])
    shape, planes = (*lead, *count), as_planes(count)
    if max(S1 * S2 * S3, math.prod(count)) > _MOST_PLACES or not math.prod(shape):
        return max_pool_forward.numpy_version(x, windows)
    y, index, (x,) = xp.empty(shape, x.dtype), xp.empty(shape, numpy.int64), contiguous(x)
    spans = (*as_planes(windows.extent), *as_planes(windows.stride), *as_planes(windows.dilation))
    before = (0,) * (3 - len(count)) + windows.before
    args = x, y, index, y.size, S1, S2, S3, *planes, *spans, *before
    _kernels.launch("max_pool_forward", x.dtype, (), -(-y.size // 256), 256, args)
    return y, index


_MOST_PLACES = 1 << 30  # whose positions, and those a little outside, have 32 bits


@kernel
def max_pool_backward(dy: Array, index: Array, shape: Shape, overlapping: bool) -> Array:
    """Return dx of `shape` (N, C, *S); `overlapping` tells whether `index` may contain a position twice."""
    xp, places = namespace(dy), math.prod(shape[2:])
    first = xp.arange(0, math.prod(shape), places).reshape(*shape[:2], *(1,) * (index.ndim - 2))
    positions = (index + first).reshape(-1)
    dx = xp.zeros(math.prod(shape), upcast(dy[:0]).dtype)
    if overlapping:
        xp.add.at(dx, positions, upcast(dy).reshape(-1))
    else:
        dx[positions] = dy.reshape(-1)
    return downcast(dx, dy).reshape(shape)


def max_pool_backward_loop(dy: Array, index: Array, dx: Array, start: int, stop: int) -> None:
    """One entry of y after the other, in the order of y."""
    zero = dx.dtype.type(0)
    for n in range(start, stop):
        for q in range(dx.shape[1]):
            dx[n, q] = zero
        for p in range(dy.shape[1]):
            dx[n, index[n, p]] += dy[n, p]


_backward_loop = Loop(max_pool_backward_loop)


@max_pool_backward.cpu
def max_pool_backward_cpu(dy: Array, index: Array, shape: Shape, overlapping: bool) -> Any:
    """dy is added where the largest entries were."""
    if not fits_a_loop(dy):
        return NotImplemented
    dx, planes = numpy.empty(shape, dy.dtype), shape[0] * shape[1]
    flat = [a.reshape(planes, -1) for a in (plain(dy), plain(index), dx)]
    run_over_pools(_backward_loop, dx.size, planes, *flat)
    return dx


class MaxPoolFunction(Function):
    """y = the largest x_q in each window, at q* · dx_q = Σ dy over those windows with q* = q"""

    constants = (1,)

    def forward(self, x: Array, *, windows: Windows, indices: bool) -> Array | tuple[Array, Array]:
        y, index = max_pool_forward(x, windows)
        overlapping = any(s < extent for s, extent in zip(windows.stride, windows.extent, strict=True))
        self.saved = index, x.shape, overlapping
        return (y, index.copy()) if indices else y  # a copy: the caller may modify it

    def backward(self, dy: Array, _: Array | None = None) -> Gradients:
        return max_pool_backward(dy, *self.saved)


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest entry of every window of (N, C, L) or (C, L); see max_pool2d."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest entry of every window.

    Args:
        input: (N, C, H, W), or (C, H, W).
        kernel_size: size of a window; here and below, an int, or one int per axis.
        stride: distance between neighbouring windows; kernel_size if None.
        padding: number of positions added at both ends, which are never the largest; at most half a window.
        dilation: distance between neighbouring entries of a window.
        ceil_mode: whether the last window may extend beyond the end.
        return_indices: whether to return the int64 positions of the entries in the flattened (H, W) too.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong, or the windows do not fit or contain only padding.
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest entry of every window of (N, C, D, H, W) or (C, D, H, W); see max_pool2d."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{axes}d"
    check_flags(ceil_mode=ceil_mode, return_indices=return_indices)
    x, single = as_batch(input, axes, name)
    windows = pool_windows(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode, name)
    result = MaxPoolFunction.apply(x, windows=windows, indices=return_indices)
    if not single:
        return result
    return tuple(part.squeeze(0) for part in result) if return_indices else result.squeeze(0)


class _MaxPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        check_flags(return_indices=return_indices, ceil_mode=ceil_mode)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return _max_pool(
            self.axes,
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """max_pool1d as a layer: the largest entry of every window of (N, C, L)."""

    axes = 1


class MaxPool2d(_MaxPool):
    """max_pool2d as a layer: the largest entry of every window of (N, C, H, W)."""

    axes = 2


class MaxPool3d(_MaxPool):
    """max_pool3d as a layer: the largest entry of every window of (N, C, D, H, W)."""

    axes = 3


register(
    name="max_pool1d",
    function=max_pool1d,
    composed=partial(max_pool_composed, 1),
    cases=(
        Case((distinct(2, 2, 5),), {"kernel_size": 2}),
        Case((distinct(2, 6),), {"kernel_size": 3, "stride": 2, "padding": 1}),
        Case((distinct(1, 2, 7),), {"kernel_size": 2, "stride": 1, "dilation": 3, "padding": 1}),
        Case((distinct(1, 2, 6),), {"kernel_size": 3, "stride": 4, "ceil_mode": True}),
    ),
    errors=(
        ErrorCase(lambda: max_pool1d(_ones(1, 2, 3), 4), ValueError, "more than the input"),
        ErrorCase(lambda: max_pool1d(_ones(1, 1, 1), 2, 1, 2, 3), ValueError, "only padding"),
        ErrorCase(lambda: max_pool1d(_ones(3), 2), ValueError, "(N, C, L)"),
    ),
    title="MaxPool1d",
    torch="torch.nn.functional.max_pool1d",
)
register(
    name="max_pool2d",
    function=max_pool2d,
    composed=partial(max_pool_composed, 2),
    cases=(
        Case((distinct(2, 2, 4, 4),), {"kernel_size": 2}),
        Case((distinct(2, 2, 5, 4),), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)}),
        Case((distinct(1, 2, 5, 5),), {"kernel_size": 2, "stride": 3, "dilation": (1, 2)}),
        Case((distinct(2, 5, 4),), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
        Case((distinct(0, 2, 4, 4),), {"kernel_size": 2}),
    ),
    errors=(
        ErrorCase(lambda: max_pool2d(_ones(1, 2, 3, 1), 2), ValueError, "more than the input"),
        ErrorCase(lambda: max_pool2d(_ones(1, 2, 4, 4), 2, padding=2), ValueError, "at most half"),
        ErrorCase(lambda: max_pool2d(_ones(1, 2, 4, 4), 2, stride=0), ValueError, "stride"),
        ErrorCase(lambda: max_pool2d(_ones(1, 2, 4, 4), (2, 2, 2)), ValueError, "kernel_size"),
        ErrorCase(lambda: max_pool2d(_ones(1, 2, 4, 4).long(), 2), TypeError, "floating-point"),
        ErrorCase(lambda: max_pool2d([[1.0]], 1), TypeError, "Tensor"),  # type: ignore[arg-type]
        ErrorCase(lambda: MaxPool2d(2)(_ones(4, 4)), ValueError, "(N, C, H, W)"),
    ),
    title="MaxPool2d",
    torch="torch.nn.functional.max_pool2d",
    bench=(Case((distinct(64, 32, 8, 8),), {"kernel_size": 2}),),
)
register(
    name="max_pool3d",
    function=max_pool3d,
    composed=partial(max_pool_composed, 3),
    cases=(
        Case((distinct(1, 2, 2, 3, 4),), {"kernel_size": 2}),
        Case((distinct(2, 3, 3, 2),), {"kernel_size": (3, 2, 1), "stride": (2, 1, 1), "padding": (1, 1, 0)}),
    ),
    errors=(ErrorCase(lambda: max_pool3d(_ones(1, 2, 3), 2), ValueError, "(N, C, D, H, W)"),),
    title="MaxPool3d",
    torch="torch.nn.functional.max_pool3d",
)
