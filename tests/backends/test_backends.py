"""The backend switch: dispatch, choice, and the errors if CuPy cannot be used."""

import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import backends
from tinygrad_norm.backends import kernel, namespace


def test_namespace_of_a_numpy_array_and_of_a_number():
    assert namespace(np.ones(3)) is np
    assert namespace(1.0) is np


def test_kernel_runs_the_body_on_numpy_even_with_a_cuda_twin():
    @kernel
    def double(x):
        return 2 * x

    @double.cuda
    def double_cuda(x):
        raise AssertionError("the CUDA twin must not run on a NumPy array")

    assert double(np.ones(2)).tolist() == [2.0, 2.0]
    assert double.__name__ == "double"


def test_use_backend_is_a_call_and_a_context_manager():
    tn.use_backend("numpy")
    with tn.use_backend("numpy") as backend:
        assert backend.device == "cpu"
    assert tn.tensor([1.0]).device == "cpu"


def test_an_unknown_backend_names_the_choices():
    with pytest.raises(ValueError, match=r"unknown backend 'tpu'.*numpy.*cupy"):
        tn.use_backend("tpu")


def test_an_unknown_device_names_the_choices():
    with pytest.raises((ValueError, TypeError), match="tpu"):
        tn.tensor([1.0]).to("tpu")


def fake_cupy(driver=13000, built_for=13000, devices=1, start=True, missing=None, version="14.2.0"):
    """A CuPy that reports the given driver and devices, with one of CUDA's components missing."""

    class CUDARuntimeError(Exception):
        pass

    def device_count():
        if not start:
            raise CUDARuntimeError("initialization error")
        return devices

    def needs(component, error):
        def find(*_):
            if missing == component:
                raise error
            return ()

        return find

    class Cuda:
        nvrtc = types.SimpleNamespace(getVersion=needs("NVRTC", OSError("libnvrtc.so.13: cannot open")))
        cublas = property(needs("cuBLAS", ImportError('Failure finding "libcublas.so"\n  listdir(...)')))

    headers = needs("headers", RuntimeError("Failed to find CUDA headers. Please install"))
    core = types.SimpleNamespace(assemble_cupy_compiler_options=headers)
    module = types.ModuleType("cupy")
    module.__version__ = version
    module.ndarray = type("ndarray", (), {})
    module.asarray = module.asnumpy = np.asarray
    module.cuda = Cuda()
    module.cuda.runtime = types.SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: built_for,
        getDeviceCount=device_count,
        CUDARuntimeError=CUDARuntimeError,
    )
    module._core = types.ModuleType("cupy._core")
    module._core.core = core
    return module


@pytest.fixture
def with_cupy(monkeypatch):
    monkeypatch.setattr(backends, "_LOADED", dict(backends._LOADED))
    monkeypatch.setattr(backends, "_BY_TYPE", dict(backends._BY_TYPE))
    backends._LOADED.pop("cupy", None)

    def install(module):
        monkeypatch.setitem(sys.modules, "cupy", module)
        if module is not None:
            monkeypatch.setitem(sys.modules, "cupy._core", module._core)
            monkeypatch.setitem(sys.modules, "cupy._core.core", module._core.core)

    return install


@pytest.mark.parametrize(
    ("cupy", "message"),
    [
        (None, r"pip install 'tinygrad_norm\[cuda13\]'"),
        (fake_cupy(version="13.6.0"), r"CuPy 13\.6\.0 is too old, expected 14 or newer: pip install"),
        (fake_cupy(driver=0), "NVIDIA driver, and none is loaded"),
        (fake_cupy(driver=12040), r"supports CUDA 12\.4.*built for CUDA 13\.0.*\[cuda12\]"),
        (fake_cupy(start=False), "CUDA cannot start: initialization error"),
        (fake_cupy(devices=0), "no CUDA device is visible"),
        (fake_cupy(missing="NVRTC"), r"NVRTC \(OSError: libnvrtc.*install 'cupy-cuda13x\[ctk\]'.*\[cuda13\]"),
        (
            fake_cupy(missing="headers", built_for=12090),
            r"headers .* install 'cupy-cuda12x\[ctk\]'.*\[cuda12\]",
        ),
        (fake_cupy(missing="cuBLAS"), r'cuBLAS \(ImportError: Failure finding "libcublas.so"\): pip'),
    ],
    ids=[
        "not installed",
        "old CuPy",
        "no driver",
        "old driver",
        "cannot start",
        "no device",
        "no NVRTC",
        "no headers",
        "no cuBLAS",
    ],
)
def test_every_error_says_what_to_do(with_cupy, cupy, message):
    with_cupy(cupy)
    with pytest.raises(RuntimeError, match=message):
        tn.use_backend("cupy")
    assert tn.tensor([1.0]).device == "cpu"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import fastrlock_of_another_python", "ModuleNotFoundError: No module named 'fastrlock_of"),
        ("raise ImportError('a page of advice') from OSError('libcuda.so')", r"\(OSError: libcuda\.so\)"),
        ("raise AttributeError('numpy.float_')", r"\(AttributeError: numpy\.float_\)"),
    ],
)
def test_a_broken_cupy_is_not_called_missing(with_cupy, monkeypatch, tmp_path, line, message):
    (tmp_path / "cupy.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(RuntimeError, match=f"is installed, but cannot be imported .*{message}.*uninstall"):
        tn.use_backend("cupy")


def test_a_usable_cupy_is_accepted_and_the_choice_is_put_back(with_cupy):
    with_cupy(fake_cupy())
    with tn.use_backend("cupy") as backend:
        assert backend.device == "cuda"
        assert backends.current_backend() is backend
    assert backends.current_backend().name == "numpy"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_environment_variable_chooses_and_its_error_comes_with_the_first_array():
    code = "import tinygrad_norm as tn; print('imported'); tn.tensor([1.0])"
    result = run(code, TINYGRAD_NORM_BACKEND="nonsense")
    assert "imported" in result.stdout
    assert "unknown backend 'nonsense'" in result.stderr


def test_importing_the_package_does_not_import_optional_libraries():
    code = """if True:
        import sys, tinygrad_norm
        print([m for m in ("cupy", "matplotlib", "sklearn", "torch") if m in sys.modules])
    """
    assert run(code).stdout.strip() == "[]"


@pytest.mark.cuda
def test_tensors_move_to_the_gpu_and_back():
    x = tn.tensor([1.0, 2.0])
    moved = x.to("cuda")
    assert moved.device == "cuda"
    assert moved.to("cpu").tolist() == [1.0, 2.0]


def test_threads_work_in_a_child_after_a_fork():
    """A child process has its parent's executor but not its threads; waiting for them would never end."""
    code = """
import os, warnings, numpy as np, tinygrad_norm as tn
from tinygrad_norm.backends.cpu import blocks
warnings.simplefilter("ignore", DeprecationWarning)
x = tn.tensor(np.ones((1024, 1024), np.float32))
with blocks.settings(threads=2):
    tn.nn.functional.layer_norm(x, (1024,))
    child = os.fork()
    tn.nn.functional.layer_norm(x, (1024,))
    if child == 0:
        os._exit(0)
print("status", os.waitpid(child, 0)[1])
"""
    assert "status 0" in run(code, OPENBLAS_NUM_THREADS="1").stdout


def test_the_extras_bring_what_a_driver_does_not():
    """CuPy has the extra `ctk`, with NVRTC, cuBLAS and the headers, since version 14."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text("utf-8"))["project"]["optional-dependencies"]
    assert [extras["cuda12"], extras["cuda13"]] == [["cupy-cuda12x[ctk]>=14"], ["cupy-cuda13x[ctk]>=14"]]
