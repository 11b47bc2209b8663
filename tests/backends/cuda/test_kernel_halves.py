"""Kernels that store 16 bits and accumulate in 32: float16 through the ops, bfloat16 through array functions.

A Tensor cannot hold bfloat16, which NumPy gets only from ml_dtypes, so these kernels are called as in the
benchmark.
"""

import shutil

import numpy as np
import pytest
from bench_cases import ODD, PACKS, small_case
from kernel_runs import CASES, OPS, TOLERANCE, error, row_case, worst_error

import tinygrad_norm as tn
from tinygrad_norm.backends import asarray, emulator, to_numpy
from tinygrad_norm.bench.gpu_data import drawn_dy, typed
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Op
from tinygrad_norm.registry import REGISTRY

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
SLOW = pytest.mark.slow


@SLOW
@pytest.mark.parametrize(("op", "case"), CASES)
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_registered_cases_in_half(op, case, checked):
    for seed in range(3):
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(op, case, np.float16) <= TOLERANCE["float16"]


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("D", [24, pytest.param(1000, marks=SLOW)])
def test_rows_in_half(name, D):
    assert worst_error(REGISTRY[name], row_case(name, D), np.float16) <= TOLERANCE["float16"]


@pytest.fixture
def bfloat16():
    found = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16: pip install ml_dtypes")
    return np.dtype(found.bfloat16)


def both_ways(op, inputs, dys):
    """Outputs and gradients of the array functions, on the current backend."""
    ys, saved = op.forward(*map(asarray, inputs))
    made = op.backward(*map(asarray, dys), *saved)
    return [*ys, *(made if isinstance(made, tuple) else (made,))]


def in_float64(arrays):
    return [a if a.dtype.kind == "i" else a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize("sizes", [PACKS, ODD], ids=["packs", "odd"])
@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if isinstance(subject, Op)])
def test_every_kernel_in_bfloat16(name, sizes, checked, bfloat16):
    op = SUBJECTS[name]
    inputs = [values for values, _ in typed(small_case(name, sizes), bfloat16)]
    with (
        tn.use_backend("emulator"),
        emulator.schedule(seed=1, checked=checked),
        emulator.record() as launches,
    ):
        dys = [
            drawn_dy(y.shape, k).astype(bfloat16) for k, y in enumerate(op.forward(*map(asarray, inputs))[0])
        ]
        found = both_ways(op, inputs, dys)
    of_one_type = "column_sums", "sort_by_digit"  # of float32, of integers
    assert all("__nv_bfloat16" in one.name for one in launches if not one.name.startswith(of_one_type))
    assert launches
    expected = both_ways(op, in_float64(inputs), in_float64(dys))
    for a, b in zip(found, expected, strict=True):
        wide = (
            to_numpy(a).dtype == np.float32
        )  # dweight and dbias are accumulated in float32 and stay float32
        rounded = name.startswith("add_") or name == "batch_norm_eval"  # x + z, and the variance
        assert error(a, b) <= TOLERANCE["float32" if wide and not rounded else "bfloat16"]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizers_in_bfloat16(name, bfloat16):
    ((param, _),) = typed(small_case(name), bfloat16)
    grad, moments = drawn_dy(param.shape).astype(bfloat16), SUBJECTS[name].moments

    def step(dtype, wide):
        arrays = [asarray(a.astype(dtype)) for a in (param, grad)]
        state = [asarray(np.zeros(shape, wide)) for shape in (*[param.shape] * moments, (2, param.size))]
        SUBJECTS[name].step(*arrays, *state)
        return arrays[0], state[0]

    expected = step(np.float64, np.float64)
    with tn.use_backend("emulator"):
        found = step(bfloat16, np.float32)
    assert found[0].dtype == bfloat16
    for a, b, tolerance in zip(found, expected, (TOLERANCE["bfloat16"], 1e-6), strict=True):
        assert error(a, b) <= tolerance
