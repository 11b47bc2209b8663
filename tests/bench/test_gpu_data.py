"""The data of the GPU benchmark: drawn once, copied to the device once, read by all contestants."""

import dataclasses
import shutil

import numpy as np
import pytest
from bench_cases import small_case

import tinygrad_norm as tn
from tinygrad_norm import backends
from tinygrad_norm.backends import emulator
from tinygrad_norm.bench import gpu_data
from tinygrad_norm.bench.gpu_data import Data, drawn_dy, typed
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Op
from tinygrad_norm.bench.kernel_baselines import torch_calls
from tinygrad_norm.registry import Case, Input, integers

FLOAT32 = np.dtype(np.float32)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture
def sent(monkeypatch):
    """The size in bytes of every array that goes from the host to the emulator."""
    sizes = []

    def counted(array):
        sizes.append(array.nbytes)
        return emulator.asarray(array)

    watched = dataclasses.replace(backends._load("emulator"), from_numpy=counted)
    monkeypatch.setitem(backends._LOADED, "emulator", watched)
    with tn.use_backend("emulator"):
        yield sizes


@needs_compiler
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_bytes_sent_do_not_depend_on_buffers_and_contestants(name, sent, torch, monkeypatch):
    monkeypatch.setattr(torch, "tensor", None)  # another way from the host
    monkeypatch.setattr(torch, "as_tensor", None)
    case, subject, sizes = small_case(name), SUBJECTS[name], {}
    inputs = [values for values, _ in typed(case, FLOAT32)]
    outputs = subject.forward(*map(backends.asarray, inputs))[0] if isinstance(subject, Op) else inputs
    for copies in (1, 3):
        sent.clear()
        data = Data(case, FLOAT32, copies)
        subject.calls(data), torch_calls(name, data), torch_calls(name, data)
        sizes[copies] = sum(sent)
    assert sizes[1] == sizes[3] == sum(array.nbytes for array in [*inputs, *outputs])  # a dy for each output


def test_large_arrays_repeat_the_numbers_that_are_drawn(monkeypatch):
    case = Case(((7, 30), Input((30,), differentiable=False), integers(9, 7)))
    whole = [values for values, _ in typed(case, np.float16)]
    monkeypatch.setattr(gpu_data, "DRAWN", 90)
    (x, x_wanted), (vector, vector_wanted), (index, _) = typed(case, np.float16)
    assert (x_wanted, vector_wanted) == (True, False)
    assert (x.shape, x.dtype, vector.shape, index.dtype) == ((7, 30), np.float16, (30,), np.int64)
    np.testing.assert_array_equal(x[:3], whole[0][:3])
    np.testing.assert_array_equal(x[3:6], x[:3])
    np.testing.assert_array_equal(x[6], x[0])
    assert index.shape == (7,)
    dy = drawn_dy((2, 60), 1)
    np.testing.assert_array_equal(dy.ravel()[90:], dy.ravel()[:30])
    assert not np.array_equal(dy, drawn_dy((2, 60), 0))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pytorch_reads_the_same_memory(dtype, torch):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16: pip install ml_dtypes").bfloat16
    data = Data(small_case("layer_norm"), np.dtype(dtype), 2)
    for inputs, call in zip(data.inputs, torch_calls("layer_norm", data)["forward"], strict=True):
        for x, tensor in zip(inputs, call.args[-3:], strict=True):
            assert tensor.data_ptr() == x.ctypes.data
            assert str(tensor.dtype) == f"torch.{x.dtype.name}"
            np.testing.assert_array_equal(tensor.detach().float().numpy(), x.astype(np.float32))


def test_buffers_hold_the_same_numbers_in_different_memory():
    data = Data(Case(((3, 4),)), FLOAT32, 3)
    first, *others = (x for (x,) in data.inputs)
    for other in others:
        assert not np.shares_memory(first, other)
        np.testing.assert_array_equal(first, other)
    (a,), (b,) = data.dys(0, (3, 4)), data.dys(2, (12,))
    assert not np.shares_memory(a, b)
    np.testing.assert_array_equal(a.ravel(), b)
    assert np.shares_memory(a, *data.dys(0, (4, 3)))
