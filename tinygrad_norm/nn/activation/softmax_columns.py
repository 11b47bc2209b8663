"""The loops of softmax and log-softmax for arrays (N, D, S), over axis 1: a sample's S columns side by side.

Rows of softmax.py are columns here, a stride of S apart. The inner loops run along S, with one maximum and
one sum for each column, so that memory is read in its order.
"""

from collections.abc import Callable
from typing import Any

import numpy

from ...backends import Array, Kernel
from ...backends.cpu.loop_math import exp_of_negative, larger, log
from ...backends.cpu.pool_loops import PoolLoop
from .softmax_axis import log_share


def attach(kernel: Kernel, loop: Callable[..., Any]) -> None:
    """Attach a loop for (N, D, S) to a kernel that has one for (N, D)."""
    body: Any = kernel.numpy_version
    rows: Any = kernel.cpu_version
    columns = PoolLoop(body, loop, {})
    kernel.cpu(lambda x, *args: (rows if x.ndim == 2 else columns)(x, *args))


def softmax_forward_loop(x: Array, y: Array) -> None:
    """y = e/Σe, e = exp(x - m)"""
    (N, D, S), real = x.shape, x.dtype.type
    m, s = numpy.empty(S, x.dtype), numpy.empty(S)
    for n in range(N):
        m[:], s[:] = x[n, 0], 0
        for d in range(1, D):
            for j in range(S):
                m[j] = larger(m[j], x[n, d, j])
        for d in range(D):
            for j in range(S):
                e = exp_of_negative(x[n, d, j] - m[j])
                y[n, d, j] = e
                s[j] += e
        for j in range(S):
            m[j] = real(1 / s[j])
        for d in range(D):
            for j in range(S):
                y[n, d, j] *= m[j]


def softmax_backward_loop(dy: Array, y: Array, dx: Array) -> None:
    """dx = y·(dy - Σ dy·y)"""
    (N, D, S), real = y.shape, y.dtype.type
    s, sum_dy_y = numpy.empty(S), numpy.empty(S, y.dtype)
    for n in range(N):
        s[:] = 0
        for d in range(D):
            for j in range(S):
                s[j] += dy[n, d, j] * y[n, d, j]
        for j in range(S):
            sum_dy_y[j] = real(s[j])
        for d in range(D):
            for j in range(S):
                dx[n, d, j] = y[n, d, j] * (dy[n, d, j] - sum_dy_y[j])


def log_softmax_forward_loop(x: Array, y: Array) -> None:
    """y = x - m - log Σ exp(x - m)"""
    (N, D, S), real = x.shape, x.dtype.type
    m, s, log_s = numpy.empty(S, x.dtype), numpy.empty(S), numpy.empty(S, x.dtype)
    for n in range(N):
        m[:], s[:] = x[n, 0], 0
        for d in range(1, D):
            for j in range(S):
                m[j] = larger(m[j], x[n, d, j])
        for d in range(D):
            for j in range(S):
                s[j] += exp_of_negative(x[n, d, j] - m[j])
        for j in range(S):
            log_s[j] = log(real(s[j]))
        for d in range(D):
            for j in range(S):
                y[n, d, j] = log_share(x[n, d, j], m[j], log_s[j])


def log_softmax_backward_loop(dy: Array, y: Array, dx: Array) -> None:
    """dx = dy - exp(y)·Σ dy"""
    (N, D, S), real = y.shape, y.dtype.type
    s, sum_dy = numpy.empty(S), numpy.empty(S, y.dtype)
    for n in range(N):
        s[:] = 0
        for d in range(D):
            for j in range(S):
                s[j] += dy[n, d, j]
        for j in range(S):
            sum_dy[j] = real(s[j])
        for d in range(D):
            for j in range(S):
                dx[n, d, j] = dy[n, d, j] - exp_of_negative(y[n, d, j]) * sum_dy[j]
