"""Adaptive pooling: a given number of evenly spaced windows over an input of any size.

    x (N, C, *S)   y (N, C, *P)      window p: ⌊p·S/P⌋ <= q < ⌈(p + 1)·S/P⌉, n_p entries, along every axis

Neighbouring windows overlap if P does not divide S. Average and maximum are defined as in avgpool.py and
maxpool.py.

Backward of the average, which is linear and computed axis by axis: A (P, S) has the entry 1/n_p if window p
contains q, else 0. By the chain rule, dx_q = Σ_p dy_p·∂y_p/∂x_q = Σ_p A_pq·dy_p.

    y = A₁ @ x @ A₂ᵀ      dx = A₁ᵀ @ dy @ A₂      for two axes, and likewise for one or three

These products are the fastest way. But 0·∞ is NaN, so one infinity or NaN would reach all windows. If the
result or dy contains one, each window is summed by itself instead; on a GPU always, because the host would
have to wait to look. Both directions are sums over runs of neighbours: dx_q sums dy_p/n_p over the windows p
that contain q.

Backward of the maximum: dy_p goes to the largest entry of its window: the first of equal ones, the last NaN.

Insight: P = 1 is the mean over all positions (Lin, Chen, Yan 2013, arXiv:1312.4400), which lets a network of
convolutions end in a layer of fixed size, whatever the size of the image.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, host_can_read, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.capture import upload
from ...module import Module
from ...ops import ones as _ones
from ...ops import stack
from ...ops.arguments import check_flags
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, distinct, register
from ..windows.sliding_view import as_batch, as_tuple
from .avgpool import average_over_bounds, spread_over_bounds
from .maxpool import max_over_bounds, max_pool_backward
from .pool_windows import adaptive_bounds, adaptive_windows

Sizes = int | None | tuple[int | None, ...] | list[int | None]


def adaptive_avg_pool_composed(axes: int, input: Tensor, output_size: Sizes) -> Tensor:
    """Adaptive average pooling over the last `axes` from primitives: window by window."""
    for axis, (S, P) in enumerate(_sizes(axes, input, output_size), input.ndim - axes):
        parts = [input[(slice(None),) * axis + (slice(a, b),)].mean(axis) for a, b in adaptive_windows(S, P)]
        input = stack(parts, axis)
    return input


def adaptive_max_pool_composed(axes: int, input: Tensor, output_size: Sizes) -> Tensor:
    """Adaptive max pooling over the last `axes` from primitives: window by window."""
    for axis, (S, P) in enumerate(_sizes(axes, input, output_size), input.ndim - axes):
        parts = [input[(slice(None),) * axis + (slice(a, b),)].amax(axis) for a, b in adaptive_windows(S, P)]
        input = stack(parts, axis)
    return input


def _sizes(axes: int, input: Tensor, output_size: Sizes) -> list[tuple[int, int]]:
    space = input.shape[-axes:]
    return list(zip(space, output_sizes(output_size, space), strict=True))


@kernel
def adaptive_avg_pool_forward(x: Array, count: Shape) -> Array:
    """Return y (N, C, *P): x (N, C, *S)."""
    upcast_x = y = upcast(x)
    if not host_can_read(x):
        return downcast(_forward_by_window(upcast_x, count), x)
    for axis in range(x.ndim - 1, 1, -1):
        y = _multiply_along(averaging_matrix(y, x.shape[axis], count[axis - 2]), y, axis)
    if not _known_finite(y):
        y = _forward_by_window(upcast_x, count)
    return downcast(y, x)


@adaptive_avg_pool_forward.cpu
def adaptive_avg_pool_forward_cpu(x: Array, count: Shape) -> Any:
    """The loop of avg_pool, over windows of several sizes."""
    return average_over_bounds(x, *adaptive_bounds(x.shape[2:], count, x.dtype))


def _known_finite(x: Array) -> bool:
    """Return whether all of x is known to be finite; on a GPU the host would have to wait for x."""
    return host_can_read(x) and bool(namespace(x).isfinite(x).all())


def _forward_by_window(x: Array, count: Shape) -> Array:
    for axis, P in enumerate(count, 2):
        windows = numpy.array(adaptive_windows(x.shape[axis], P))
        x = _sum_runs(x, axis, windows) / _along(numpy.diff(windows)[:, 0], x, axis)
    return x


def _sum_runs(x: Array, axis: int, runs: numpy.ndarray) -> Array:
    """Return the sums of x over runs [begin, end) along `axis`, one for each row of `runs`."""
    xp, (begin, end) = namespace(x), runs.T[..., None]
    places = begin + numpy.arange((end - begin).max())
    parts = x[(slice(None),) * axis + (upload(numpy.minimum(places, end - 1), xp),)]
    inside = upload((places < end).reshape(*places.shape, *(1,) * (x.ndim - axis - 1)), xp)
    return xp.where(inside, parts, 0).sum(axis + 1)


def _along(values: numpy.ndarray, x: Array, axis: int) -> Array:
    """Return `values` on the device and in the dtype of x, to be broadcast along `axis`."""
    return upload(values.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1)), namespace(x))


@kernel
def adaptive_avg_pool_backward(dy: Array, space: Shape) -> Array:
    """Return dx (N, C, *S): dy (N, C, *P)."""
    dx = upcast(dy)
    if not _known_finite(dy):
        return downcast(_backward_by_window(dx, space), dy)
    for axis in range(2, dy.ndim):
        dx = _multiply_along(averaging_matrix(dx, space[axis - 2], dy.shape[axis]).T, dx, axis)
    return downcast(dx, dy)


@adaptive_avg_pool_backward.cpu
def adaptive_avg_pool_backward_cpu(dy: Array, space: Shape) -> Any:
    """The loop of avg_pool, over windows of several sizes."""
    return spread_over_bounds(dy, space, *adaptive_bounds(space, dy.shape[2:], dy.dtype))


def _backward_by_window(dy: Array, space: Shape) -> Array:
    for axis, S in enumerate(space, 2):
        windows = numpy.array(adaptive_windows(S, dy.shape[axis]))
        contain = (windows[:, :1] <= numpy.arange(S)) & (numpy.arange(S) < windows[:, 1:])
        first = contain.argmax(0)  # the windows that contain q are neighbours
        runs = numpy.stack((first, first + contain.sum(0)), 1)
        dy = _sum_runs(dy / _along(numpy.diff(windows)[:, 0], dy, axis), axis, runs)
    return dy


def averaging_matrix(like: Array, size: int, count: int) -> Array:
    """Return A (P, S), with the array type and the dtype of `like`."""
    A = numpy.zeros((count, size))
    for p, (begin, end) in enumerate(adaptive_windows(size, count)):
        A[p, begin:end] = 1 / (end - begin)
    return namespace(like).asarray(A, like.dtype)


def _multiply_along(A: Array, x: Array, axis: int) -> Array:
    """Return A @ x along `axis`."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if not after:
        return (x.reshape(math.prod(before), x.shape[axis]) @ A.T).reshape(*before, len(A))
    rows = x.reshape(math.prod(before), x.shape[axis], math.prod(after))
    return (A @ rows).reshape(*before, len(A), *after)


@kernel
def adaptive_max_pool_forward(x: Array, count: Shape) -> tuple[Array, Array]:
    """Return y (N, C, *P) and the positions of its entries in the flattened *S: x (N, C, *S)."""
    xp, axes = namespace(x), len(count)
    positions = numpy.zeros((1,) * 2 * axes, int)
    for axis, (S, P) in enumerate(zip(x.shape[2:], count, strict=True)):
        begin, end = numpy.array(adaptive_windows(S, P)).T[..., None]
        within = numpy.minimum(begin + numpy.arange((end - begin).max()), end - 1)
        shape = [1] * 2 * axes
        shape[axis], shape[axes + axis] = within.shape
        positions = positions + within.reshape(shape) * math.prod(x.shape[3 + axis :])
    places = upload(positions.reshape(*count, -1), xp)
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    entries = flat[:, :, places]
    largest = entries.argmax(-1)
    y = xp.take_along_axis(entries, largest[..., None], -1)[..., 0]
    if not _known_finite(y):  # argmax takes the first NaN
        is_nan = xp.isnan(entries)
        last = entries.shape[-1] - 1 - is_nan[..., ::-1].argmax(-1)
        largest = xp.where(is_nan.any(-1), last, largest)
    return y, xp.take_along_axis(places[None, None], largest[..., None], -1)[..., 0]


@adaptive_max_pool_forward.cpu
def adaptive_max_pool_forward_cpu(x: Array, count: Shape) -> Any:
    """The loop of max_pool, over windows of several sizes."""
    return max_over_bounds(x, adaptive_bounds(x.shape[2:], count, x.dtype)[0], count)


class AdaptiveAvgPoolFunction(Function):
    """y = A @ x along each axis, with A averaging P windows · dx = Aᵀ @ dy"""

    def forward(self, x: Array, *, count: Shape) -> Array:
        self.saved = (x.shape[2:],)
        return adaptive_avg_pool_forward(x, count)

    def backward(self, dy: Array) -> Gradients:
        return adaptive_avg_pool_backward(dy, *self.saved)


class AdaptiveMaxPoolFunction(Function):
    """y = the largest x_q in each window, at q* · dx_q = Σ dy over those windows with q* = q"""

    constants = (1,)

    def forward(self, x: Array, *, count: Shape, indices: bool) -> Array | tuple[Array, Array]:
        y, index = adaptive_max_pool_forward(x, count)
        overlapping = any(S % P for S, P in zip(x.shape[2:], count, strict=True))
        self.saved = index, x.shape, overlapping
        return (y, index.copy()) if indices else y  # a copy: the caller may modify it

    def backward(self, dy: Array, _: Array | None = None) -> Gradients:
        return max_pool_backward(dy, *self.saved)


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return the means of P evenly spaced windows of (N, C, L) or (C, L); see adaptive_avg_pool2d."""
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return the means of evenly spaced windows over the last two axes.

    Args:
        input: (N, C, H, W), or (C, H, W).
        output_size: number of windows, an int, or one int per axis; None keeps the size of an axis.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong, an axis is empty, or there is less than one window.
    """
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return the means of evenly spaced windows of (N, C, D, H, W) or (C, D, H, W).

    See adaptive_avg_pool2d.
    """
    return _adaptive_avg_pool(3, input, output_size)


def _adaptive_avg_pool(axes: int, input: Tensor, output_size: Sizes) -> Tensor:
    x, single, count = _checked(axes, input, output_size, f"adaptive_avg_pool{axes}d")
    y = AdaptiveAvgPoolFunction.apply(x, count=count)
    return y.squeeze(0) if single else y


def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the maxima of P evenly spaced windows of (N, C, L) or (C, L); see adaptive_max_pool2d."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the maxima of evenly spaced windows over the last two axes.

    Args:
        input: (N, C, H, W), or (C, H, W).
        output_size: number of windows, an int, or one int per axis; None keeps the size of an axis.
        return_indices: whether to return the int64 positions of the maxima in the flattened (H, W) too.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the number of axes is wrong, an axis is empty, or there is less than one window.
    """
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the maxima of evenly spaced windows of (N, C, D, H, W) or (C, D, H, W).

    See adaptive_max_pool2d.
    """
    return _adaptive_max_pool(3, input, output_size, return_indices)


def _adaptive_max_pool(axes: int, input: Tensor, output_size: Sizes, return_indices: bool) -> Any:
    check_flags(return_indices=return_indices)
    x, single, count = _checked(axes, input, output_size, f"adaptive_max_pool{axes}d")
    result = AdaptiveMaxPoolFunction.apply(x, count=count, indices=return_indices)
    if not single:
        return result
    return tuple(part.squeeze(0) for part in result) if return_indices else result.squeeze(0)


def _checked(axes: int, input: Tensor, output_size: Sizes, name: str) -> tuple[Tensor, bool, Shape]:
    x, single = as_batch(input, axes, name)
    if min(x.shape[2:]) < 1:
        raise ValueError(f"{name} of an input of shape {input.shape}: an empty axis has no windows")
    return x, single, output_sizes(output_size, x.shape[2:])


def output_sizes(output_size: Sizes, space: Shape) -> Shape:
    """Return the number of windows along every axis; None means the size of the axis."""
    parts = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
    parts = parts * len(space) if len(parts) == 1 else parts
    if len(parts) == len(space):
        parts = tuple([S if part is None else part for part, S in zip(parts, space, strict=True)])
    return as_tuple(parts, len(space), "output_size", 1)  # type: ignore[arg-type]


class _AdaptivePool(Module):
    axes: ClassVar[int]

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_AdaptivePool):
    def forward(self, input: Tensor) -> Tensor:
        return _adaptive_avg_pool(self.axes, input, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        super().__init__(output_size)
        check_flags(return_indices=return_indices)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return _adaptive_max_pool(self.axes, input, self.output_size, self.return_indices)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """adaptive_avg_pool1d as a layer: the means of evenly spaced windows of (N, C, L)."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """adaptive_avg_pool2d as a layer: the means of evenly spaced windows of (N, C, H, W)."""

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """adaptive_avg_pool3d as a layer: the means of evenly spaced windows of (N, C, D, H, W)."""

    axes = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """adaptive_max_pool1d as a layer: the maxima of evenly spaced windows of (N, C, L)."""

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """adaptive_max_pool2d as a layer: the maxima of evenly spaced windows of (N, C, H, W)."""

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """adaptive_max_pool3d as a layer: the maxima of evenly spaced windows of (N, C, D, H, W)."""

    axes = 3


_SHAPES: tuple[tuple[tuple[tuple[int, ...], Sizes], ...], ...] = (
    (((2, 2, 5), 3), ((3, 7), 1), ((1, 2, 3), 4)),
    (((2, 2, 4, 4), 2), ((1, 2, 5, 3), (3, None)), ((2, 3, 4), (1, 3)), ((0, 2, 3, 3), 2)),
    (((1, 2, 3, 2, 4), (2, 1, 3)), ((2, 2, 3, 2), 2)),
)


def _error_cases(function: Callable[..., Any], axes: int) -> tuple[ErrorCase, ...]:
    shape = 1, *[2] * (axes + 1)
    return (
        ErrorCase(lambda: function(_ones(3), 1), ValueError, "(N, C,"),
        ErrorCase(lambda: function(_ones(*shape), 0), ValueError, "output_size"),
        ErrorCase(lambda: function(_ones(*shape), (2,) * 4), ValueError, "output_size"),
        ErrorCase(lambda: function(_ones(*shape), "2"), TypeError, "output_size"),
        ErrorCase(lambda: function(_ones(*shape)[..., :0], 1), ValueError, "empty axis"),
        ErrorCase(lambda: function(_ones(*shape).long(), 1), TypeError, "floating-point"),
    )


for _axes, _function in enumerate((adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d), 1):
    register(
        name=f"adaptive_avg_pool{_axes}d",
        function=_function,
        composed=partial(adaptive_avg_pool_composed, _axes),
        cases=tuple(Case((shape,), {"output_size": size}) for shape, size in _SHAPES[_axes - 1]),
        errors=_error_cases(_function, _axes),
        title=f"AdaptiveAvgPool{_axes}d",
        torch=f"torch.nn.functional.adaptive_avg_pool{_axes}d",
    )
for _axes, _function in enumerate((adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d), 1):
    register(
        name=f"adaptive_max_pool{_axes}d",
        function=_function,
        composed=partial(adaptive_max_pool_composed, _axes),
        cases=tuple(Case((distinct(*shape),), {"output_size": size}) for shape, size in _SHAPES[_axes - 1]),
        errors=_error_cases(_function, _axes),
        title=f"AdaptiveMaxPool{_axes}d",
        torch=f"torch.nn.functional.adaptive_max_pool{_axes}d",
    )
