"""What every test gets: a fixed seed, the backends that this machine has, and PyTorch where it is."""

import os
import sys
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy starts its threads: these arrays are small

import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends.cuda.availability import load_cupy
from tinygrad_norm.learn.loading import LOADED
from tinygrad_norm.registry import REGISTRY


def _missing_cuda():
    try:
        load_cupy()
    except RuntimeError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items):
    needing = [item for item in items if item.get_closest_marker("cuda")]
    reason = _missing_cuda() if needing else None
    if reason is not None:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _seed():
    tn.manual_seed(0)


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.cuda)])
def backend(request):
    """Run the test once on every backend, with new tensors living there."""
    with tn.use_backend(request.param):
        yield request.param


@pytest.fixture(scope="session")
def torch():
    """PyTorch on one thread; the test is skipped where it is not installed."""
    torch = pytest.importorskip("torch", reason="comparison with PyTorch: pip install torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def forget_loaded(monkeypatch, tmp_path):
    """Remove the ops and modules of the test's own files; PyTorch stays, which can be loaded only once."""
    ops = dict(REGISTRY)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    REGISTRY.clear()
    REGISTRY.update(ops)
    LOADED.clear()
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def without_dot(monkeypatch, tmp_path):
    """Graphviz's program is not found."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
