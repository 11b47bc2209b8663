"""A step captured as a CUDA graph: recorded once, then replayed with a single call from Python.

Launching is what small models spend their time on. A graph holds every launch of a step with its
arguments, so what changes from replay to replay must lie in the GPU's memory: the inputs, the learning
rate, the step counter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import Array, namespace

_current: Graph | None = None


def current_graph() -> Graph | None:
    """Return the graph whose step is being run, to warm up or to be captured; None outside of one.

    Code that would wait for the GPU there, to check its input, leaves that out and marks the result.
    """
    return _current


def outside_of_capture(transfer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `transfer`, refused where it would be captured: a replay would copy what is no longer there."""

    @functools.wraps(transfer)
    def refused(x: Any) -> Any:
        if _current is not None and _current.capturing:
            raise RuntimeError("an array is copied between the CPU and the GPU")
        return transfer(x)

    return refused


class Graph:
    """The launches of `step`, ready to be replayed: `graph = Graph(step)`, then `graph()` for each step::

        x, t, cost = Tensor(images), Tensor(labels), tn.zeros(())   # they stay where they are

        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            cost.copy_(loss.detach())

        graph = tn.backends.graph.Graph(step)
        for images, labels in loader:
            x.copy_(images)
            t.copy_(labels)
            graph()
            schedule.step()

    An optimizer keeps learning rate and count of steps in the GPU's memory here, where every replay finds
    those of the moment. What else the host decides, such as weight decay, stays as it was captured. A
    class that does not exist makes the loss of cross entropy NaN, where else it raises.

    Args:
        step: takes nothing and returns nothing; works on arrays that stay where they are, and asks
            nothing of the GPU that the host would have to wait for (no `.item()`, no copy to the CPU).
        warm_up: how often it runs before it is captured, for kernels to be compiled and memory to be had.

    The warm-up runs count as steps; the capture itself does not run anything. Arrays that `step` makes
    live in a pool of the graph's own, so that nobody else is given their memory between replays.

    Raises:
        ValueError: for fewer than one run to warm up.
        RuntimeError: where CuPy or a GPU is missing, what `step` does cannot be captured, or `step` makes
            a graph itself; when replayed, where an optimizer's state has moved since.
    """

    def __init__(self, step: Callable[[], None], warm_up: int = 3) -> None:
        if warm_up < 1:
            raise ValueError(f"a step must run at least once before it is captured, got warm_up={warm_up}")
        if _current is not None:
            raise RuntimeError("a step that is made into a graph cannot make another one: make them in turn")
        from .availability import load_cupy

        cupy: Any = load_cupy()
        self._cuda = cupy.cuda
        self._step = step  # and with it the arrays that it works on: a replay knows their addresses only
        self._numbers: list[Array] = []
        self._asked = 0  # how many of them the run under way has been given
        self._inputs: list[tuple[Array, Callable[[], float]]] = []
        self._followers: list[Callable[[], None]] = []
        self.capturing = False
        self._pool = cupy.cuda.MemoryPool()
        # The default stream cannot be captured.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            for _ in range(warm_up):
                self._run()
            self._stream.synchronize()
            self._graph = self._captured()

    def _run(self) -> None:
        global _current
        _current, self._asked = self, 0
        try:
            self._step()
        finally:
            _current = None

    def _captured(self) -> Any:
        self._stream.begin_capture()
        self.capturing = True
        try:
            self._run()
        except Exception as error:
            self._abandon()
            raise RuntimeError(
                f"the step cannot be captured as a CUDA graph ({error}): it must not wait for the GPU, "
                "copy to or from the CPU, or need more memory than in the runs before"
            ) from error
        finally:
            self.capturing = False
        return self._stream.end_capture()

    def _abandon(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:  # the capture was invalid already; the step's own error says why
            return

    def number(self, like: Array, dtype: str, read: Callable[[], float]) -> Array:
        """Return an array () beside `like`, for the step under way: every run finds `read()` in it.

        The host writes there before a replay begins. Memory that the pool hands out during the capture
        may be an earlier node's too, so these arrays are made in the runs to warm up, and kept.

        Raises:
            RuntimeError: for another number than in the run before, while the step is captured.
        """
        k, self._asked = self._asked, self._asked + 1
        if [array.dtype for array in self._numbers[k : k + 1]] != [dtype]:
            if self.capturing:
                raise RuntimeError(
                    "an optimizer updates parameters that it left alone in the run before: let the step warm "
                    "up until it does the same every time"
                )
            self._numbers[k:] = [namespace(like).empty((), dtype)]
        array = self._numbers[k]
        if self.capturing:
            self._inputs.append((array, read))
        else:
            array.fill(read())
        return array

    def follow(self, follower: Callable[[], None]) -> None:
        """Have `follower` called on the host after every run of the step under way: now, if it warms up."""
        if self.capturing:
            self._followers.append(follower)
        else:
            follower()

    def __call__(self) -> None:
        """Replay the step behind the work of the current stream; returns before the GPU has finished it."""
        values = [read() for _, read in self._inputs]
        outside = self._cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        with self._stream:
            for (array, _), value in zip(self._inputs, values, strict=True):
                array.fill(value)
            self._graph.launch(self._stream)
        outside.wait_event(self._stream.record())
        for follower in self._followers:
            follower()

    def synchronize(self) -> None:
        """Wait until every replay has finished."""
        self._stream.synchronize()
