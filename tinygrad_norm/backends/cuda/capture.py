"""A step captured as a CUDA graph: recorded once, then replayed with a single call from Python.

Small models spend most of their time on launching kernels. A graph stores every launch of a step with its
arguments, so values that change from replay to replay must be in the GPU's memory: the inputs, the learning
rate, the step counter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy

from .. import Array, namespace

_current: Graph | None = None


def current_graph() -> Graph | None:
    """Return the graph whose step is running (warm-up or capture), or None.

    Inside a graph's step, code must not wait for the GPU to check its input: it marks the result instead.
    """
    return _current


def outside_of_capture(transfer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `transfer`, made to raise RuntimeError during a capture: a replay would copy stale memory."""

    @functools.wraps(transfer)
    def checked(x: Any) -> Any:
        if _current is not None and _current.capturing:
            raise RuntimeError("an array is copied between the CPU and the GPU")
        return transfer(x)

    return checked


def upload(values: numpy.ndarray, xp: Any) -> Array:
    """Return `values` of the CPU as an array of the library `xp`; do not write to it.

    Inside a graph's step they are copied while the step warms up, and the graph keeps the copy.
    """
    if xp is numpy:
        return values
    return xp.asarray(values) if _current is None else _current.upload(values, xp)


class Graph:
    """The launches of `step`, ready for replay: `graph = Graph(step)`, then `graph()` for each step::

        x, t, cost = Tensor(images), Tensor(labels), tn.zeros(())   # their memory stays the same

        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            cost.copy_(loss.detach())

        graph = tn.backends.cuda.capture.Graph(step)
        for images, labels in loader:
            x.copy_(images)
            t.copy_(labels)
            graph()
            schedule.step()

    Inside a step, an optimizer keeps the learning rate and the step count in the GPU's memory, so every
    replay uses their current values. Other settings, such as weight decay, keep the values of the capture.
    An index out of range makes the loss or the embedding NaN, in every replay, and raises IndexError when
    the host next reads an array, as it does outside a graph.

    Args:
        step: takes no arguments and returns nothing. It works on arrays whose memory stays the same, and
            never makes the host wait for the GPU (no `.item()`, no copy to the CPU); docs/gpu.md lists all
            that a captured step refuses.
        warm_up: how often `step` runs before the capture, to compile kernels and allocate memory.

    The warm-up runs count as steps; the capture itself runs no kernel. Arrays that `step` makes are in a
    memory pool of the graph's own, so their memory is not given to other arrays between replays.

    Raises:
        ValueError: if `warm_up` is less than 1.
        RuntimeError: if CuPy or a GPU is missing, if `step` cannot be captured, or if `step` makes a graph
            itself; on replay, if an optimizer's state has moved since the capture.
    """

    def __init__(self, step: Callable[[], None], warm_up: int = 3) -> None:
        if warm_up < 1:
            raise ValueError(f"a step must run at least once before it is captured, got warm_up={warm_up}")
        if _current is not None:
            raise RuntimeError("a step inside a graph cannot make another one: make one after the other")
        from .availability import load_cupy
        from .cublas import MatrixProducts

        cupy: Any = load_cupy()
        self._cuda = cupy.cuda
        self._step = step  # keeps the arrays of the step alive: a replay uses only their addresses
        self._scalars: list[Array] = []
        self._used = 0  # how many of them the current run has used
        self.kept: dict[str, Any] = {}  # what the current run has made once and uses again, by name
        self._uploads: dict[tuple[str, str, tuple[int, ...], bytes], Array] = {}
        self._inputs: list[tuple[Array, Callable[[], float]]] = []
        self._calls: list[Callable[[], None]] = []
        self.capturing = False
        self._pool = cupy.cuda.MemoryPool()
        # The default stream cannot be captured.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._products = MatrixProducts(cupy, self._stream)
        cupy.cuda.Device().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            with self._products:
                for _ in range(warm_up):
                    self._run()
            self._stream.synchronize()
            with self._products:
                self._graph = self._captured()

    def _run(self) -> None:
        global _current
        _current, self._used, self.kept = self, 0, {}
        try:
            self._step()
        finally:
            _current = None

    def _captured(self) -> Any:
        self._stream.begin_capture()
        self.capturing = True
        try:
            self._run()
            captured = self._stream.end_capture()
        except BaseException as error:
            self._abandon()
            if not isinstance(error, Exception):  # Ctrl-C
                raise
            raise RuntimeError(
                f"the step cannot be captured as a CUDA graph ({error}): it must not wait for the GPU, "
                "copy to or from the CPU, or need more memory than in the runs before"
            ) from error
        finally:
            self.capturing = False
        return captured

    def _abandon(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:  # the capture was invalid already; the step's own error says why
            return

    def scalar(self, like: Array, dtype: str, read: Callable[[], float]) -> Array:
        """Return an array () on the device of `like` that holds `read()` in every run of the current step.

        The host writes the value before each replay. The array is made during warm-up and kept, because
        the pool may give memory that it allocates during the capture to several nodes.

        Raises:
            RuntimeError: if the capture asks for a scalar that the run before did not.
        """
        k, self._used = self._used, self._used + 1
        if [array.dtype for array in self._scalars[k : k + 1]] != [dtype]:
            if self.capturing:
                raise RuntimeError(
                    "an optimizer or a dropout needs a number that it did not need in the run before: let "
                    "the step warm up until it does the same every time"
                )
            self._scalars[k:] = [namespace(like).empty((), dtype)]
        array = self._scalars[k]
        if self.capturing:
            self._inputs.append((array, read))
        else:
            array.fill(read())
        return array

    def upload(self, values: numpy.ndarray, xp: Any) -> Array:
        """Return the graph's copy of `values` as an array of `xp`, which no replay changes.

        Raises:
            RuntimeError: if the capture asks for values that the runs before did not.
        """
        key = xp.__name__, values.dtype.str, values.shape, values.tobytes()
        if key not in self._uploads:
            if self.capturing:
                raise RuntimeError(
                    "an array of the CPU is needed on the GPU that differs from those of the run before"
                )
            self._uploads[key] = xp.asarray(values)
        return self._uploads[key]

    def after_each_run(self, call: Callable[[], None]) -> None:
        """Make `call` on the host after every run of the current step: now, during warm-up."""
        if self.capturing:
            self._calls.append(call)
        else:
            call()

    def __call__(self) -> None:
        """Replay the step after the work of the current stream. Returns before the GPU has finished."""
        values = [read() for _, read in self._inputs]
        outside = self._cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        with self._stream:
            for (array, _), value in zip(self._inputs, values, strict=True):
                array.fill(value)
            self._graph.launch(self._stream)
        outside.wait_event(self._stream.record())
        for call in self._calls:
            call()

    def synchronize(self) -> None:
        """Wait until every replay has finished."""
        self._stream.synchronize()
