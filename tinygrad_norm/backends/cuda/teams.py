"""How the threads of a launch share rows: the Python side of teams.cuh.

A team of threads owns a row of D values. It reads the row in packs of 16 bytes, or value by value if a row
does not start at a multiple of 16 bytes. A short row needs few threads, a long row a whole block. Up to the
largest shape, a row stays in registers. A longer row stays in shared memory if it fits; otherwise it is read
again.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

PACK = 16  # bytes: the most that a thread loads at once
SMALLEST_BLOCK = 128
MOST_THREADS = 1024  # of a block


Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Shapes:
    """Shapes for rows of increasing length, as pairs: the threads of a row, and the values that each keeps.

    A pair is for rows of up to threads·values values. The values are counted in 4 bytes: threads keep half as
    many of float64, and teams of 1024 threads, with 64 registers each, have no room for it. Half types stay
    packed, two in a register. 0 values: the row is not kept in registers.
    `most_packs` limits the packs of a thread; each is a load, and has an address.
    """

    pairs: Pairs
    most_packs: int = 8

    def in_packs(self, vector: int, itemsize: int) -> list[tuple[int, int]]:
        """Return the pairs with packs of `vector` values instead of values."""
        narrow = max(itemsize // 4, 1)
        return [
            (team, min(-(-values // narrow // vector), self.most_packs))
            for team, values in self.pairs
            if narrow * team < MOST_THREADS * 2 or not values
        ]


FORWARD_SHAPES = Shapes(((8, 4), (8, 16), (32, 16), (32, 32), (128, 32), (256, 32), (512, 32), (512, 0)))
# Backward keeps two rows.
BACKWARD_SHAPES = Shapes(((8, 4), (8, 16), (32, 16), (128, 16), (256, 16), (512, 16), (1024, 16), (512, 0)))
# A thread keeps weight, bias or their gradients from row to row, so it has few columns. It keeps them in
# registers or, if it has 16, in shared memory.
_FEW_COLUMNS = tuple((8 << k, 8) for k in range(7))
VECTOR_SHAPES = Shapes((*_FEW_COLUMNS, (1024, 8), (1024, 16), (512, 0)), most_packs=4)
# Backward waits for its loads in every row, so two blocks of 512 threads are better than one of 1024.
SUM_SHAPES = Shapes((*_FEW_COLUMNS, (512, 16), (1024, 16), (512, 0)), most_packs=4)
WIDE_BLOCK = 512  # threads of a block that accumulates sums over rows, if a team is not larger


@dataclass(frozen=True)
class Teams:
    """The shape of a launch: `vector` values per pack, `team` threads per row, `kept` packs per thread."""

    vector: int
    team: int
    kept: int
    smallest_block: int = SMALLEST_BLOCK

    @property
    def template(self) -> tuple[int, int, int]:
        """The template arguments of the kernel: VEC, TEAM, KEPT."""
        return self.vector, self.team, self.kept

    @property
    def block(self) -> int:
        """Threads per block: one team, or as many small teams as fill the block."""
        return max(self.team, self.smallest_block)

    @property
    def per_block(self) -> int:
        """Teams per block."""
        return self.block // self.team

    def blocks(self, rows: int) -> int:
        """Return the number of blocks that gives every row a team."""
        return -(-rows // self.per_block)


@functools.cache
def teams_for(D: int, itemsize: int, aligned: bool, shapes: Shapes | Pairs = FORWARD_SHAPES) -> Teams:
    """Return the smallest shape for rows of D values of `itemsize` bytes.

    `aligned` must be True only if every array of the launch starts at a multiple of 16 bytes. A plain
    sequence of `shapes` has pairs of threads and packs.
    """
    vector = PACK // itemsize if aligned and D * itemsize % PACK == 0 else 1
    pairs = shapes.in_packs(vector, itemsize) if isinstance(shapes, Shapes) else shapes
    packs = -(-D // vector)
    team, kept = next((team, kept) for team, kept in pairs if packs <= team * kept or not kept)
    return Teams(vector, team, kept)
