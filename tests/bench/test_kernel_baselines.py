"""Contestants of the GPU benchmark compute the same: ours, PyTorch's (eager, compiled) and Triton's."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_cases import small_case

import tinygrad_norm as tn
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.bench import kernel_baselines
from tinygrad_norm.bench.gpu_data import Data
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Op

FLOAT64 = np.dtype(np.float64)
OPS = [name for name, subject in SUBJECTS.items() if isinstance(subject, Op) and name != "dropout"]


def flat(made):
    """Arrays or tensors as flat NumPy arrays: the layouts differ."""
    made = made if isinstance(made, tuple | list) else (made,)
    return [(a.detach().cpu().numpy() if hasattr(a, "detach") else to_numpy(a)).ravel() for a in made]


def results(calls):
    """The outputs, and the gradients."""
    return [flat(calls[direction][0]()) for direction in ("forward", "backward")]


def data(name, copies=1):
    return Data(small_case(name), FLOAT64, copies)


def ours(name):
    calls = SUBJECTS[name].calls(data(name))
    ys, _ = calls["forward"][0]()
    gradients = flat(calls["backward"][0]())
    if name.startswith("add_"):  # dx and dz are one array here and two there
        gradients.insert(1, gradients[0])
    return [flat(ys), gradients]


def agree(found, expected, tolerance=1e-10):
    for some, right in zip(found, expected, strict=True):
        for a, b in zip(some, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPS)
def test_pytorch_computes_the_same(name, torch):
    theirs = results(kernel_baselines.torch_calls(name, data(name)))
    agree(theirs, ours(name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of PyTorch's compiler
@pytest.mark.parametrize("name", OPS)
def test_what_pytorch_compiles_computes_the_same(name, torch):
    eager, compiled = (
        kernel_baselines.torch_calls(name, data(name, copies=2), compiled=compiled)
        for compiled in (False, True)
    )
    agree(results(compiled), results(eager))
    agree(results(compiled), results(eager))  # backward may be called again


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_pytorch_makes_steps(name, compiled, torch, monkeypatch):
    made, subject = [], SUBJECTS[name]

    def keep(*given, **how):
        made.append(subject.torch(*given, **how))
        return made[-1]

    monkeypatch.setitem(SUBJECTS, name, dataclasses.replace(subject, torch=keep))
    given = data(name)
    calls = kernel_baselines.torch_calls(name, given, compiled=compiled)
    (step,), (param,) = calls["step"], made[0].param_groups[0]["params"]
    before = param.detach().clone()
    step()
    assert not torch.equal(before, param.detach())
    np.testing.assert_array_equal(given.inputs[0][0], data(name).inputs[0][0])  # the others read it


INTERPRETED = """
import numpy as np, sys
from bench_cases import small_case
from tinygrad_norm.bench.gpu_data import Data
from tinygrad_norm.bench.kernel_baselines import triton_calls
name, dtype, path = sys.argv[1:]
calls = triton_calls(name, Data(small_case(name), np.dtype(dtype), 1))
(y, *_), dxs = (calls[direction][0]() for direction in ("forward", "backward"))
np.savez(path, y, *(dxs if isinstance(dxs, tuple) else (dxs,)))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton's kernels: pip install triton")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-7), ("float32", 1e-5), ("float16", 4e-3)])
@pytest.mark.parametrize("name", ["layer_norm", "softmax"])
def test_triton_computes_the_same(name, dtype, tolerance, torch, tmp_path):
    """Run in Triton's interpreter, on the CPU; it must be chosen before Triton is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", INTERPRETED, name, dtype, str(tmp_path / "results.npz")]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True)
    with np.load(tmp_path / "results.npz") as saved:
        y, *dxs = (saved[key].astype(float).ravel() for key in saved)
    agree([[y], dxs], ours(name), tolerance)


def test_without_baselines(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert kernel_baselines.baselines() == {}


@pytest.mark.cuda(stand_in="no")  # not yet run on a GPU
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of PyTorch's compiler and of Triton
@pytest.mark.parametrize("name", OPS)
def test_all_compute_the_same_on_a_gpu(name, torch):
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    with tn.use_backend("cupy"):
        given, expected = data(name), ours(name)
        for make in kernel_baselines.baselines().values():
            calls = make(name, given)
            if calls is not None:
                ys, gradients = results(calls)
                agree([ys[: len(expected[0])], gradients], expected, 1e-7)  # Triton returns statistics too
