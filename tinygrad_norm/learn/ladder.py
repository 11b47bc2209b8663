"""The rungs of an op, from primitives to the CUDA kernel, found by running its cases."""

import functools
from typing import Any

from ..backends import KERNELS, Kernel, use_backend, use_loops
from ..gradient_check.registered import evaluate
from ..registry import REGISTRY

RUNGS = ("composed", "closed form", "loops", "CUDA")
"""What an op may have, each checked against the one before."""


@functools.cache
def kernels_of(name: str) -> tuple[str, ...]:
    """Return the names of the kernels that the op `name` calls, forward and backward, in this order."""
    op, called = REGISTRY[name], dict[str, None]()
    call = Kernel.__call__

    def recorded(kernel: Kernel, *args: Any, **options: Any) -> Any:
        called[kernel.numpy_version.__name__] = None
        return call(kernel, *args, **options)

    Kernel.__call__ = recorded  # type: ignore[assignment, method-assign]
    try:
        with use_backend("numpy"), use_loops("off"):  # which would be compiled first
            for case in op.cases:
                evaluate(op, op.function, case)
    finally:
        Kernel.__call__ = call  # type: ignore[method-assign]
    return tuple(called)


def rungs_of(name: str) -> tuple[str, ...]:
    """Return which of `RUNGS` the op `name` has: loops and CUDA if one of its kernels has such a version."""
    versions = {version for kernel in kernels_of(name) for version in KERNELS[kernel].versions}
    has = (REGISTRY[name].composed is not None, True, "loops" in versions, "cuda" in versions)
    return tuple(rung for rung, there in zip(RUNGS, has, strict=True) if there)
