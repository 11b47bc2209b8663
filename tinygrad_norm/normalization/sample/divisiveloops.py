"""The loops of divisivenorm.py: sample after sample, whose planes stay in the cache."""

import numpy

from ...backends import Array
from ...backends.cpu.loop_math import larger
from ..core.gaussian import window_sums_of_plane

FAR = 2.0**100  # a deviation of c/FAR counts as 0


def divisive_norm_forward_loop(
    x: Array,
    rows: Array,
    columns: Array,
    scale: Array,
    units: Array,
    eps: float,
    mean_floor: bool,
    y: Array,
    deviation: Array,
    least: Array,
    start: int,
    stop: int,
) -> None:
    """One sample after the other: its squares, their sums over windows, the mean of the roots, and y."""
    (_, C, H, W), real = x.shape, x.dtype.type
    t, across, m = numpy.empty((H, W)), numpy.empty((H, W)), numpy.empty((H, W))
    for n in range(start, stop):
        t[:], unit = 0.0, units[n, 0, 0, 0]
        inverse = 1 / unit
        for k in range(C):
            for h in range(H):
                for i in range(W):
                    v = x[n, k, h, i] * inverse
                    t[h, i] += v * v
        window_sums_of_plane(t, rows, columns, across, m)
        mean = 0.0
        for h in range(H):
            for i in range(W):
                deviation[n, 0, h, i] = unit * numpy.sqrt(scale[h, i] * m[h, i])
                mean += deviation[n, 0, h, i] / (H * W)
        c = larger(mean, eps) if mean_floor else eps
        least[n, 0, 0, 0] = c
        for h in range(H):
            for i in range(W):
                t[h, i] = larger(deviation[n, 0, h, i], c)
        for k in range(C):
            for h in range(H):
                for i in range(W):
                    y[n, k, h, i] = real(x[n, k, h, i] / t[h, i])


def divisive_norm_backward_loop(
    dy: Array,
    x: Array,
    deviation: Array,
    least: Array,
    rows: Array,
    columns: Array,
    scale: Array,
    eps: float,
    dx: Array,
    start: int,
    stop: int,
) -> None:
    """One sample after the other: Σ dy·x for ds and dc, dσ·c/σ, its sums over windows, and dx."""
    (_, C, H, W), real = x.shape, x.dtype.type
    t, across, g = numpy.empty((H, W)), numpy.empty((H, W)), numpy.empty((H, W))
    for n in range(start, stop):
        c, dc = least[n, 0, 0, 0], 0.0
        inverse = 1 / c
        t[:] = 0.0
        for k in range(C):
            for h in range(H):
                for i in range(W):
                    t[h, i] += dy[n, k, h, i] * (x[n, k, h, i] * inverse)
        for h in range(H):
            for i in range(W):
                s = larger(deviation[n, 0, h, i], c)
                t[h, i] = -t[h, i] * (c / s) / s
                dc += t[h, i] if deviation[n, 0, h, i] <= c else 0.0
        through_c = dc / (H * W) if c > eps else 0.0
        for h in range(H):
            for i in range(W):
                d = deviation[n, 0, h, i]
                d_deviation = (0.0 if d <= c else t[h, i]) + through_c
                ratio = 0.0 if d < c / FAR else c / d
                t[h, i] = 0.0 if d == 0 else scale[h, i] * (d_deviation * ratio)
        window_sums_of_plane(t, rows, columns, across, g)
        for h in range(H):
            for i in range(W):
                t[h, i] = 1 / larger(deviation[n, 0, h, i], c)
        for k in range(C):
            for h in range(H):
                for i in range(W):
                    dx[n, k, h, i] = real(dy[n, k, h, i] * t[h, i] + x[n, k, h, i] * inverse * g[h, i])
