"""Strips: how threads share the channels of x (N, C, S), whose values lie apart in memory.

A channel is cut into strips that a team of threads holds in its registers: pieces of rows of S positions, or,
if S is small, several rows. Kernels over strips are in batchnorm.cu. A pass over channels is a few launches:
sums or moments of strips, then of channels, then the elementwise pass.
"""

from typing import Any

from ...backends import Array, namespace
from ...backends.cuda.launch import CudaSource, contiguous, teams, wide, wide_empty
from ...backends.cuda.teams import Teams

_COLUMNS = Teams(vector=1, team=1, kept=16)
STRIP_SHAPES = ((8, 4), (32, 8), (256, 8), (256, 0))


class ChannelKernels:
    """The launches over the strips of x (N, C, S). Vectors are (1, C, 1)."""

    def __init__(self, source: CudaSource) -> None:
        self.source = source

    def statistics(self, x: Array, eps: float) -> list[Array]:
        """Return mean, var and rstd of every channel, by one kernel for strips and one for channels."""
        (N, C, S), (x,), (shape, outer, inner) = x.shape, contiguous(x), _strips(x)
        parts = wide_empty(x, outer, C, inner), wide_empty(x, outer, C, inner)
        found = [wide_empty(x, 1, C, 1) for _ in range(3)]
        sizes, n, each = (N, C, S), outer * C * inner, C / x.size
        self._launch("strip_moments", x, shape, n, x, *parts, *sizes, n, each)
        args = *parts, *found, *sizes, outer, inner, each, eps
        self.source.launch("batch_norm_moments", x.dtype, shape.template, C, 256, args)
        return found

    def normalized(
        self, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
    ) -> Array:
        """Return weight·(x - mean)·rstd + bias, by one kernel."""
        (x,), y = contiguous(x), namespace(x).empty_like(x)
        shape, outer, inner = _strips(x, y)
        vectors = wide(x, weight, bias, mean, rstd)
        self._launch("fixed_norm_forward", x, shape, outer * x.shape[1] * inner, x, *vectors, y, *x.shape)
        return y

    def sums(self, dy: Array, x: Array, mean: Array, rstd: Array) -> list[Array]:
        """Return Σ dy·x̂ and Σ dy of every channel, by one kernel for strips and one for channels."""
        (N, C, S), (dy, x), vectors = x.shape, contiguous(dy, x), wide(x, mean, rstd)
        shape, outer, inner = _strips(x, dy)
        parts, n = (wide_empty(x, outer, C, inner), wide_empty(x, outer, C, inner)), outer * C * inner
        self._launch("strip_sums", x, shape, n, dy, x, *vectors, *parts, N, C, S, n)
        of_columns = (self.source.sum_columns(part.reshape(outer, C * inner)) for part in parts)
        return [part.reshape(1, C, inner).sum(2, keepdims=True) for part in of_columns]

    def gradient(
        self, dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, *sums: Array | None
    ) -> Array:
        """Return dx, by one kernel, from the two `sums`; if they are None, mean and rstd are constants."""
        (dy, x), vectors, dx = contiguous(dy, x), wide(x, weight, mean, rstd), namespace(x).empty_like(x)
        shape, outer, inner = _strips(x, dy)
        n, each = outer * x.shape[1] * inner, x.shape[1] / x.size
        self._launch("batch_norm_backward", x, shape, n, dy, x, *vectors, *sums, dx, *x.shape, each)
        return dx

    def _launch(self, kernel: str, x: Array, shape: Teams, strips: int, *args: Any) -> None:
        self.source.launch(kernel, x.dtype, shape.template, shape.blocks(strips), shape.block, args)


def _strips(x: Array, *others: Array) -> tuple[Teams, int, int]:
    """Return how threads share the strips of x (N, C, S), and how many there are, as (outer, C, inner)."""
    N, _, S = x.shape
    if S < 8:
        return _COLUMNS, -(-N // _COLUMNS.kept), S
    shape = teams(S, x, *others, shapes=STRIP_SHAPES)
    shape = Teams(shape.vector, shape.team, shape.kept or STRIP_SHAPES[-2][1])
    return shape, N, -(-S // (shape.vector * shape.team * shape.kept))
