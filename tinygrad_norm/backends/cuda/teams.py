"""How the threads of a launch share rows: the Python side of teams.cuh.

A team of threads owns a row of D values and reads it in packs of 16 bytes, or value by value where a row
does not begin at a multiple of 16 bytes. Few threads suffice for a short row; a long one takes a block.
Up to the largest shape the row stays in registers; longer ones in shared memory where they fit, or are
read again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PACK = 16  # bytes, the most that a thread loads at once
SMALLEST_BLOCK = 128

# (team, kept): the threads of a row and the packs that each keeps, for rows of up to team·kept packs.
FORWARD_SHAPES = ((8, 1), (8, 4), (32, 4), (32, 8), (128, 8), (256, 8), (512, 0))
# Backward keeps two rows and two sums of every column: half as many packs.
BACKWARD_SHAPES = ((8, 1), (8, 4), (32, 4), (128, 4), (256, 4), (512, 2), (512, 0))


@dataclass(frozen=True)
class Teams:
    """The shape of a launch over rows: `vector` values a pack, `team` threads a row, `kept` packs each."""

    vector: int
    team: int
    kept: int

    @property
    def template(self) -> tuple[int, int, int]:
        """The numbers by which the kernel is compiled: VEC, TEAM, KEPT."""
        return self.vector, self.team, self.kept

    @property
    def block(self) -> int:
        """Threads of a block: one team, or as many small ones as fill it."""
        return max(self.team, SMALLEST_BLOCK)

    @property
    def per_block(self) -> int:
        """Teams of a block."""
        return self.block // self.team

    def blocks(self, rows: int) -> int:
        """Return how many blocks have a team for every row."""
        return -(-rows // self.per_block)


def teams_for(
    D: int, itemsize: int, aligned: bool, shapes: Sequence[tuple[int, int]] = FORWARD_SHAPES
) -> Teams:
    """Return the smallest shape for rows of D values of `itemsize` bytes.

    `aligned` says that every array of the launch begins at a multiple of 16 bytes.
    """
    vector = PACK // itemsize if aligned and D * itemsize % PACK == 0 else 1
    packs = -(-D // vector)
    team, kept = next((team, kept) for team, kept in shapes if packs <= team * kept or not kept)
    return Teams(vector, team, kept)


def aligned(*addresses: Any) -> bool:
    """Return whether all addresses are multiples of 16 bytes."""
    return all(address % PACK == 0 for address in addresses)
