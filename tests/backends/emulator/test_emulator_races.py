"""The race detector compared with an oracle: random programs, and vector clocks for every access.

A program is a table of steps, one per thread and row: nothing, a read or a write of a cell, or a
barrier of the block or of some lanes of a warp. It has a race if two accesses to one cell, one of them a
write, are not ordered by barriers. The detector must report exactly these programs, under any schedule.
"""

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import KernelError, RawModule, asarray, schedule, zeros

NOTHING, READ, WRITE, SYNCTHREADS, SYNCWARP = range(5)
THREADS, CELLS, ROWS = 64, 3, 12

INTERPRETER = """
template <bool SHARED>
__global__ void interpret(const int2* program, int rows, volatile int* global_cells) {
  __shared__ volatile int shared_cells[3];
  volatile int* cells = SHARED ? shared_cells : global_cells;
  for (int row = 0; row < rows; row++) {
    int2 step = program[(blockIdx.x * rows + row) * blockDim.x + threadIdx.x];
    if (step.x == 1) cells[step.y];
    if (step.x == 2) cells[step.y] = row;
    if (step.x == 3) __syncthreads();
    if (step.x == 4) __syncwarp(step.y);
  }
}
"""


@pytest.fixture(scope="module")
def interpreter(compiler):
    names = ("interpret<true>", "interpret<false>")
    return RawModule(code=INTERPRETER, name_expressions=names, checked=True)


def random_program(rng, blocks):
    """The steps of a few threads, (blocks, ROWS, THREADS, 2): the operation, and its cell or lanes."""
    program = np.zeros((blocks, ROWS, THREADS, 2), np.uint32)
    active = rng.choice(THREADS, rng.integers(2, 7), replace=False)
    for row in program.reshape(-1, THREADS, 2):
        kind = rng.choice([READ, SYNCTHREADS, SYNCWARP], p=[0.4, 0.2, 0.4])
        if kind == READ:
            for thread in active[rng.random(active.size) < 0.25]:
                row[thread] = rng.choice([READ, WRITE], p=[0.6, 0.4]), rng.integers(CELLS)
        elif kind == SYNCTHREADS:
            row[:, 0] = SYNCTHREADS
        else:
            first = 32 * rng.integers(THREADS // 32)
            everyone = rng.random() < 0.5
            lanes = [t - first for t in active if 0 <= t - first < 32 and rng.random() < 0.7]
            lanes = range(32) if everyone else lanes
            mask = sum(1 << int(lane) for lane in lanes)
            for lane in lanes:
                row[first + lane] = SYNCWARP, mask
    return program


def has_race(program, shared):
    accesses = []
    for block, rows in enumerate(program):
        seen = np.eye(
            THREADS, dtype=int
        )  # [a, b]: up to which time thread a has seen the accesses of thread b
        for row in rows:
            for thread in np.flatnonzero(np.isin(row[:, 0], (READ, WRITE))):
                writes, cell = row[thread, 0] == WRITE, row[thread, 1]
                for other_block, other, time, other_writes, other_cell in accesses:
                    if cell != other_cell or not (writes or other_writes):
                        continue
                    if not shared if block != other_block else seen[thread, other] < time:
                        return True
                accesses.append((block, thread, seen[thread, thread], writes, cell))
            barriers = [row[:, 0] == SYNCTHREADS]
            barriers += [(row[:, 0] == SYNCWARP) & (np.arange(THREADS) // 32 == w) for w in (0, 1)]
            for together in barriers:
                if together.any():
                    seen[together] = seen[together].max(0)
                    seen[together, together] += 1
    return False


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "global"])
def test_the_detector_agrees_with_the_oracle(interpreter, shared):
    rng = np.random.default_rng(2 + shared)
    kernel = interpreter.get_function(f"interpret<{str(shared).lower()}>")
    expected, found = [], []
    for seed in range(40):
        program = random_program(rng, blocks=1 + seed % 2)
        expected.append(has_race(program, shared))
        arguments = asarray(program.view(np.int32)), np.int32(ROWS), zeros(CELLS, np.int32)
        try:
            with schedule(seed=seed):
                kernel((len(program),), (THREADS,), arguments)
            found.append(False)
        except KernelError as error:
            if "race on" not in str(error):
                raise
            found.append(True)
    assert found == expected
    assert 5 < sum(expected) < 35
