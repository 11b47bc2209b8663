"""Responses on the emulator: the kernels they share with other normalizations, in rows of any length."""

import shutil

import pytest
from kernel_runs import TOLERANCE, worst_error

from tinygrad_norm.registry import REGISTRY, Case

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
OPS = ["dynamic_tanh", "global_response_norm", "filter_response_norm", "scale_norm"]
LENGTHS = [1, 2, 31, 32, 33, 1023, 4096, pytest.param(65537, marks=pytest.mark.slow)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", OPS)
def test_every_case_is_as_exact_as_its_dtype(name, dtype):
    op = REGISTRY[name]
    assert max(worst_error(op, case, dtype) for case in op.cases) < TOLERANCE[dtype]


@pytest.mark.parametrize("S", LENGTHS)
@pytest.mark.parametrize("name", OPS)
def test_rows_of_any_length(name, S):
    cases = {
        "dynamic_tanh": Case(((3, S), (1,), (S,), (S,))),
        "scale_norm": Case(((3, S), (1,))),
        "global_response_norm": Case(((2, 2, S), (2,), (2,))),
        "filter_response_norm": Case(((2, 2, S), (2,), (2,), (2,))),
    }
    assert worst_error(REGISTRY[name], cases[name], "float32") < TOLERANCE["float32"]
