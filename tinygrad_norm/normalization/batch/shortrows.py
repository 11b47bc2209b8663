"""Loops of batch normalization for x (N, C, S) with few positions S, or one: along rows of C·S columns.

A loop over the positions of one channel would be too short for the processor. Here the inner loop runs over
all columns of a row, k = c·S + i, with one sum for each; of narrow rows, several lie side by side in one. At
the end, the sums of a channel's columns are added up. Its mean, 1/std, weight and bias are repeated, one for
each of its columns.

The formulas are those of batchnorm.py.
"""

from collections.abc import Callable
from typing import Any

import numpy

from ...backends import Array, Channels, Kernel, PerChannel
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.pool_loops import PoolLoop, ShapeOf
from ..core.exactness import is_near_the_limits, loses_digits

SHORT = 48
"""Positions from which on a loop runs over one channel at a time."""

WIDE = 256
"""Columns up to which narrow rows are put side by side."""

ROWS = 256
"""Rows that are summed up in the precision of x; these sums are added up in float64."""


def attach_short_rows(kernel: Kernel, loop: Callable[..., Any], shapes: dict[str, ShapeOf]) -> None:
    """Attach a loop for x (N, C, S) or (N, G, C/G, S) of few positions to a kernel that has one for many."""
    body: Any = kernel.numpy_version
    long: Any = kernel.cpu_version
    short = PoolLoop(body, loop, shapes)
    kernel.cpu(lambda x, *args: (short if x.shape[-1] < SHORT else long)(x, *args))


@helper
def side_by_side(C: int, S: int, start: int, stop: int) -> int:
    """Return how many rows lie side by side: one if it is wide, or if only some channels are wanted."""
    return max(1, WIDE // (C * S)) if stop - start == C else 1


@helper
def columns_of(vector: PerChannel, S: int, start: int, stop: int) -> Array:
    """Return the number of each channel from start to stop, in all of its columns."""
    many, k = side_by_side(vector.shape[1], S, start, stop), 0
    columns = numpy.empty(many * (stop - start) * S, vector.dtype)
    for _ in range(many):
        for c in range(start, stop):
            for _ in range(S):
                columns[k] = vector[0, c, 0]
                k += 1
    return columns


@helper
def pour(part: Array, total: Array) -> None:
    """Add `part` to `total`, and begin it anew."""
    for k in range(len(part)):
        total[k] += part[k]
        part[k] = 0


@helper
def add_up(total: Array, n: int, S: int, vector: PerChannel, start: int, stop: int) -> None:
    """Write the sum over the columns of each channel from start to stop, divided by n, to `vector`."""
    split = total.reshape(-1, stop - start, S)
    for c in range(stop - start):
        s = 0.0
        for j in range(len(split)):
            for i in range(S):
                s += split[j, c, i]
        vector[0, start + c, 0] = s / n


def short_rows(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    eps: float,
    y: Channels,
    mean: PerChannel,
    var: PerChannel,
    rstd: PerChannel,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """Row after row: twice to find m and v, once to write y."""
    (N, C, S), real = x.shape, x.dtype.type
    rows, y_rows, many = x.reshape(x.size), y.reshape(x.size), side_by_side(C, S, start, stop)
    step, width = many * C * S, many * (stop - start) * S
    s, total, total_of_squares = numpy.zeros(width, x.dtype), numpy.zeros(width), numpy.zeros(width)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row = rows[at : at + width]
            for k in range(len(row)):
                s[k] += row[k]
        pour(s, total)
    add_up(total, N * S, S, mean, start, stop)
    m = columns_of(mean, S, start, stop)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row = rows[at : at + width]
            for k in range(len(row)):
                s[k] += (row[k] - m[k]) * (row[k] - m[k])
        pour(s, total_of_squares)
    add_up(total_of_squares, N * S, S, var, start, stop)
    for c in range(start, stop):
        rstd[0, c, 0] = real(1 / numpy.sqrt(var[0, c, 0] + eps))
        left[c] = loses_digits(mean[0, c, 0], rstd[0, c, 0])
    w, b = columns_of(weight, S, start, stop), columns_of(bias, S, start, stop)
    r = columns_of(rstd, S, start, stop)
    for at in range(start * S, x.size, step):
        row, y_row = rows[at : at + width], y_rows[at : at + width]
        for k in range(len(row)):
            y_row[k] = w[k] * r[k] * (row[k] - m[k]) + b[k]


def short_rows_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rstd: PerChannel,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """Row after row: once for both sums, once to write dx."""
    (N, C, S), real, many = x.shape, x.dtype.type, side_by_side(x.shape[1], x.shape[2], start, stop)
    rows, dy_rows, dx_rows = x.reshape(x.size), dy.reshape(x.size), dx.reshape(x.size)
    step, width = many * C * S, many * (stop - start) * S
    for c in range(start, stop):
        left[c] = is_near_the_limits(mean[0, c, 0], rstd[0, c, 0])
    m, r = columns_of(mean, S, start, stop), columns_of(rstd, S, start, stop)
    s, s_x_hat = numpy.zeros(width, x.dtype), numpy.zeros(width, x.dtype)
    db, dw = numpy.zeros(width), numpy.zeros(width)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row, dy_row = rows[at : at + width], dy_rows[at : at + width]
            for k in range(len(row)):
                s[k] += dy_row[k]
                s_x_hat[k] += dy_row[k] * ((row[k] - m[k]) * r[k])
        pour(s, db)
        pour(s_x_hat, dw)
    add_up(db, 1, S, dbias, start, stop)
    add_up(dw, 1, S, dweight, start, stop)
    w, n = columns_of(weight, S, start, stop), real(N * S)
    mean_dy, mean_dy_x_hat = columns_of(dbias, S, start, stop), columns_of(dweight, S, start, stop)
    for k in range(width):
        w[k], mean_dy[k], mean_dy_x_hat[k] = w[k] * r[k], mean_dy[k] / n, mean_dy_x_hat[k] / n
    for at in range(start * S, x.size, step):
        row, dy_row, dx_row = rows[at : at + width], dy_rows[at : at + width], dx_rows[at : at + width]
        for k in range(len(row)):
            x_hat = (row[k] - m[k]) * r[k]
            dx_row[k] = w[k] * (dy_row[k] - mean_dy[k] - x_hat * mean_dy_x_hat[k])


def eval_short_rows(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    mean: PerChannel,
    var: PerChannel,
    eps: float,
    y: Channels,
    rstd: PerChannel,
    start: int,
    stop: int,
) -> None:
    """Row after row, once."""
    (_, C, S), real = x.shape, x.dtype.type
    rows, y_rows, many = x.reshape(x.size), y.reshape(x.size), side_by_side(C, S, start, stop)
    step, width = many * C * S, many * (stop - start) * S
    for c in range(start, stop):
        std = numpy.sqrt(var[0, c, 0] + eps)
        rstd[0, c, 0] = real(1 / std) if std != 0 else real(0)
    m, r = columns_of(mean, S, start, stop), columns_of(rstd, S, start, stop)
    w, b = columns_of(weight, S, start, stop), columns_of(bias, S, start, stop)
    for at in range(start * S, x.size, step):
        row, y_row = rows[at : at + width], y_rows[at : at + width]
        for k in range(len(row)):
            y_row[k] = w[k] * r[k] * (row[k] - m[k]) + b[k]


def eval_short_rows_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rstd: PerChannel,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    start: int,
    stop: int,
) -> None:
    """Row after row, once."""
    (_, C, S), many = x.shape, side_by_side(x.shape[1], x.shape[2], start, stop)
    rows, dy_rows, dx_rows = x.reshape(x.size), dy.reshape(x.size), dx.reshape(x.size)
    step, width = many * C * S, many * (stop - start) * S
    m, r = columns_of(mean, S, start, stop), columns_of(rstd, S, start, stop)
    w = columns_of(weight, S, start, stop)
    s, s_x_hat = numpy.zeros(width, x.dtype), numpy.zeros(width, x.dtype)
    db, dw = numpy.zeros(width), numpy.zeros(width)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row, dy_row, dx_row = rows[at : at + width], dy_rows[at : at + width], dx_rows[at : at + width]
            for k in range(len(row)):
                s[k] += dy_row[k]
                s_x_hat[k] += dy_row[k] * ((row[k] - m[k]) * r[k])
                dx_row[k] = w[k] * r[k] * dy_row[k]
        pour(s, db)
        pour(s_x_hat, dw)
    add_up(db, 1, S, dbias, start, stop)
    add_up(dw, 1, S, dweight, start, stop)
