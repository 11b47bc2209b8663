"""Layer normalization and softmax in Triton, a baseline written in fewer lines.

A program processes one row, or (backward of layer normalization) every P-th row. A row is one block, whose
size is the next power of two. Statistics are computed as in layernorm.cu: the row is read once, then two
passes run over the registers.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

from .gpu_ops import EPS


@triton.jit
def _softmax_forward(x, y, D, BLOCK: tl.constexpr, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.arange(0, BLOCK)
    at = tl.program_id(0).to(tl.int64) * D + i
    values = tl.load(x + at, mask=i < D, other=float("-inf")).to(ACC)
    e = tl.exp(values - tl.max(values, 0))
    tl.store(y + at, e / tl.sum(e, 0), mask=i < D)


@triton.jit
def _softmax_backward(dy, y, dx, D, BLOCK: tl.constexpr, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.arange(0, BLOCK)
    at = tl.program_id(0).to(tl.int64) * D + i
    dys = tl.load(dy + at, mask=i < D, other=0).to(ACC)
    ys = tl.load(y + at, mask=i < D, other=0).to(ACC)
    tl.store(dx + at, ys * (dys - tl.sum(dys * ys, 0)), mask=i < D)


@triton.jit
def _layer_norm_forward(  # type: ignore[no-untyped-def]
    x, weight, bias, y, mean, rstd, D, eps, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    i = tl.arange(0, BLOCK)
    n = tl.program_id(0).to(tl.int64)
    values = tl.load(x + n * D + i, mask=i < D, other=0).to(ACC)
    m = tl.sum(values, 0) / D
    centered = tl.where(i < D, values - m, 0)
    r = 1 / tl.sqrt(tl.sum(centered * centered, 0) / D + eps)
    w = tl.load(weight + i, mask=i < D, other=0).to(ACC)
    b = tl.load(bias + i, mask=i < D, other=0).to(ACC)
    tl.store(y + n * D + i, centered * r * w + b, mask=i < D)
    tl.store(mean + n, m)
    tl.store(rstd + n, r)


@triton.jit
def _layer_norm_backward(  # type: ignore[no-untyped-def]
    dy, x, weight, mean, rstd, dx, dweights, dbiases, N, D, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    i = tl.arange(0, BLOCK)
    program, programs = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    w = tl.load(weight + i, mask=i < D, other=0).to(ACC)
    dweight = tl.zeros([BLOCK], ACC)
    dbias = tl.zeros([BLOCK], ACC)
    for k in range(tl.cdiv(N - program, programs)):
        row = program + k * programs
        start = row * D
        m, r = tl.load(mean + row), tl.load(rstd + row)
        dys = tl.load(dy + start + i, mask=i < D, other=0).to(ACC)
        x_hat = tl.where(i < D, (tl.load(x + start + i, mask=i < D, other=0).to(ACC) - m) * r, 0)
        g = w * dys
        mean_g, mean_g_x_hat = tl.sum(g, 0) / D, tl.sum(g * x_hat, 0) / D
        tl.store(dx + start + i, r * (g - mean_g - x_hat * mean_g_x_hat), mask=i < D)
        dweight += dys * x_hat
        dbias += dys
    tl.store(dweights + program * D + i, dweight, mask=i < D)
    tl.store(dbiases + program * D + i, dbias, mask=i < D)


def softmax_forward(x: Any) -> tuple[Any, Any]:
    """Return y, and y again: it is all that backward needs."""
    y = torch.empty_like(x)
    _softmax_forward[(len(x),)](x, y, x.shape[1], **_constants(x))
    return y, y


def softmax_backward(dy: Any, y: Any) -> Any:
    """Return dx (N, D)."""
    dx = torch.empty_like(y)
    _softmax_backward[(len(y),)](dy, y, dx, y.shape[1], **_constants(y))
    return dx


def layer_norm_forward(x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    """Return y, and what backward needs: x (N, D), weight (D,), mean and rstd (N,)."""
    y, (mean, rstd) = torch.empty_like(x), x.new_empty((2, len(x)), dtype=_accumulator(x))
    _layer_norm_forward[(len(x),)](x, weight, bias, y, mean, rstd, x.shape[1], EPS, **_constants(x))
    return y, x, weight, mean, rstd


def layer_norm_backward(dy: Any, x: Any, weight: Any, mean: Any, rstd: Any) -> tuple[Any, Any, Any]:
    """Return dx (N, D), dweight and dbias (D,)."""
    N, D = x.shape
    programs = min(N, 2 * _multiprocessors(x))
    dx, partials = torch.empty_like(x), x.new_empty((2, programs, D), dtype=_accumulator(x))
    given = dy, x, weight, mean, rstd, dx, *partials, N, D
    _layer_norm_backward[(programs,)](*given, **_constants(x))
    return dx, *partials.sum(1)


def _accumulator(x: Any) -> Any:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _constants(x: Any) -> dict[str, Any]:
    block = triton.next_power_of_2(x.shape[1])
    accumulator = tl.float64 if x.dtype == torch.float64 else tl.float32
    return {"BLOCK": block, "ACC": accumulator, "num_warps": min(max(block // 512, 1), 32)}


def _multiprocessors(x: Any) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 2


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "layer_norm": (layer_norm_forward, layer_norm_backward),
    "softmax": (softmax_forward, softmax_backward),
}
"""Forward and backward, by the name of the subject."""
