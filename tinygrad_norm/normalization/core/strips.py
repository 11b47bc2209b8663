"""Strips: how threads share the channels of x (N, C, S), whose values lie apart in memory.

A channel is cut into strips that a team of threads holds in its registers: pieces of rows of S positions, or,
if S is small, several rows. Kernels over strips are in batchnorm.cu and lpbatchnorm.cu, which share
strips.cuh. A pass over channels is a few launches: sums or moments of strips, then of channels, then the
elementwise pass.
"""

from dataclasses import dataclass
from typing import Any

from ...backends import Array, namespace
from ...backends.cuda.launch import (
    CudaSource,
    contiguous,
    inverse,
    mean_dtype,
    statistics_of,
    teams,
    wide,
    wide_empty,
    written_or_given,
)
from ...backends.cuda.teams import Teams

_COLUMNS = Teams(vector=1, team=1, kept=32)
STRIP_SHAPES = ((8, 4), (32, 8), (256, 8), (256, 0))


@dataclass(frozen=True)
class Strips:
    """The strips of x (N, C, S): `outer`·C·`inner`, of `whole` values each but the last ones."""

    sizes: tuple[int, int, int]
    teams: Teams
    outer: int
    inner: int
    whole: int

    @property
    def count(self) -> int:
        """Return how many strips there are."""
        return self.outer * self.sizes[1] * self.inner

    @property
    def arguments(self) -> tuple[int, ...]:
        """What kernels take: N, C, S, I, whole, and the inverses of C and I."""
        return *self.sizes, self.inner, self.whole, inverse(self.sizes[1]), inverse(self.inner)

    def launch(self, source: CudaSource, kernel: str, x: Array, *args: Any) -> None:
        """Launch a kernel of `source` that gives every strip a team. Its arguments are x, then `args`."""
        teams = self.teams
        source.launch(kernel, x.dtype, teams.template, teams.blocks(self.count), teams.block, (x, *args))


class ChannelKernels:
    """The launches over the strips of x (N, C, S). Vectors are (1, C, 1)."""

    def __init__(self, source: CudaSource) -> None:
        self.source = source

    def statistics(self, x: Array, eps: float) -> list[Array]:
        """Return mean, var and rstd of every channel, by one kernel for strips and one for channels."""
        (N, C, S), (x,), strips = x.shape, contiguous(x), strips_of(x)
        outer, inner, each = strips.outer, strips.inner, C / x.size
        parts = statistics_of(x, 2, outer, inner, C)
        found = statistics_of(x, 3, 1, C, 1)
        self._launch("strip_moments", x, strips, x, *parts, *strips.arguments, strips.count, each)
        samples = strips.teams == _COLUMNS
        sizes = C, outer, inner, strips.whole, N if samples else S, inverse(inner)
        args = *parts, *found, *sizes, samples, each, eps
        self.source.launch("batch_norm_moments", x.dtype, (), -(-C // 8), 512, args)
        return found

    def normalized(
        self, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
    ) -> Array:
        """Return weight·(x - mean)·rstd + bias, by one kernel."""
        (x,) = contiguous(x)
        y, affine = namespace(x).empty_like(x), wide(x, weight, bias)
        vectors = *affine, *written_or_given(x, mean), *wide(x, rstd)
        strips = strips_of(x, y)
        self._launch("fixed_norm_forward", x, strips, x, *vectors, y, *strips.arguments)
        return y

    def sums(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        rstd: Array,
        dx: Array | None = None,
        weight: Array | None = None,
    ) -> Array:
        """Return Σ dy·x̂ and Σ dy of every channel as (2, 1, C, 1): one kernel for strips, one for channels.

        The first also writes `dx` = rstd·weight·dy, if that is given.
        """
        dy, x = contiguous(dy, x)
        vectors = *wide(x, weight), *written_or_given(x, mean), *wide(x, rstd)
        strips, C = strips_of(x, dy, dx), x.shape[1]
        parts = wide_empty(x, 2, strips.outer * strips.inner, C)
        args = dy, x, *vectors, parts[0], parts[1], dx, *strips.arguments, strips.count
        self._launch("strip_sums", x, strips, *args)
        return self.source.sum_columns(parts).reshape(2, 1, C, 1)

    def gradient(
        self, dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, *sums: Array
    ) -> Array:
        """Return dx, by one kernel, from the two `sums`."""
        dy, x = contiguous(dy, x)
        vectors = *wide(x, weight), mean.astype(mean_dtype(x), copy=False), *wide(x, rstd)
        dx, each = namespace(x).empty_like(x), x.shape[1] / x.size
        strips = strips_of(x, dy, dx)
        self._launch("batch_norm_backward", x, strips, dy, x, *vectors, *sums, dx, *strips.arguments, each)
        return dx

    def _launch(self, kernel: str, x: Array, strips: Strips, *args: Any) -> None:
        teams = strips.teams
        self.source.launch(kernel, x.dtype, teams.template, teams.blocks(strips.count), teams.block, args)


def strips_of(x: Array, *others: Array | None) -> Strips:
    """Return the strips of x (N, C, S), in launches that also read or write `others`."""
    N, C, S = x.shape
    if S < 32:
        return Strips((N, C, S), _COLUMNS, -(-N // _COLUMNS.kept), S, _COLUMNS.kept)
    shape = teams(S, x, *others, shapes=STRIP_SHAPES)
    shape = Teams(shape.vector, shape.team, shape.kept or STRIP_SHAPES[-2][1])
    whole = shape.vector * shape.team * shape.kept
    return Strips((N, C, S), shape, N, -(-S // whole), whole)
