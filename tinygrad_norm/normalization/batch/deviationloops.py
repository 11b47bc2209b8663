"""The loops of lpbatchnorm.py for x (N, C, S): channel after channel, or row after row.

Rows are for few positions S, or one: the inner loop runs over all columns of a row, as in shortrows.py.
"""

import numpy

from ...backends import Array, Channels, PerChannel
from ...backends.cpu.loop_math import larger
from ..core.deviations import centered, rest_of
from ..core.lengths import is_extreme
from .shortrows import ROWS, add_up, columns_of, pour, side_by_side


def deviation_forward_loop(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    p: float,
    factor: float,
    eps: float,
    y: Channels,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    zero: float,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """One channel after the other, three times: for m, for a, and to write y."""
    (N, _, S), real = x.shape, x.dtype.type
    for c in range(start, stop):
        origin, total, top = x[0, c, 0], 0.0, real(0)
        for n in range(N):
            s = zero
            for i in range(S):
                s += centered(x[n, c, i], origin, real(0))
            total += s
        shift = real(total / (N * S))
        m = origin + shift
        left_of_m = rest_of(origin, shift, m)
        total = 0.0
        for n in range(N):
            s = zero
            if p == 1:
                for i in range(S):
                    s += abs(centered(x[n, c, i], m, left_of_m))
            else:
                for i in range(S):
                    top = larger(top, abs(centered(x[n, c, i], m, left_of_m)))
            total += s
        a = real(total / (N * S)) if p == 1 else top
        r = real(1 / numpy.hypot(factor * a, numpy.sqrt(eps)))
        w, b = weight[0, c, 0] * r, bias[0, c, 0]
        for n in range(N):
            for i in range(S):
                y[n, c, i] = w * centered(x[n, c, i], m, left_of_m) + b
        mean[0, c, 0], rest[0, c, 0], deviation[0, c, 0], rstd[0, c, 0] = m, left_of_m, a, r
        left[c] = is_extreme(r)


def deviation_backward_loop(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    p: float,
    factor: float,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    zero: float,
    start: int,
    stop: int,
) -> None:
    """One channel after the other, twice: for all sums, and to write dx."""
    (N, _, S), real = x.shape, x.dtype.type
    for c in range(start, stop):
        m, left_of_m, a, r = mean[0, c, 0], rest[0, c, 0], deviation[0, c, 0], rstd[0, c, 0]
        none, least = real(0), a if p > 1 else real(0)  # |z| from which on s is sign(z)
        dw = db = signs = ties = 0.0
        for n in range(N):
            s = s_x_hat = s_sign = s_ties = zero
            for i in range(S):
                z = centered(x[n, c, i], m, left_of_m)
                sign = numpy.sign(z) if abs(z) >= least else none
                s += dy[n, c, i]
                s_x_hat += dy[n, c, i] * (z * r)
                s_sign += sign
                s_ties += abs(sign)
            db += s
            dw += s_x_hat
            signs += s_sign
            ties += s_ties
        w, mean_dy, mean_s = r * weight[0, c, 0], real(db / (N * S)), real(signs / (N * S))
        along = r * factor * (factor * a) * real(dw / (max(ties, 1) if p > 1 else N * S))
        for n in range(N):
            for i in range(S):
                z = centered(x[n, c, i], m, left_of_m)
                sign = numpy.sign(z) if abs(z) >= least else none
                dx[n, c, i] = w * (dy[n, c, i] - mean_dy - (sign - mean_s) * along)
        dweight[0, c, 0], dbias[0, c, 0] = dw, db


def deviation_rows(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    p: float,
    factor: float,
    eps: float,
    y: Channels,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """Row after row, three times: for m, for a, and to write y."""
    (N, C, S), real = x.shape, x.dtype.type
    rows, y_rows, many = x.reshape(x.size), y.reshape(x.size), side_by_side(C, S, start, stop)
    step, width, none = many * C * S, many * (stop - start) * S, real(0)
    s, top = numpy.zeros(width, x.dtype), numpy.zeros(width, x.dtype)
    total, sizes = numpy.zeros(width), numpy.zeros(width)
    for c in range(start, stop):
        mean[0, c, 0], deviation[0, c, 0] = x[0, c, 0], none
    origin = columns_of(mean, S, start, stop)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row = rows[at : at + width]
            for k in range(len(row)):
                s[k] += centered(row[k], origin[k], none)
        pour(s, total)
    add_up(total, N * S, S, rest, start, stop)
    for c in range(start, stop):
        first_of_c, shift = mean[0, c, 0], rest[0, c, 0]
        mean[0, c, 0] = first_of_c + shift
        rest[0, c, 0] = rest_of(first_of_c, shift, mean[0, c, 0])
    m, left_of_m = columns_of(mean, S, start, stop), columns_of(rest, S, start, stop)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row = rows[at : at + width]
            if p == 1:
                for k in range(len(row)):
                    s[k] += abs(centered(row[k], m[k], left_of_m[k]))
            else:
                for k in range(len(row)):
                    top[k] = larger(top[k], abs(centered(row[k], m[k], left_of_m[k])))
        pour(s, sizes)
    if p == 1:
        add_up(sizes, N * S, S, deviation, start, stop)
    else:
        for k in range(width):
            c = start + k // S % (stop - start)
            deviation[0, c, 0] = larger(deviation[0, c, 0], top[k])
    for c in range(start, stop):
        rstd[0, c, 0] = real(1 / numpy.hypot(factor * deviation[0, c, 0], numpy.sqrt(eps)))
        left[c] = is_extreme(rstd[0, c, 0])
    w, b = columns_of(weight, S, start, stop), columns_of(bias, S, start, stop)
    r = columns_of(rstd, S, start, stop)
    for at in range(start * S, x.size, step):
        row, y_row = rows[at : at + width], y_rows[at : at + width]
        for k in range(len(row)):
            y_row[k] = w[k] * r[k] * centered(row[k], m[k], left_of_m[k]) + b[k]


def deviation_rows_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    p: float,
    factor: float,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    start: int,
    stop: int,
) -> None:
    """Row after row, twice: for all sums, and to write dx."""
    (N, C, S), real, many = x.shape, x.dtype.type, side_by_side(x.shape[1], x.shape[2], start, stop)
    rows, dy_rows, dx_rows = x.reshape(x.size), dy.reshape(x.size), dx.reshape(x.size)
    step, width, none = many * C * S, many * (stop - start) * S, real(0)
    m, left_of_m = columns_of(mean, S, start, stop), columns_of(rest, S, start, stop)
    least, r = columns_of(deviation, S, start, stop), columns_of(rstd, S, start, stop)
    q = r * factor * (factor * least)
    if p == 1:
        least[:] = none
    s, s_x_hat = numpy.zeros(width, x.dtype), numpy.zeros(width, x.dtype)
    s_sign, s_ties = numpy.zeros(width, x.dtype), numpy.zeros(width, x.dtype)
    db, dw, signs, ties = numpy.zeros(width), numpy.zeros(width), numpy.zeros(width), numpy.zeros(width)
    for first in range(start * S, x.size, ROWS * step):
        for at in range(first, min(first + ROWS * step, x.size), step):
            row, dy_row = rows[at : at + width], dy_rows[at : at + width]
            for k in range(len(row)):
                z = centered(row[k], m[k], left_of_m[k])
                sign = numpy.sign(z) if abs(z) >= least[k] else none
                s[k] += dy_row[k]
                s_x_hat[k] += dy_row[k] * (z * r[k])
                s_sign[k] += sign
                s_ties[k] += abs(sign)
        pour(s, db)
        pour(s_x_hat, dw)
        pour(s_sign, signs)
        pour(s_ties, ties)
    add_up(signs, N * S, S, dbias, start, stop)
    mean_s = columns_of(dbias, S, start, stop)
    add_up(ties, 1, S, dbias, start, stop)
    shared_by = columns_of(dbias, S, start, stop)
    add_up(db, 1, S, dbias, start, stop)
    add_up(dw, 1, S, dweight, start, stop)
    w, n = columns_of(weight, S, start, stop), real(N * S)
    mean_dy, along = columns_of(dbias, S, start, stop), columns_of(dweight, S, start, stop)
    for k in range(width):
        share = n if p == 1 else max(shared_by[k], real(1))
        w[k], mean_dy[k], along[k] = w[k] * r[k], mean_dy[k] / n, q[k] * along[k] / share
    for at in range(start * S, x.size, step):
        row, dy_row, dx_row = rows[at : at + width], dy_rows[at : at + width], dx_rows[at : at + width]
        for k in range(len(row)):
            z = centered(row[k], m[k], left_of_m[k])
            sign = numpy.sign(z) if abs(z) >= least[k] else none
            dx_row[k] = w[k] * (dy_row[k] - mean_dy[k] - (sign - mean_s[k]) * along[k])
