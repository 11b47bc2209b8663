"""Why kernels are compiled without flushing to zero: extreme numbers need float32's subnormals.

In the emulator's flush-to-zero mode, which computes as code compiled with -ftz=true does, every one of
these fails: 1e-40 is a subnormal number, and so are 1/σ of numbers near 3.4e38 and the scaled statistics
of 1e-37. test_extremes.py holds the same sizes, and more, to narrow tolerances.
"""

import platform
import shutil

import numpy as np
import pytest
from kernel_runs import row_case, run

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.registry import REGISTRY

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flushing needs x86"),
]
WITH_EPS = ["layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"]
OPS = [*WITH_EPS, "normalize", "add_layer_norm", "add_rms_norm"]


def worst_error(name, size, options, flush):
    """The largest error in outputs and gradients, each relative to its largest value."""
    op, case = REGISTRY[name], row_case(name, 64)
    options, arrays = case.options | options, case.inputs.count(case.inputs[0])
    drawn = [(None, False) if one is None else one for one in case.draw()]
    for i in range(arrays):
        x = np.random.default_rng(i).uniform(-size / arrays, size / arrays, case.inputs[0])
        drawn[i] = x.astype(np.float32), True
    exact, single = (
        [(x if x is None else x.astype(dtype), wanted) for x, wanted in drawn]
        for dtype in (np.float64, np.float32)
    )
    expected = [to_numpy(a).copy() for a in run(op, exact, options)]
    with tn.use_backend("emulator"), emulator.schedule(flush_to_zero=flush):
        found = [to_numpy(a).astype(float) for a in run(op, single, options)]
    return max(abs(a - b).max() / abs(b).max() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("size", [1e-40, 3.4e38])
def test_extreme_numbers_need_subnormals(name, size):
    assert worst_error(name, size, {}, flush=False) <= 1e-3
    assert worst_error(name, size, {}, flush=True) == pytest.approx(1)


@pytest.mark.parametrize("name", WITH_EPS)
def test_small_numbers_without_eps_need_subnormals(name):
    assert worst_error(name, 1e-37, {"eps": 0.0}, flush=False) <= 1e-5
    assert worst_error(name, 1e-37, {"eps": 0.0}, flush=True) >= 1e-2


@pytest.mark.parametrize("name", OPS)
def test_other_numbers_do_not(name):
    assert worst_error(name, 1.0, {}, flush=True) <= 1e-5
