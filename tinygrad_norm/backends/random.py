"""One seed for all random numbers: a stream that is the same on every backend, and masks drawn on a GPU.

A thread that seeds has a stream of its own from then on; the other threads share the main thread's.

NumPy draws the numbers of the stream on the CPU, and they are moved to the device. So a seed gives the same
weights and batches on every backend. Dropout uses the stream on the CPU only: on a GPU a kernel draws its
masks, each from the seed's key and from the number of masks drawn before (see philox.py).
"""

import threading
from typing import NamedTuple

import numpy

from . import Array
from .cuda.capture import current_graph


class Draw(NamedTuple):
    """What a mask is drawn from: a key and the number of the draw.

    In a step that is captured as a CUDA graph, both change from replay to replay. Then `key_at` and
    `first_at` are arrays () with the key and the number of the step's first draw; `number` counts from it.
    """

    key: int
    number: int
    key_at: Array | None = None
    first_at: Array | None = None


class _Stream:
    """The generator, and of a GPU's masks the key and how many were drawn."""

    def __init__(self, seed: int) -> None:
        self.generator = numpy.random.default_rng(seed)
        self.key: int | None = None  # computed when it is needed
        self.drawn = 0


class _Own(threading.local):
    """The stream of a thread that has seeded; None is the main thread's."""

    stream: _Stream | None = None


_shared, _own = _Stream(0), _Own()


def _stream() -> _Stream:
    return _own.stream or _shared


def manual_seed(seed: int) -> numpy.random.Generator:
    """Restart the stream, and the masks of a GPU, from `seed`; return the generator of the stream.

    In a thread other than the main one, begin a stream of its own: threads that seed do not disturb others.

    Raises:
        TypeError: if the seed is not an int, or is a bool.
        ValueError: if it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | numpy.integer):
        raise TypeError(f"a seed must be an int, got {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    global _shared
    stream = _own.stream = _Stream(seed)
    if threading.current_thread() is threading.main_thread():
        _shared = stream
    return stream.generator


def generator() -> numpy.random.Generator:
    """Return the generator of the numbers for `tn.rand`, initializers, loaders, and dropout on the CPU."""
    return _stream().generator


def next_draw(like: Array) -> Draw:
    """Return what the next mask on the device of `like` is drawn from."""
    graph = current_graph()
    if graph is None:
        _count()
        return Draw(_key(), _stream().drawn - 1)
    if "draws" not in graph.kept:
        graph.kept["draws"] = [
            graph.scalar(like, "int64", _key),
            graph.scalar(like, "int64", lambda: _stream().drawn),
            0,
        ]
    key_at, first_at, number = graph.kept["draws"]
    graph.kept["draws"][2] += 1
    graph.after_each_run(_count)
    return Draw(0, number, key_at, first_at)


def mask_state() -> list[int]:
    """Return the state of the masks of a GPU, for `set_mask_state`."""
    return [_key(), _stream().drawn]


def set_mask_state(state: list[int]) -> None:
    """Let the next masks of a GPU be those after `mask_state()` returned `state`."""
    stream = _stream()
    stream.key, stream.drawn = state


def _key() -> int:
    stream = _stream()
    if stream.key is None:
        seeds = stream.generator.bit_generator.seed_seq
        stream.key = int(seeds.generate_state(1, numpy.uint64).view(numpy.int64)[0])
    return stream.key


def _count() -> None:
    _stream().drawn += 1
