"""A step captured as a CUDA graph: recorded once, then replayed with a single call from Python.

Launching is what small models spend their time on. A graph holds every launch of a step with its
arguments, so what changes from replay to replay must lie in the GPU's memory: the inputs, the learning
rate, the step counter.
"""

from collections.abc import Callable
from typing import Any


class Graph:
    """The launches of `step`, ready to be replayed: `graph = Graph(step)`, then `graph()` for each step.

    Args:
        step: takes nothing and returns nothing; works on arrays that stay where they are, and asks
            nothing of the GPU that the host would have to wait for (no `.item()`, no copy to the CPU).
        warm_up: how often it runs before it is captured, for kernels to be compiled and memory to be had.

    The warm-up runs count as steps; the capture itself does not run anything. Arrays that `step` makes
    live in a pool of the graph's own, so that nobody else is given their memory between replays.

    Raises:
        ValueError: for fewer than one run to warm up.
        RuntimeError: where CuPy or a GPU is missing, or what `step` does cannot be captured.
    """

    def __init__(self, step: Callable[[], None], warm_up: int = 3) -> None:
        if warm_up < 1:
            raise ValueError(f"a step must run at least once before it is captured, got warm_up={warm_up}")
        from .cuda import load_cupy

        cupy: Any = load_cupy()
        self._pool = cupy.cuda.MemoryPool()
        # The default stream cannot be captured.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            for _ in range(warm_up):
                step()
            self._stream.synchronize()
            self._stream.begin_capture()
            try:
                step()
            except Exception as error:
                self._abandon()
                raise RuntimeError(
                    f"the step cannot be captured as a CUDA graph ({error}): it must not wait for the GPU, "
                    "copy to the CPU, or need more memory than in the runs before"
                ) from error
            self._graph = self._stream.end_capture()

    def _abandon(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:  # the capture was invalid already; the step's own error says why
            return

    def __call__(self) -> None:
        """Replay the step; returns before the GPU has finished it."""
        self._graph.launch(self._stream)

    def synchronize(self) -> None:
        """Wait until every replay has finished."""
        self._stream.synchronize()
