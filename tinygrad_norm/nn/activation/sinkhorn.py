"""Sinkhorn: positive matrices whose rows and columns sum to nearly 1, by dividing by the sums in turn.

    x (..., n, m)   p = softmax(x) of each row   M = p + eps
    M ← M/(Σ M + eps) over columns, then T - 1 times over rows and over columns   y = M

The last step divides the columns: they sum to 1 but for eps. Rows do so only as far as T iterations, 20 of
them here, converge: see Insight. With n = m, y is close to a doubly stochastic matrix.

In the code: T iterations, Σ M + eps of the steps `rows` and `columns`.

Sinkhorn, Knopp 1967; in this order, with softmax and these eps, Xie et al. 2025, arXiv:2512.24880, as in the
code of DeepSeek-V4.

Backward, step by step, the last one first. For one line (a row, or a column) of one step, Y = M/s with
s = Σ M + eps, from dY = dL/dY. M_k reaches Y_k directly, and every Y_i of its line through s:

    straight     ∂Y_k/∂M_k = 1/s                          dY_k/s
    through s    ∂s/∂M_k = 1, ∂Y_i/∂s = -M_i/s² = -Y_i/s  -Σ_i dY_i·Y_i/s

    dM = (dY - Σ dY·Y)/s

which needs Y and s only. M = Y·s is the Y of the step before, so of all matrices only the last is kept, and
n + m sums of each iteration. After the first step, dp = dM, and with the gradient of softmax (softmax.py)

    dx = p·(dp - Σ dp·p)

Insight: for large differences in x, 20 iterations are far from enough: a row of a 4×4 matrix of normal x is
off by less than 1e-4, but in the worst of 200 draws by 0.05 if x is multiplied by 4, and by 0.07 if by 8.
Only the columns sum to 1, but for eps, whatever x is.
"""

from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ...backends.cuda.launch import CudaSource, contiguous, shared_bytes, wide_empty
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import check_eps, check_input, check_normal
from ...registry import Case, ErrorCase, register, uniform
from .softmax import softmax_backward, softmax_composed, softmax_forward

_kernels = CudaSource(__file__)


def sinkhorn_composed(input: Tensor, iterations: int = 20, eps: float = 1e-6) -> Tensor:
    """Sinkhorn from primitives: autograd finds the gradient."""
    M = softmax_composed(input, -1) + eps
    M = M / (M.sum(-2, keepdim=True) + eps)
    for _ in range(iterations - 1):
        M = M / (M.sum(-1, keepdim=True) + eps)
        M = M / (M.sum(-2, keepdim=True) + eps)
    return M


@kernel
@in_blocks("p")
def sinkhorn_forward(p: Array, iterations: int, eps: float) -> tuple[Array, Array, Array]:
    """Return y (N, n, m), and the divisors rows (N, T - 1, n) and columns (N, T, m): p (N, n, m)."""
    (N, n, m), xp = p.shape, namespace(p)
    rows, columns = xp.empty((N, iterations - 1, n), p.dtype), xp.empty((N, iterations, m), p.dtype)
    M = p + eps
    for k in range(iterations):
        if k:
            rows[:, k - 1] = M.sum(2) + eps
            M = M / rows[:, k - 1, :, None]
        columns[:, k] = M.sum(1) + eps
        M = M / columns[:, k, None]
    return M, rows, columns


def sinkhorn_forward_loop(
    p: Array, eps: float, y: Array, rows: Array, columns: Array, start: int, stop: int
) -> None:
    """One matrix after the other."""
    _, n, m = p.shape
    small = p.dtype.type(eps)
    for b in range(start, stop):
        for i in range(n):
            for j in range(m):
                y[b, i, j] = p[b, i, j] + small
        for k in range(columns.shape[1]):
            if k > 0:
                for i in range(n):
                    s = small
                    for j in range(m):
                        s += y[b, i, j]
                    rows[b, k - 1, i] = s
                    for j in range(m):
                        y[b, i, j] /= s
            for j in range(m):
                s = small
                for i in range(n):
                    s += y[b, i, j]
                columns[b, k, j] = s
                for i in range(n):
                    y[b, i, j] /= s


_forward_loop = Loop(sinkhorn_forward_loop)


@sinkhorn_forward.cpu
def sinkhorn_forward_cpu(p: Array, iterations: int, eps: float) -> Any:
    """All steps of a matrix while it is in the cache."""
    if not fits_a_loop(p):
        return NotImplemented
    N, n, m = p.shape
    y, rows, columns = (
        numpy.empty(shape, p.dtype) for shape in (p.shape, (N, iterations - 1, n), (N, iterations, m))
    )
    run_over_pools(_forward_loop, p.size * iterations, N, plain(p), float(eps), y, rows, columns)
    return y, rows, columns


@sinkhorn_forward.cuda
def sinkhorn_forward_cuda(p: Array, iterations: int, eps: float) -> tuple[Array, Array, Array]:
    """One kernel: p is read once, y is written once."""
    (N, n, m), (p,) = p.shape, contiguous(p)
    y = namespace(p).empty_like(p)
    rows, columns = wide_empty(p, N, iterations - 1, n), wide_empty(p, N, iterations, m)
    if p.size:
        work, threads, shared = _places(p, 1)
        args = p, y, rows, columns, work, n, m, iterations, eps
        _kernels.launch("sinkhorn_forward", p.dtype, (), N, threads, args, shared)
    return y, rows, columns


@kernel
@in_blocks("dy", "y", "rows", "columns")
def sinkhorn_backward(dy: Array, y: Array, rows: Array, columns: Array) -> Array:
    """Return dp (N, n, m)."""
    dM, M = dy, y
    for k in reversed(range(columns.shape[1])):
        s = columns[:, k, None]
        dM, M = (dM - (dM * M).sum(1, keepdims=True)) / s, M * s
        if k:
            s = rows[:, k - 1, :, None]
            dM, M = (dM - (dM * M).sum(2, keepdims=True)) / s, M * s
    return dM


def sinkhorn_backward_loop(
    dy: Array, y: Array, rows: Array, columns: Array, M: Array, dp: Array, start: int, stop: int
) -> None:
    """One matrix after the other; M is overwritten."""
    _, n, m = y.shape
    for b in range(start, stop):
        for i in range(n):
            for j in range(m):
                M[b, i, j], dp[b, i, j] = y[b, i, j], dy[b, i, j]
        for k in range(columns.shape[1] - 1, -1, -1):
            for j in range(m):
                s, total = columns[b, k, j], M.dtype.type(0)
                for i in range(n):
                    total += dp[b, i, j] * M[b, i, j]
                for i in range(n):
                    dp[b, i, j] = (dp[b, i, j] - total) / s
                    M[b, i, j] *= s
            if k > 0:
                for i in range(n):
                    s, total = rows[b, k - 1, i], M.dtype.type(0)
                    for j in range(m):
                        total += dp[b, i, j] * M[b, i, j]
                    for j in range(m):
                        dp[b, i, j] = (dp[b, i, j] - total) / s
                        M[b, i, j] *= s


_backward_loop = Loop(sinkhorn_backward_loop)


@sinkhorn_backward.cpu
def sinkhorn_backward_cpu(dy: Array, y: Array, rows: Array, columns: Array) -> Any:
    """All steps of a matrix while it is in the cache."""
    if not fits_a_loop(y, dy, rows, columns):
        return NotImplemented
    M, dp = numpy.empty(y.shape, y.dtype), numpy.empty(y.shape, y.dtype)
    arrays = plain(dy), plain(y), plain(rows), plain(columns), M, dp
    run_over_pools(_backward_loop, y.size * columns.shape[1], len(y), *arrays)
    return dp


@sinkhorn_backward.cuda
def sinkhorn_backward_cuda(dy: Array, y: Array, rows: Array, columns: Array) -> Array:
    """One kernel: dy and y are read once, dp is written once."""
    (N, n, m), (dy, y) = y.shape, contiguous(dy, y)
    dp = namespace(y).empty_like(y)
    if y.size:
        work, threads, shared = _places(y, 2)
        args = dy, y, *contiguous(rows, columns), dp, work, n, m, columns.shape[1]
        _kernels.launch("sinkhorn_backward", y.dtype, (), N, threads, args, shared)
    return dp


def _places(x: Array, count: int) -> tuple[Array | None, int, int]:
    """Return where blocks keep `count` matrices, if not in shared memory; threads; bytes of shared memory."""
    N, n, m = x.shape
    shared = shared_bytes(x, count, n * m)
    threads = min(256, -(-max(n, m) // 32) * 32)
    return (None if shared else wide_empty(x, N, count, n, m)), threads, shared


class SinkhornFunction(Function):
    """Y = M/(Σ M + eps), columns and rows in turn, M = softmax(x) + eps · dM = (dY - Σ dY·Y)/(Σ M + eps)"""

    def forward(self, x: Array, *, iterations: int, eps: float) -> Array:
        wide = upcast(x)  # of half types all of it: 1/eps is beyond the largest number of float16
        matrices = wide.reshape(-1, *x.shape[-2:]) if x.size else wide.reshape(0, 1, 1)
        p = softmax_forward(matrices.reshape(-1, matrices.shape[2]))
        y, rows, columns = sinkhorn_forward(p.reshape(matrices.shape), iterations, eps)
        self.saved = p, y, rows, columns
        return downcast(y, x).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        p, y, rows, columns = self.saved
        dp = sinkhorn_backward(upcast(dy).reshape(y.shape), y, rows, columns)
        return downcast(softmax_backward(dp.reshape(p.shape), p), dy).reshape(dy.shape)


def sinkhorn(input: Tensor, iterations: int = 20, eps: float = 1e-6) -> Tensor:
    """Return softmax(input) of each row, divided by its column sums, then by row and column sums in turn.

    Columns of the result sum to 1; rows too as far as the iterations converge.

    Args:
        input: (..., n, m), any real numbers.
        iterations: how often columns are divided; before each but the first, rows are.
        eps: above 0, added to the softmax, and to each sum: a column may be 0 in the softmax.

    Raises:
        TypeError: if the input is not a floating-point tensor, or iterations not an int.
        ValueError: if the input has fewer than 2 axes, iterations is below 1, or eps is not above 0 or
            too small or large for a normal number of the dtype (float32 for half types).

    Source: Sinkhorn, Knopp 1967; Xie et al. 2025, arXiv:2512.24880.
    """
    check_input(input, "sinkhorn")
    if input.ndim < 2:
        raise ValueError(f"sinkhorn takes matrices (..., n, m), got shape {input.shape}")
    check_eps(eps)
    check_normal(eps, input, "eps")
    return SinkhornFunction.apply(input, iterations=as_size(iterations, "iterations"), eps=float(eps))


register(
    name="sinkhorn",
    function=sinkhorn,
    composed=sinkhorn_composed,
    cases=(
        Case(((2, 4, 4),)),
        Case(((3, 2),), {"iterations": 1}),
        Case(((2, 1, 2, 5),), {"iterations": 3, "eps": 1e-3}),
        Case((uniform(-5, 5, 3, 3),), {"iterations": 5}),
        Case(((0, 4, 4),)),
    ),
    errors=(
        ErrorCase(lambda: sinkhorn(ones(2, 2, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: sinkhorn(ones(3)), ValueError, "matrices (..., n, m), got shape (3,)"),
        ErrorCase(lambda: sinkhorn(ones(2, 2), 0), ValueError, "iterations"),
        ErrorCase(lambda: sinkhorn(ones(2, 2), 2.5), TypeError, "iterations"),  # type: ignore[arg-type]
        ErrorCase(lambda: sinkhorn(ones(2, 2), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: sinkhorn(ones(2, 2), eps=0.0), ValueError, "eps must be from 1.2e-38 to 3.4e+38"),
    ),
    title="Sinkhorn",
    paper="Xie et al. 2025, arXiv:2512.24880",
    bench=tuple(Case((shape,)) for shape in ((4096, 4, 4), (64, 64, 64))),
)
