"""Threads: how many BLAS and the block loop use, for one part of a program.

Many small matrix products, as in training a small model, gain nothing from threads. If other programs keep
the cores busy, they lose: the threads of a product wait for each other, and each for its turn on a core.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

from . import blocks


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Use this many threads inside, for NumPy's BLAS and for the block loop; restore both afterwards.

    The limit of BLAS is that of the whole process, the other that of the current thread. A BLAS that
    threadpoolctl does not know, such as Apple's Accelerate, keeps its own number.

    Raises:
        ValueError: if threads is less than 1.
    """
    with blocks.settings(threads=threads), threadpool_limits(threads, user_api="blas"):
        yield


def blas_threads() -> int:
    """Return the number of threads that BLAS uses now, 1 if threadpoolctl finds no BLAS."""
    return max(
        (int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"), default=1
    )
