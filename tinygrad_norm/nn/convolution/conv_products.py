"""The kernels of convolution and its transpose: matrix products, or where they are faster, loops.

See conv.py for the derivation, im2col.py for X, and conv_loops.py for the loops.
"""

import math
from collections.abc import Iterator
from typing import Any

from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import slices
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import total, total_of_parts
from ...ops.dims import Shape
from ..windows.im2col import im2col_layout, samples_last
from ..windows.sliding_view import Windows, fold_windows
from .conv_loops import conv_adjoint_cpu, conv_forward_cpu, weight_gradients


@kernel
def conv_forward(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int
) -> tuple[Array, Array | None]:
    """Return y (N, F, *P), and X if it fits in one block.

    x (N, C, *S), weight (F, C/G, *K), bias (F,).
    """
    xp, F = namespace(x), len(weight)
    layout = im2col_layout(x.shape, windows, groups, F)
    W = _as_matrix(weight, groups)
    if bias is not None:
        W = xp.concatenate((W, upcast(bias).reshape(groups, F // groups, 1)), 2)
    y, X = xp.empty((len(x), F, *layout.count), x.dtype), None
    y_blocks = samples_last(y, layout.n)
    for block, X in layout.blocks(x, bias is not None):
        if layout.n == 1:
            xp.matmul(W, X, out=y[block].reshape(len(X), groups, F // groups, X.shape[3]))
        else:
            y_blocks[block] = xp.matmul(W, X).reshape(len(X), F, *layout.count, layout.n)
    return y, X if len(y_blocks) <= layout.m else None


conv_forward.cpu(conv_forward_cpu)


@kernel
def conv_backward(
    dy: Array,
    x: Array,
    weight: Array,
    X: Array | None,
    windows: Windows,
    groups: int,
    biased: bool,
    needs: tuple[bool, ...],
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dx, dweight and dbias, in the shapes of x, weight and bias, or None where `needs` is False.

    X is the one that the forward pass returned, or None; `biased` tells whether it ends in a row of ones.
    """
    dx = conv_adjoint(dy, weight, windows, groups, x.shape[2:]) if needs[0] else None
    if not needs[1] and not needs[2]:
        return dx, None, None
    xp, F, CK = namespace(x), len(weight), math.prod(weight.shape[1:])
    layout = im2col_layout(x.shape, windows, groups, F)
    dy = dy.reshape(len(dy), groups, F // groups, math.prod(layout.count))
    dy_blocks = samples_last(dy, layout.n).transpose(0, 1, 3, 4, 2)

    def block_gradients() -> Iterator[tuple[Array]]:
        for block, part in layout.blocks(x, biased) if X is None else [(slice(None), X)]:
            dyT = upcast(dy_blocks[block]).reshape(len(part), groups, part.shape[3], F // groups)
            yield (total(xp.matmul(part, dyT), (0,)),)  # faster than dy @ Xᵀ, whose result is wide and short

    shape = groups, CK + biased, F // groups
    (dW,) = total_of_parts(block_gradients()) or (xp.zeros(shape, upcast(weight[:0]).dtype),)
    dW = downcast(dW, weight).swapaxes(1, 2).reshape(F, CK + biased)
    return dx, dW[:, :CK].reshape(weight.shape), dW[:, CK].copy() if biased else None


@conv_backward.cpu
def conv_backward_cpu(
    dy: Array,
    x: Array,
    weight: Array,
    X: Array | None,
    windows: Windows,
    groups: int,
    biased: bool,
    needs: tuple[bool, ...],
) -> Any:
    """The same from loops; without them, or if only dx is needed, the body works."""
    found = weight_gradients(dy, x, weight, windows, groups) if needs[1] or needs[2] else NotImplemented
    if found is NotImplemented:
        return NotImplemented
    dweight, dbias = found
    dx = conv_adjoint(dy, weight, windows, groups, x.shape[2:]) if needs[0] else None
    return dx, dweight, dbias if biased else None


@kernel
def conv_adjoint(dy: Array, weight: Array, windows: Windows, groups: int, space: Shape) -> Array:
    """Return dx (N, C, *S) for dy (N, F, *P): the transpose of the map from x to y."""
    xp, F, C, P = namespace(dy), len(weight), weight.shape[1] * groups, dy.shape[2:]
    if max(windows.stride) == 1 and F <= 4 * C:  # with more filters, fold moves less data
        flipped = weight.reshape(groups, F // groups, *weight.shape[1:]).swapaxes(1, 2)
        flipped = xp.ascontiguousarray(xp.flip(flipped, tuple(range(3, flipped.ndim))))
        flipped = flipped.reshape(C, F // groups, *windows.kernel)
        return conv_forward(dy, flipped, None, _flipped_windows(windows, space, P), groups)[0]
    WT = _as_matrix(weight, groups).swapaxes(1, 2)
    dx = xp.empty((len(dy), C, *space), dy.dtype)
    layout = im2col_layout(dx.shape, windows, groups, F)
    n, m = layout.n, layout.m
    dy_blocks, dx_blocks = samples_last(dy, n), samples_last(dx, n)
    for block in slices(len(dy_blocks), m):
        dys = upcast(dy_blocks[block])
        dX = xp.matmul(WT, dys.reshape(len(dys), groups, F // groups, math.prod(P) * n))
        dX = dX.reshape(len(dys), C, *windows.kernel, *P, n)
        dx_blocks[block] = fold_windows(dX, windows, space, 2)
    return dx


conv_adjoint.cpu(conv_adjoint_cpu)


@kernel
def conv_transpose_forward(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int, space: Shape
) -> Array:
    """Return y (N, C, *S): x (N, F, *P), weight (F, C/G, *K), bias (C,)."""
    y = conv_adjoint(x, weight, windows, groups, space)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(space))
    return y


@conv_transpose_forward.cpu
def conv_transpose_forward_cpu(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int, space: Shape
) -> Any:
    """The same from loops, whose sums begin with the bias."""
    return conv_adjoint_cpu(x, weight, windows, groups, space, bias)


@kernel
def conv_transpose_backward(
    dy: Array, x: Array, weight: Array, windows: Windows, groups: int, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dx, dweight and dbias, in the shapes of x, weight and bias, or None where `needs` is False."""
    dx = conv_forward(dy, weight, None, windows, groups)[0] if needs[0] else None
    dweight = conv_backward(x, dy, weight, None, windows, groups, False, (False, needs[1], False))[1]
    if not needs[2]:
        return dx, dweight, None
    return dx, dweight, downcast(total(upcast(dy), (0, *range(2, dy.ndim))), dy)


def _as_matrix(weight: Array, groups: int) -> Array:
    return upcast(weight).reshape(groups, len(weight) // groups, math.prod(weight.shape[1:]))


def _flipped_windows(windows: Windows, space: Shape, count: Shape) -> Windows:
    before = [extent - 1 - a for extent, a in zip(windows.extent, windows.before, strict=True)]
    after = [S - P + a for S, P, a in zip(space, count, windows.before, strict=True)]
    return windows._replace(before=tuple(before), after=tuple(after))
