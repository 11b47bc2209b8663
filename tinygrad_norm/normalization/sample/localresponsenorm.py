"""Local response normalization: every entry is divided by a power of how strong its neighbour channels are.

    x (N, C, ...)   window(c) = channels c - size//2 … c + (size - 1)//2, as far as they exist
    d_c = k + (alpha/size)·Σ x_j² over window(c)   s = d^-beta   y = x·s

at every sample and position by itself. A window of even size reaches one channel further down than up;
at the borders the sum has fewer terms, but alpha is divided by the whole size.

In the code: r = √d root, s scale.

Krizhevsky, Sutskever, Hinton 2012 (NIPS 25), with k = 2, 5 channels, beta = 0.75 and alpha = 1e-4, not
divided by the size; here that is alpha = 5e-4. Caffe, and PyTorch after it, took over the number 1e-4 but
divide it by the size. Simonyan, Zisserman 2014, arXiv:1409.1556, found no gain from it in deep networks.

Backward, from dy = dL/dy. x_c is in the windows of all channels i with c in window(i): from c - (size-1)//2
to c + size//2, the window mirrored.

    straight         s_c·dy_c
    through every d  Σi dy_i·x_i·(-beta)·d_i^(-beta-1)·(alpha/size)·2·x_c

    dx = s·dy - (2·alpha·beta/size)·x·Σ dy·y/d      Σ over the mirrored window

With k = 0 a window may hold nothing but zeros; y and the gradient are 0 there.

Insight: with k = 0, beta = 1/2 and a window over all channels this is RMS normalization across channels,
up to a constant factor. A small window makes it local: a strong response pushes down those beside it.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, Self

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.loop_math import exp, larger, log_of_normal
from ...backends.cpu.pool_loops import kept
from ...backends.cpu.sums import largest, smallest
from ...backends.cuda.launch import CudaSource, accumulator_dtype, contiguous, inverse, wide, wide_empty
from ...backends.float_info import finfo
from ...module import Module
from ...ops import cat, zeros
from ...ops.arguments import as_number, as_size
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, register

_kernels = CudaSource(__file__, "../core/moments.cuh")
_WALKED = 16  # channels of a thread: CHANNELS in localresponsenorm.cu
_LIKE_X = kept(0, 1, 2)


def local_response_norm_composed(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Local response normalization from primitives: autograd finds the gradient."""
    N, C, *space = input.shape
    below, above = (zeros(N, n, *space, dtype=input.dtype) for n in (size // 2, (size - 1) // 2))
    squares = cat([below, input * input, above], 1)
    total = squares[:, :C]
    for offset in range(1, size):
        total = total + squares[:, offset : offset + C]
    d = total * (alpha / size) + k
    return input * d**-beta


@kernel
@in_blocks("x")
def local_response_norm_forward(
    x: Array, size: int, alpha: float, beta: float, k: float
) -> tuple[Array, Array, Array]:
    """Return y, scale and root, all (N, C, S) as x."""
    root = (k + (alpha / size) * _window_sums(x**2, size)) ** 0.5
    if not _is_ordinary(root, beta):
        return _extreme_forward(x, size, alpha, beta, k)
    scale = root ** (-2 * beta)
    return x * scale, scale, root


@local_response_norm_forward.loops(scale=_LIKE_X, root=_LIKE_X)
def local_response_norm_forward_loop(
    x: Array,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    y: Array,
    scale: Array,
    root: Array,
    left: Array,
) -> None:
    """One channel after the other: the sum over its window at all positions, then the powers."""
    (N, C, S), real = x.shape, x.dtype.type
    below, above = int(size) // 2, (int(size) - 1) // 2
    share, one, most = real(alpha / size), real(1), real(numpy.exp(_ORDINARY / (abs(beta) + 1)))
    for n in range(N):
        worst = real(0)
        for c in range(C):
            d = root[n, c]
            d[:] = 0
            for j in range(max(c - below, 0), min(c + above + 1, C)):
                for i in range(S):
                    d[i] += x[n, j, i] * x[n, j, i]
            for i in range(S):
                total = k + share * d[i]
                worst = larger(worst, larger(total, one / total))
                s = exp(-beta * log_of_normal(total))
                y[n, c, i], scale[n, c, i], d[i] = x[n, c, i] * s, s, numpy.sqrt(total)
        left[n] = not worst < most


@local_response_norm_forward.cuda
def local_response_norm_forward_cuda(
    x: Array, size: int, alpha: float, beta: float, k: float
) -> tuple[Array, ...]:
    """One kernel: a thread has one position of some channels."""
    (x,) = contiguous(x)
    results = namespace(x).empty_like(x), wide_empty(x, *x.shape), wide_empty(x, *x.shape)
    _launch("local_response_norm_forward", (x, *results), size, math.sqrt(alpha / size), math.sqrt(k), beta)
    return results


def _launch(kernel: str, arrays: tuple[Any, ...], size: int, *numbers: float) -> None:
    N, C, S = arrays[0].shape
    parts = -(-C // _WALKED)
    below, above = min(size // 2, C), min((size - 1) // 2, C)
    args = *arrays, N, C, S, inverse(S), inverse(parts), below, above, *numbers
    _kernels.launch(kernel, arrays[0].dtype, (), -(-N * parts * S // 256), 256, args)


def _window_sums(z: Array, size: int, mirrored: bool = False) -> Array:
    """Return Σ z over the window of every channel, or over the mirrored window; z (N, C, S)."""
    total = namespace(z).zeros_like(z)
    for own, other in _windows(z.shape[1], size):
        own, other = (other, own) if mirrored else (own, other)
        total[:, own] += z[:, other]
    return total


def _extreme_forward(x: Array, size: int, alpha: float, beta: float, k: float) -> tuple[Array, Array, Array]:
    """Do without squares and high powers, which may leave the range of the dtype."""
    xp = namespace(x)
    z = x * math.sqrt(alpha / size)
    root = xp.full_like(x, math.sqrt(k))
    for own, other in _windows(x.shape[1], size):
        root[:, own] = xp.hypot(root[:, own], z[:, other])
    y, scale = _product(_ratio(x, root), _power(root, 1 - 2 * beta)), _power(root, -2 * beta)
    return xp.where(xp.isfinite(root), y, x * scale), scale, root


@kernel
@in_blocks("dy", "x", "scale", "root")
def local_response_norm_backward(
    dy: Array, x: Array, scale: Array, root: Array, size: int, alpha: float, beta: float
) -> Array:
    """Return dx (N, C, S)."""
    if not _is_ordinary(root, beta):
        return _extreme_backward(dy, x, scale, root, size, alpha, beta)
    y, d = x * scale, root**2
    return scale * dy - (2 * alpha * beta / size) * x * _window_sums(dy * y / d, size, mirrored=True)


@local_response_norm_backward.loops()
def local_response_norm_backward_loop(
    dy: Array,
    x: Array,
    scale: Array,
    root: Array,
    size: int,
    alpha: float,
    beta: float,
    dx: Array,
    left: Array,
) -> None:
    """One sample after the other: dy·y/d of all channels, then their sums over the mirrored windows."""
    (N, C, S), real = x.shape, x.dtype.type
    above, below = int(size) // 2, (int(size) - 1) // 2
    slope, most = real(2 * alpha * beta / size), real(numpy.exp(_ORDINARY / (2 * abs(beta) + 2)))
    dy_y_d, one = numpy.empty((C, S), x.dtype), real(1)
    for n in range(N):
        worst = real(0)
        for c in range(C):
            for i in range(S):
                r = root[n, c, i]
                inverse_r = one / r
                worst = larger(worst, larger(r, inverse_r))
                dy_y_d[c, i] = dy[n, c, i] * (x[n, c, i] * scale[n, c, i]) * inverse_r * inverse_r
        for c in range(C):
            through = dx[n, c]
            through[:] = 0
            for j in range(max(c - below, 0), min(c + above + 1, C)):
                for i in range(S):
                    through[i] += dy_y_d[j, i]
            for i in range(S):
                through[i] = scale[n, c, i] * dy[n, c, i] - slope * x[n, c, i] * through[i]
        left[n] = not worst < most


@local_response_norm_backward.cuda
def local_response_norm_backward_cuda(
    dy: Array, x: Array, scale: Array, root: Array, size: int, alpha: float, beta: float
) -> Array:
    """One kernel, like forward with mirrored windows."""
    (dy, x), statistics = contiguous(dy, x), wide(x, scale, root)
    dx = namespace(x).empty_like(x)
    slope, most = 2 * alpha * beta / size, _highest_ordinary(accumulator_dtype(x), beta)
    arrays = dy, x, *statistics, dx
    _launch("local_response_norm_backward", arrays, size, slope, beta, most)
    return dx


def _extreme_backward(
    dy: Array, x: Array, scale: Array, root: Array, size: int, alpha: float, beta: float
) -> Array:
    """Take scale out of the sum, which leaves powers of ratios; where it is not finite, use the formula."""
    xp = namespace(x)
    share, through = dy * _ratio(x, root), xp.zeros_like(x)
    for own, other in _windows(x.shape[1], size):
        relative_scale = _power(_ratio(root[:, own], root[:, other]), -2 * beta)
        through[:, other] += _product(share[:, own] * _ratio(x[:, other], root[:, own]), relative_scale)
    dx = _product(dy - through * (2 * alpha * beta / size), scale)
    infinite = ~xp.isfinite(root)
    if not infinite.any():
        return dx
    touched = _window_sums(infinite.astype(x.dtype), size, mirrored=True) > 0
    share = dy * x * root ** (-2 * beta - 2) if beta else xp.zeros_like(x)
    through = _window_sums(share, size, mirrored=True)
    return xp.where(touched, scale * dy - (2 * alpha * beta / size) * x * through, dx)


def _windows(C: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield, for every place in the window, the channels that have one there, and which that is."""
    for offset in range(max(-(size // 2), 1 - C), min((size - 1) // 2, C - 1) + 1):
        below, above = max(0, -offset), max(0, offset)
        yield slice(below, C - above), slice(above, C - below)


def _is_ordinary(root: Array, beta: float) -> bool:
    """Return whether the powers of root in forward and backward stay in the range of the dtype."""
    high = _highest_ordinary(root.dtype, beta)
    return root.size == 0 or (1 / high < smallest(root) and largest(root) < high)


_ORDINARY = 88.0
"""log of the largest number to which powers of root may come in loops: for float32, and so for float64."""


@functools.cache
def _highest_ordinary(dtype: numpy.dtype, beta: float) -> float:
    return float(finfo(dtype).max) ** (1 / (2 * abs(beta) + 2))


def _product(a: Array, b: Array) -> Array:
    """Return a·b; nothing times what overflowed is nothing."""
    return namespace(a).where((a == 0) & (b == b), 0, a * b)


def _ratio(a: Array, root: Array) -> Array:
    return a / namespace(a).where(root == 0, 1, root)


def _power(root: Array, exponent: float) -> Array:
    if exponent >= 0:
        return root**exponent
    xp = namespace(root)
    return xp.where(root == 0, 0, xp.where(root == 0, 1, root) ** exponent)


class LocalResponseNormFunction(Function):
    """y = x·d^-beta, d = k + (alpha/size)·Σ x² · dx = d^-beta·dy - (2·alpha·beta/size)·x·Σ dy·y/d"""

    def forward(self, x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
        pixels = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        y, scale, root = local_response_norm_forward(pixels, size, alpha, beta, k)
        self.saved = pixels, scale, root, size, alpha, beta
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx = local_response_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by (k + (alpha/size)·Σ x²)^beta, summed over `size` neighbouring channels.

    Args:
        input: (N, C, ...) with at least 3 axes.
        size: channels in a window, size//2 of them below the own one; may be more than there are.
        alpha: in units of 1/input².
        beta: the power.
        k: the divisor, before the power, if all neighbours are 0.

    Raises:
        TypeError: if the input is not a floating-point tensor, or an argument is not a number.
        ValueError: if the input has fewer than 3 axes, size is below 1, alpha or k is negative, both are 0,
            or a number is not finite.

    Source: Krizhevsky, Sutskever, Hinton 2012.
    """
    check_input(input, "local_response_norm")
    if input.ndim < 3:
        raise ValueError(
            f"local_response_norm takes x (N, C, ...) with at least 3 axes, got shape {input.shape}: give "
            "(N, C) a position, as in x.unsqueeze(-1)"
        )
    size, alpha, beta, k = _checked(size, alpha, beta, k)
    return LocalResponseNormFunction.apply(input, size=size, alpha=alpha, beta=beta, k=k)


def _checked(size: int, alpha: float, beta: float, k: float) -> tuple[int, float, float, float]:
    size = as_size(size, "size")
    alpha, beta, k = as_number(alpha, "alpha"), as_number(beta, "beta"), as_number(k, "k")
    if not (0 <= alpha < math.inf and 0 <= k < math.inf and math.isfinite(beta)):
        raise ValueError(
            f"alpha and k must be at least 0, and all three finite, got alpha={alpha}, beta={beta}, k={k}"
        )
    if alpha == k == 0:
        raise ValueError("alpha and k are both 0: there is nothing to divide by")
    return size, alpha, beta, k


class LocalResponseNorm(Module):
    """Local response normalization of (N, C, ...), across channels; see local_response_norm.

    As in PyTorch, alpha is divided by the size; `as_in_the_paper` takes it undivided.
    Source: Krizhevsky, Sutskever, Hinton 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = _checked(size, alpha, beta, k)

    @classmethod
    def as_in_the_paper(cls, n: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Self:
        """Return y = x/(k + alpha·Σ x²)^beta over n//2 channels on either side, the paper's formula."""
        size = as_size(n, "n") // 2 * 2 + 1
        return cls(size, alpha * size, beta, k)

    def forward(self, input: Tensor) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


register(
    name="local_response_norm",
    function=local_response_norm,
    composed=local_response_norm_composed,
    cases=(
        Case(((2, 5, 3),), {"size": 3}),
        Case(((2, 5, 3),), {"size": 3, "alpha": 2.0}),
        Case(((2, 5, 3),), {"size": 4, "alpha": 2.0}),
        Case(((2, 4, 2, 2),), {"size": 2, "alpha": 1.0, "beta": 0.5, "k": 2.0}),
        Case(((2, 3, 2, 1, 2),), {"size": 9, "alpha": 3.0, "beta": 1.5}),
        Case(((1, 2, 3),), {"size": 1, "alpha": 1.0}),
        Case(((2, 1, 3),), {"size": 5, "alpha": 1.0}),
        Case(((2, 4, 3),), {"size": 3, "alpha": 1.0, "beta": 0.75, "k": 0.0}),
        Case(((2, 4, 3),), {"size": 3, "alpha": 1.0, "beta": -0.5}),
        Case(((2, 4, 3),), {"size": 3, "alpha": 1.0, "beta": 0.0}),
        Case(((2, 4, 3),), {"size": 3, "alpha": 0.0, "k": 2.0}),
        Case(((0, 4, 3),), {"size": 3}),
    ),
    errors=(
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4).long(), 3), TypeError, "floating-point"),
        ErrorCase(lambda: local_response_norm(_ones(2, 3), 3), ValueError, "3 axes"),
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 0), ValueError, "size must be at least 1"),
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 2.5), TypeError, "size must be an int"),  # type: ignore[arg-type]
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 3, -1.0), ValueError, "alpha and k"),
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 3, k=-1.0), ValueError, "alpha and k"),
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 3, beta=math.nan), ValueError, "finite"),
        ErrorCase(
            lambda: local_response_norm(_ones(2, 3, 4), 3, 0.0, k=0.0), ValueError, "nothing to divide by"
        ),
        ErrorCase(lambda: local_response_norm(_ones(2, 3, 4), 3, "1"), TypeError, "alpha"),  # type: ignore[arg-type]
        ErrorCase(lambda: LocalResponseNorm(3, k=-1.0), ValueError, "alpha and k"),
        ErrorCase(lambda: LocalResponseNorm.as_in_the_paper(0), ValueError, "n must be"),
    ),
    kind="normalization",
    title="LocalResponseNorm",
    paper="Krizhevsky, Sutskever, Hinton 2012",
    pool="neighbouring channels at one position, no mean",
    torch="torch.nn.functional.local_response_norm",
    bench=tuple(Case((shape,), {"size": 5}) for shape in ((64, 32, 8, 8), (32, 96, 27, 27))),
)
