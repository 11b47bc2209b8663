"""Ops run with their loops in one mode or another, and which loops took part."""

import importlib.util
from contextlib import contextmanager

import numpy as np
import pytest
from kernel_runs import run

from tinygrad_norm import use_loops
from tinygrad_norm.backends import KERNELS

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="compiled loops: pip install 'tinygrad_norm[fast]'"
)
MODES = ["python", pytest.param("compiled", marks=needs_numba)]
LOOPED = {name: kernel for name, kernel in KERNELS.items() if kernel.cpu_version is not None}


def typed(case, dtype):
    """The inputs of a case, floating-point ones in `dtype`."""
    return [
        (None, False)
        if one is None
        else (one[0].astype(dtype) if one[0].dtype.kind == "f" else one[0], one[1])
        for one in case.draw()
    ]


def in_mode(mode, op, drawn, options):
    """The results and gradients of an op, as a list of arrays."""
    with use_loops(mode):
        return [np.array(result) for result in run(op, drawn, options)]


@contextmanager
def recorded():
    """Yield a set to which each kernel is added, by name and dtype, whose loop gives a result within."""
    seen, originals = set(), {name: kernel.cpu_version for name, kernel in LOOPED.items()}

    def recording(name, version):
        def call(x, *args, **options):
            results = version(x, *args, **options)
            if results is not NotImplemented:
                seen.add((name, x.dtype.name))
            return results

        return call

    for name, kernel in LOOPED.items():
        kernel.cpu_version = recording(name, originals[name])
    try:
        yield seen
    finally:
        for name, kernel in LOOPED.items():
            kernel.cpu_version = originals[name]
