"""What every test gets: a fixed seed, the backends that this machine has, and PyTorch where it is."""

import os
import shutil
import sys
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy starts its threads: these arrays are small

import pytest
import strict_cupy

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


def pytest_addoption(parser):
    parser.addoption(
        "--times", type=int, help="how often the tests in tests/reliability repeat, instead of a few"
    )


MISSING = pytest.StashKey[str | None]()


@pytest.hookimpl(tryfirst=True)  # before -m chooses among the markers
def pytest_collection_modifyitems(config, items):
    """Without a GPU, tests marked `cuda` run on the stand-in, as the marker's argument `stand_in` says.

    Of the registered cases of an op, the quick suite then runs only the first; with stand_in="first" no suite
    runs the others, nor the composed form.
    """
    needing = [(item, marker) for item in items if (marker := item.get_closest_marker("cuda"))]
    config.stash[MISSING] = _missing_cuda() if needing else None
    if config.stash[MISSING] is None:
        return
    skip = None if shutil.which("g++") else pytest.mark.skip(reason="the stand-in's kernels need g++")
    for item, marker in needing:
        stand_in = marker.kwargs.get("stand_in")
        if stand_in == "slow" or _is_further_case(item):
            item.add_marker(pytest.mark.slow)
        if stand_in == "no" or skip:
            item.add_marker(skip or pytest.mark.skip(reason=config.stash[MISSING]))
        elif stand_in == "first" and (_is_further_case(item) or _is_composed(item)):
            item.add_marker(pytest.mark.skip(reason="the stand-in takes the closed form of the first case"))


def _is_further_case(item):
    given = getattr(item, "callspec", None) and item.callspec.params
    return bool(given) and "case" in given and given["case"] is not given["op"].cases[0]


def _is_composed(item):
    given = item.callspec.params
    return given["form"] is given["op"].composed


@pytest.fixture(autouse=True)
def _seed():
    tn.manual_seed(0)


@pytest.fixture(autouse=True)
def _cupy(request):
    """Without a GPU, a test marked `cuda` runs on the strict stand-in for CuPy."""
    if not request.node.get_closest_marker("cuda") or request.config.stash[MISSING] is None:
        yield
        return
    with strict_cupy.standing_in():
        yield


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


@pytest.fixture(scope="session")
def times(request):
    """What --times says; None, without it, leaves each test in tests/reliability its own small number."""
    return request.config.getoption("--times")


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
    """Neither Graphviz's program nor pygraphviz is found."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
