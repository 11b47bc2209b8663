"""Loops of group normalization for x (N, G, C/G, S) with few positions S, or one: a pool is one row.

A loop over the positions of one channel would be too short for the processor. Here the inner loop runs over
all D = C/G·S values of a pool; weight and bias stand S times, once for each position, as (G, D).

The formulas are those of groupnorm.py.
"""

import numpy

from ...backends import Array
from ..core.exactness import is_near_the_limits, loses_digits


def short_groups(
    x: Array, weight: Array, bias: Array, eps: float, y: Array, mean: Array, rstd: Array, left: Array
) -> None:
    """One pool after the other: twice to find m and v, once to write y."""
    (N, G, channels, S), real = x.shape, x.dtype.type
    D = channels * S
    rows, y_rows = x.reshape(N, G, D), y.reshape(N, G, D)
    w = numpy.repeat(weight.reshape(weight.size), S).reshape(G, D)
    b = numpy.repeat(bias.reshape(bias.size), S).reshape(G, D)
    for n in range(N):
        left[n] = False
        for g in range(G):
            s = 0.0
            for k in range(D):
                s += rows[n, g, k]
            m = real(s / D)
            s = 0.0
            for k in range(D):
                s += (rows[n, g, k] - m) * (rows[n, g, k] - m)
            r = real(1 / numpy.sqrt(real(s / D) + eps))
            for k in range(D):
                y_rows[n, g, k] = w[g, k] * ((rows[n, g, k] - m) * r) + b[g, k]
            mean[n, g, 0, 0], rstd[n, g, 0, 0] = m, r
            left[n] |= loses_digits(m, r)


def short_groups_backward(
    dy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    dweight: Array,
    dbias: Array,
    left: Array,
) -> None:
    """One pool after the other: once for all sums, once to write dx."""
    (N, G, channels, S), real = x.shape, x.dtype.type
    D = channels * S
    rows, dy_rows, dx_rows = x.reshape(N, G, D), dy.reshape(N, G, D), dx.reshape(N, G, D)
    w = numpy.repeat(weight.reshape(weight.size), S).reshape(G, D)
    dw, db = numpy.zeros((G, D), x.dtype), numpy.zeros((G, D), x.dtype)
    for n in range(N):
        left[n] = False
        for g in range(G):
            left[n] |= is_near_the_limits(mean[n, g, 0, 0], rstd[n, g, 0, 0])
        if left[n]:
            continue
        for g in range(G):
            m, r = mean[n, g, 0, 0], rstd[n, g, 0, 0]
            sum_g = sum_g_x_hat = 0.0
            for k in range(D):
                x_hat = (rows[n, g, k] - m) * r
                sum_g += w[g, k] * dy_rows[n, g, k]
                sum_g_x_hat += w[g, k] * dy_rows[n, g, k] * x_hat
                dw[g, k] += dy_rows[n, g, k] * x_hat
                db[g, k] += dy_rows[n, g, k]
            mean_g, mean_g_x_hat = real(sum_g / D), real(sum_g_x_hat / D)
            for k in range(D):
                x_hat = (rows[n, g, k] - m) * r
                dx_rows[n, g, k] = r * (w[g, k] * dy_rows[n, g, k] - mean_g - x_hat * mean_g_x_hat)
    for g in range(G):
        for k in range(D):
            dweight[0, g, k // S, 0] += dw[g, k]
            dbias[0, g, k // S, 0] += db[g, k]
