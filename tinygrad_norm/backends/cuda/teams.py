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

# (team, kept): the threads of a row, and the packs that each thread keeps, for rows of up to team·kept packs.
FORWARD_SHAPES = ((8, 1), (8, 4), (32, 4), (32, 8), (128, 8), (256, 8), (512, 0))
# Backward keeps two rows and two sums per column, so each thread keeps half as many packs.
BACKWARD_SHAPES = ((8, 1), (8, 4), (32, 4), (128, 4), (256, 4), (512, 2), (512, 0))


@dataclass(frozen=True)
class Teams:
    """The shape of a launch: `vector` values per pack, `team` threads per row, `kept` packs per thread."""

    vector: int
    team: int
    kept: int

    @property
    def template(self) -> tuple[int, int, int]:
        """The template arguments of the kernel: VEC, TEAM, KEPT."""
        return self.vector, self.team, self.kept

    @property
    def block(self) -> int:
        """Threads per block: one team, or as many small teams as fill the block."""
        return max(self.team, SMALLEST_BLOCK)

    @property
    def per_block(self) -> int:
        """Teams per block."""
        return self.block // self.team

    def blocks(self, rows: int) -> int:
        """Return the number of blocks that gives every row a team."""
        return -(-rows // self.per_block)


@functools.cache
def teams_for(
    D: int, itemsize: int, aligned: bool, shapes: Sequence[tuple[int, int]] = FORWARD_SHAPES
) -> Teams:
    """Return the smallest shape for rows of D values of `itemsize` bytes.

    `aligned` must be True only if every array of the launch starts at a multiple of 16 bytes.
    """
    vector = PACK // itemsize if aligned and D * itemsize % PACK == 0 else 1
    packs = -(-D // vector)
    team, kept = next((team, kept) for team, kept in shapes if packs <= team * kept or not kept)
    return Teams(vector, team, kept)
