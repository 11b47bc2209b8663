"""The loops of gatedrmsnorm.py: one group of a row after the other."""

from typing import Any

import numpy

from ...backends import Array
from ...backends.cpu.blocks import slices, threads_for
from ...backends.cpu.loop_math import sigmoid
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import BLOCK, F8, LONG, MOST_ROWS, fits_a_loop, plain
from ...backends.cpu.sums import smallest, total_of_parts
from ..core.exactness import FLOAT32_LOWEST, loses_digits


def gated_rms_norm_forward_loop(
    x: Array,
    z: Array,
    weight: Array,
    norm_before_gate: float,
    eps: float,
    y: Array,
    rstd: Array,
    zero: float,
    left: Array,
) -> None:
    """Once to find r, while u is written to y; once to write y."""
    (N, G, K), real = x.shape, x.dtype.type
    for n in range(N):
        left[n] = False
        for k in range(G):
            sum_squares = zero
            for i in range(K):
                u = x[n, k, i]
                if norm_before_gate == 0:
                    u *= z[n, k, i] * sigmoid(z[n, k, i])
                y[n, k, i] = u
                sum_squares += u * u
            r = real(1 / numpy.sqrt(sum_squares / K + eps))
            for i in range(K):
                scaled = weight[0, k, i] * (y[n, k, i] * r)
                if norm_before_gate != 0:
                    scaled *= z[n, k, i] * sigmoid(z[n, k, i])
                y[n, k, i] = scaled
            rstd[n, k, 0] = r
            left[n] |= loses_digits(0, r)


def gated_rms_norm_backward_loop(
    dy: Array,
    x: Array,
    z: Array,
    weight: Array,
    rstd: Array,
    norm_before_gate: float,
    dx: Array,
    dz: Array,
    dweight: Array,
    zero: float,
) -> None:
    """Once for all sums, once to write dx and dz."""
    (N, G, K), real, one = x.shape, x.dtype.type, x.dtype.type(1)
    for n in range(N):
        for k in range(G):
            r = rstd[n, k, 0]
            sum_g_u_hat = zero
            for i in range(K):
                silu = z[n, k, i] * sigmoid(z[n, k, i])
                dy_u_hat = dy[n, k, i] * (x[n, k, i] * silu * r)
                dweight[0, k, i] += dy_u_hat
                sum_g_u_hat += weight[0, k, i] * dy_u_hat
            mean_g_u_hat = real(sum_g_u_hat / K)
            for i in range(K):
                s = sigmoid(z[n, k, i])
                silu, slope = z[n, k, i] * s, s * (one + z[n, k, i] * (one - s))
                v, w_dy = x[n, k, i], weight[0, k, i] * dy[n, k, i]
                if norm_before_gate != 0:
                    u_hat = v * r
                    dx[n, k, i] = r * (w_dy * silu - u_hat * mean_g_u_hat)
                    dz[n, k, i] = w_dy * u_hat * slope
                else:
                    du = r * (w_dy - v * silu * r * mean_g_u_hat)
                    dx[n, k, i] = du * silu
                    dz[n, k, i] = du * v * slope


_backward_loop = Loop(gated_rms_norm_backward_loop)


def gated_rms_norm_backward_cpu(
    dy: Array, x: Array, z: Array, weight: Array | None, rstd: Array, norm_before_gate: bool
) -> Any:
    """Run the loop on blocks of rows, unless the guard of the body would act; dx and dz are both written."""
    _, G, K = x.shape
    w = numpy.ones((1, G, K), x.dtype) if weight is None else weight
    if not (fits_a_loop(dy, x, z, w, rstd) and smallest(rstd) > FLOAT32_LOWEST):
        return NotImplemented
    dy, x, z, w, rstd = (plain(a) for a in (dy, x, z, w, rstd))
    dx, dz, real = numpy.empty_like(x), numpy.empty_like(x), x.dtype.type
    zero, before = (F8 if K > LONG else x.dtype).type(0), real(norm_before_gate)

    def run(rows: slice) -> list[Array]:
        dweight = numpy.zeros((1, G, K), x.dtype)
        given = dy[rows], x[rows], z[rows], w, rstd[rows], before
        _backward_loop(*given, dx[rows], dz[rows], dweight, zero)
        return [dweight]

    blocks = slices(len(x), min(MOST_ROWS, max(1, BLOCK // (G * K))))
    (dweight,) = total_of_parts(threads_for(x.size)(run, blocks))
    return dx, dz, dweight
