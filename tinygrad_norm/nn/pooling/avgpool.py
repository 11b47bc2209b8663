"""Average pooling: the mean of every window.

    x (N, C, *S)   y_ncp = Σk x̄_nc(s·p + k - a) / n_p

over 1, 2 or 3 spatial axes, with kernel K, stride s and padding a as in sliding_view.py; x̄ is x, extended
by 0. n_p counts the entries of window p that are in x or its padding; without `count_include_pad` only those
in x. With `divisor_override` it is this number for all windows.

Backward, by the chain rule dL/dx_q = Σ_p dy_p·∂y_p/∂x_q: ∂y_p/∂x_q is 1/n_p if window p contains q, else 0.
If windows overlap, an entry of x gets several contributions, which add up.

    dx_ncq = Σ dy_ncp/n_p   over those k, p with s·p + k - a = q

Insight: a window is a product of intervals, so sums and counts go axis by axis: K₁ + K₂ additions for one
entry of y instead of K₁·K₂.
"""

from functools import partial
from typing import Any, ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ...backends.cuda.capture import upload
from ...module import Module
from ...ops import ones as _ones
from ...ops import ones_like
from ...ops.arguments import as_size, check_flags
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from ..windows.folding import windows_composed
from ..windows.padding import pad_composed
from ..windows.sliding_view import Sizes, Windows, as_batch, valid_range
from .pool_windows import Bounds, as_planes, bounds_inside, pool_windows, window_weights


def avg_pool_composed(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average pooling over the last `axes` from primitives: autograd finds the gradient."""
    x = input if input.ndim == axes + 2 else input.unsqueeze(0)
    windows = pool_windows(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode, "avg_pool")
    counted, sums = ones_like(x), windows_composed(x, windows).sum(2)
    if count_include_pad:
        counted = pad_composed(counted, [a for a in reversed(windows.before) for _ in "ab"], value=1)
        after = [b - a for a, b in zip(windows.before, windows.after, strict=True)]
        windows = windows._replace(before=(0,) * axes, after=tuple(after))
    y = sums / (divisor_override or windows_composed(counted, windows).sum(2))
    return y if input.ndim == axes + 2 else y.squeeze(0)


@kernel
def avg_pool_forward(x: Array, windows: Windows, weights: Array) -> Array:
    """Return y (N, C, *P): x (N, C, *S), weights (*P) with 1/n_p."""
    xp, y = namespace(x), upcast(x)
    for axis, (P, K, s, a) in enumerate(
        zip(weights.shape, windows.kernel, windows.stride, windows.before, strict=True), 2
    ):
        sums = xp.zeros((*y.shape[:axis], P, *y.shape[axis + 1 :]), y.dtype)
        for k in range(K):
            p, q = valid_range(k - a, s, y.shape[axis], P)
            sums[_along(axis, p)] += y[_along(axis, q)]
        y = sums
    y *= weights
    return downcast(y, x)


def avg_pool_forward_loop(
    x: Array,
    begin: tuple[Array, Array, Array],
    end: tuple[Array, Array, Array],
    weights: Array,
    y: Array,
    start: int,
    stop: int,
) -> None:
    """One row of windows after the other: the sum of each column, and of those of each window."""
    (b1, b2, b3), (e1, e2, e3), (_, P1, P2, P3) = begin, end, y.shape
    S3, real = x.shape[3], x.dtype.type
    column = numpy.zeros(S3)  # in float64: no sum of float32 overflows, and none loses digits
    for n in range(start, stop):
        for p1 in range(P1):
            for p2 in range(P2):
                column[:] = 0
                for q1 in range(b1[p1], e1[p1]):
                    for q2 in range(b2[p2], e2[p2]):
                        for q3 in range(S3):
                            column[q3] += x[n, q1, q2, q3]
                for p3 in range(P3):
                    s = 0.0
                    for q3 in range(b3[p3], e3[p3]):
                        s += column[q3]
                    y[n, p1, p2, p3] = real(s * weights[p1, p2, p3])


_forward_loop = Loop(avg_pool_forward_loop)


def average_over_bounds(x: Array, bounds: Bounds, weights: Array) -> Any:
    """Return y (N, C, *P) of windows with these bounds and weights (*P), by plain loops."""
    if not fits_a_loop(x):
        return NotImplemented
    planes, y = (
        plain(x).reshape(-1, *as_planes(x.shape[2:])),
        numpy.empty((*x.shape[:2], *weights.shape), x.dtype),
    )
    args = planes, bounds.begin, bounds.end, weights.reshape(bounds.counts), y.reshape(-1, *bounds.counts)
    run_over_pools(_forward_loop, x.size, len(planes), *args)
    return y


@avg_pool_forward.cpu
def avg_pool_forward_cpu(x: Array, windows: Windows, weights: Array) -> Any:
    """Every row of windows is summed from rows of x, which stay in the cache."""
    return average_over_bounds(x, bounds_inside(windows, x.shape[2:]), weights)


@kernel
def avg_pool_backward(dy: Array, shape: Shape, windows: Windows, weights: Array) -> Array:
    """Return dx of `shape` (N, C, *S)."""
    xp, dx = namespace(dy), upcast(dy) * weights
    for axis, (P, K, s, a) in enumerate(
        zip(weights.shape, windows.kernel, windows.stride, windows.before, strict=True), 2
    ):
        sums = xp.zeros((*dx.shape[:axis], shape[axis], *dx.shape[axis + 1 :]), dx.dtype)
        for k in range(K):
            p, q = valid_range(k - a, s, shape[axis], P)
            sums[_along(axis, q)] += dx[_along(axis, p)]
        dx = sums
    return downcast(dx, dy)


def avg_pool_backward_loop(
    dy: Array,
    begin: tuple[Array, Array, Array],
    end: tuple[Array, Array, Array],
    weights: Array,
    dx: Array,
    start: int,
    stop: int,
) -> None:
    """One row of windows after the other: what reaches each column, added to all its entries."""
    (b1, b2, b3), (e1, e2, e3), (_, P1, P2, P3) = begin, end, dy.shape
    S3 = dx.shape[3]
    column = numpy.empty(S3, dx.dtype)
    for n in range(start, stop):
        for p1 in range(P1):
            for p2 in range(P2):
                column[:] = 0
                for p3 in range(P3):
                    for q3 in range(b3[p3], e3[p3]):
                        column[q3] += dy[n, p1, p2, p3] * weights[p1, p2, p3]
                for q1 in range(b1[p1], e1[p1]):
                    for q2 in range(b2[p2], e2[p2]):
                        for q3 in range(S3):
                            dx[n, q1, q2, q3] += column[q3]


_backward_loop = Loop(avg_pool_backward_loop)


def spread_over_bounds(dy: Array, space: Shape, bounds: Bounds, weights: Array) -> Any:
    """Return dx (N, C, *space) for dy (N, C, *P) of windows with these bounds and weights, by plain loops."""
    if not fits_a_loop(dy):
        return NotImplemented
    dx = numpy.zeros((*dy.shape[:2], *space), dy.dtype)
    planes = dx.reshape(-1, *as_planes(space))
    split = plain(dy).reshape(len(planes), *bounds.counts)
    args = split, bounds.begin, bounds.end, weights.reshape(bounds.counts), planes
    run_over_pools(_backward_loop, dx.size, len(planes), *args)
    return dx


@avg_pool_backward.cpu
def avg_pool_backward_cpu(dy: Array, shape: Shape, windows: Windows, weights: Array) -> Any:
    """What reaches a row of x is added to it as a whole."""
    return spread_over_bounds(dy, shape[2:], bounds_inside(windows, shape[2:]), weights)


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


class AvgPoolFunction(Function):
    """y = Σ x/n over each window · dx = Σ dy/n over the windows that contain x"""

    def forward(self, x: Array, *, windows: Windows, padded: bool, divisor: int | None) -> Array:
        weights = upload(
            window_weights(windows, x.shape[2:], padded, divisor).astype(upcast(x[:0]).dtype, copy=False),
            namespace(x),
        )
        self.saved = x.shape, windows, weights
        return avg_pool_forward(x, windows, weights)

    def backward(self, dy: Array) -> Gradients:
        return avg_pool_backward(dy, *self.saved)


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of every window of (N, C, L) or (C, L); see avg_pool2d."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window.

    Args:
        input: (N, C, H, W), or (C, H, W).
        kernel_size: size of a window; here and below, an int, or one int per axis.
        stride: distance between neighbouring windows; kernel_size if None.
        padding: number of zeros added at both ends, at most half a window.
        ceil_mode: whether the last window may extend beyond the end; positions there are never counted.
        count_include_pad: whether the zeros of the padding count.
        divisor_override: number to divide the sums by, instead of the count.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong, the windows do not fit, or the divisor is 0.
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window of (N, C, D, H, W) or (C, D, H, W); see avg_pool2d."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    name = f"avg_pool{axes}d"
    check_flags(ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    x, single = as_batch(input, axes, name)
    windows = pool_windows(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode, name)
    if divisor_override is not None and as_size(divisor_override, "divisor_override", None) == 0:
        raise ValueError("divisor_override must not be 0: use None to divide by the number of entries")
    y = AvgPoolFunction.apply(x, windows=windows, padded=count_include_pad, divisor=divisor_override)
    return y.squeeze(0) if single else y


class _AvgPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        check_flags(ceil_mode=ceil_mode, count_include_pad=count_include_pad)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return _avg_pool(
            self.axes,
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """avg_pool1d as a layer: the mean of every window of (N, C, L)."""

    axes = 1

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """avg_pool2d as a layer: the mean of every window of (N, C, H, W)."""

    axes = 2


class AvgPool3d(_AvgPool):
    """avg_pool3d as a layer: the mean of every window of (N, C, D, H, W)."""

    axes = 3


register(
    name="avg_pool1d",
    function=avg_pool1d,
    composed=partial(avg_pool_composed, 1),
    cases=(
        Case(((2, 2, 5),), {"kernel_size": 2}),
        Case(((2, 6),), {"kernel_size": 3, "stride": 2, "padding": 1}),
        Case(((1, 2, 6),), {"kernel_size": 3, "stride": 4, "padding": 1, "ceil_mode": True}),
    ),
    errors=(
        ErrorCase(lambda: avg_pool1d(_ones(1, 2, 3), 4), ValueError, "more than the input"),
        ErrorCase(lambda: avg_pool1d(_ones(3), 2), ValueError, "(N, C, L)"),
    ),
    title="AvgPool1d",
    torch="torch.nn.functional.avg_pool1d",
)
register(
    name="avg_pool2d",
    function=avg_pool2d,
    composed=partial(avg_pool_composed, 2),
    cases=(
        Case(((2, 2, 4, 4),), {"kernel_size": 2}),
        Case(((2, 2, 5, 4),), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)}),
        Case(((2, 5, 4),), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        Case(((1, 2, 4, 5),), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
        Case(((1, 2, 4, 4),), {"kernel_size": 2, "stride": 1, "divisor_override": 3}),
        Case(((0, 2, 4, 4),), {"kernel_size": 2}),
    ),
    errors=(
        ErrorCase(lambda: avg_pool2d(_ones(1, 2, 3, 1), 2), ValueError, "more than the input"),
        ErrorCase(lambda: avg_pool2d(_ones(1, 2, 4, 4), 3, padding=2), ValueError, "at most half"),
        ErrorCase(lambda: avg_pool2d(_ones(1, 2, 4, 4), 2, stride=0), ValueError, "stride"),
        ErrorCase(lambda: avg_pool2d(_ones(1, 2, 4, 4), 2, divisor_override=0), ValueError, "not be 0"),
        ErrorCase(lambda: avg_pool2d(_ones(1, 2, 4, 4).long(), 2), TypeError, "floating-point"),
        ErrorCase(lambda: AvgPool2d(2)(_ones(4, 4)), ValueError, "(N, C, H, W)"),
    ),
    title="AvgPool2d",
    torch="torch.nn.functional.avg_pool2d",
    bench=(Case(((64, 32, 8, 8),), {"kernel_size": 2}),),
)
register(
    name="avg_pool3d",
    function=avg_pool3d,
    composed=partial(avg_pool_composed, 3),
    cases=(
        Case(((1, 2, 2, 3, 4),), {"kernel_size": 2}),
        Case(
            ((2, 3, 3, 2),),
            {"kernel_size": (3, 2, 1), "stride": (2, 1, 1), "padding": (1, 1, 0), "count_include_pad": False},
        ),
    ),
    errors=(ErrorCase(lambda: avg_pool3d(_ones(1, 2, 3), 2), ValueError, "(N, C, D, H, W)"),),
    title="AvgPool3d",
    torch="torch.nn.functional.avg_pool3d",
)
