"""Running statistics of each time step: which steps a batch has, and which training has had."""

import numpy

from ...autograd.tensor import Tensor
from ...backends import namespace, to_numpy
from .unrolled import Lengths


def valid_steps(lengths: Lengths | None, x: Tensor) -> numpy.ndarray:
    """Return a mask (T, N) on the host, True where x (T, N, D) is not padding."""
    T, N = x.shape[:2]
    if lengths is None:
        return numpy.ones((T, N), bool)
    array = to_numpy(lengths.array) if isinstance(lengths, Tensor) else numpy.asarray(lengths)
    return numpy.arange(T)[:, None] < array


def track_steps(tracked: Tensor, valid: numpy.ndarray, max_length: int) -> None:
    """Note in `tracked`, how many steps training has had, that a batch has valid frames (T, N)."""
    count = tracked.array
    count[...] = namespace(count).maximum(count, min(int(valid.any(1).sum()), max_length))


def first_steps(running: list[Tensor], tracked: Tensor) -> list[Tensor]:
    """Return the running statistics (L, K) of the steps that training has had, at least of one."""
    steps = max(1, int(to_numpy(tracked.array)))
    return [s[:steps] for s in running]
