"""The strict stand-in for CuPy refuses what CuPy refuses, and counts what waits for a GPU."""

import shutil

import numpy as np
import pytest
import strict_cupy
from strict_cupy import CaptureError, record_waits
from strict_cupy.signatures import FILE, lines_of, recorded

import tinygrad_norm as tn
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.nn import functional as F

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in's kernels need g++")


@pytest.fixture
def cupy():
    with strict_cupy.standing_in() as cupy, tn.use_backend("cupy"):
        yield cupy


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(12.0).reshape(3, 4))


def test_signatures_are_those_of_cupy():
    """Record them anew with `python tests/support/strict_cupy/signatures.py`."""
    cupy = pytest.importorskip("cupy", reason="the signatures are CuPy's: pip install cupy-cuda13x")
    if cupy.__version__ != recorded().version:
        pytest.skip(f"the signatures are those of CuPy {recorded().version}, not {cupy.__version__}")
    assert lines_of(cupy) == FILE.read_text("utf-8").splitlines()


# -- what it refuses

ROW = np.ones(4)
REFUSED = {
    "NumPy's array on the right": (
        lambda cp, x: x + ROW,
        TypeError,
        "Unsupported type <class 'numpy.ndarray",
    ),
    "NumPy's array on the left": (lambda cp, x: ROW * x, TypeError, "Unsupported type <class 'numpy.ndarray"),
    "NumPy's array in place": (lambda cp, x: x.__iadd__(ROW), TypeError, "Unsupported type"),
    "NumPy's array in @": (lambda cp, x: x @ ROW, TypeError, "Unsupported type"),
    "NumPy's array in a function": (lambda cp, x: cp.where(x > 0, x, ROW), TypeError, "Unsupported type"),
    "NumPy's array in a list": (lambda cp, x: cp.stack([x[0], ROW]), TypeError, "Unsupported type"),
    "NumPy's array as a value": (lambda cp, x: x.__setitem__(0, ROW), ValueError, "non-scalar numpy.ndarray"),
    "NumPy's array as out": (lambda cp, x: cp.exp(x, out=np.ones((3, 4))), TypeError, "Output arguments"),
    "NumPy's function on a conversion": (lambda cp, x: np.asarray(x), TypeError, "Implicit conversion"),
    "a list": (lambda cp, x: cp.sum([1.0, 2.0]), TypeError, "takes arrays of the device"),
    "a function": (lambda cp, x: cp.block, AttributeError, "CuPy has no 'block'"),
    "a method": (lambda cp, x: x.itemset, AttributeError, "itemset"),
    "an index": (lambda cp, x: range(x.argmax()), TypeError, "cannot be interpreted as an integer"),
    "where of a ufunc": (lambda cp, x: cp.add(x, x, where=x > 0), TypeError, "Wrong arguments"),
    "axis of a ufunc": (lambda cp, x: cp.exp(x, 0, 0), TypeError, "Wrong number of arguments"),
    "where of a sum": (lambda cp, x: cp.sum(x, where=x > 0), TypeError, "sum has no argument 'where'"),
    "initial of a maximum": (lambda cp, x: x.max(initial=0), TypeError, "initial"),
    "min of clip": (lambda cp, x: cp.clip(x, min=0, max=1), TypeError, "clip has no argument 'min'"),
    "mode of take": (lambda cp, x: cp.take(x, x, mode="clip"), TypeError, "mode"),
    "a kind of sort": (lambda cp, x: x.argsort(kind="heapsort"), ValueError, "stable"),
    "reduce": (lambda cp, x: cp.maximum.reduce(x), NotImplementedError, "maximum.reduce"),
    "accumulate": (lambda cp, x: cp.minimum.accumulate(x), NotImplementedError, "minimum.accumulate"),
    "at": (lambda cp, x: cp.multiply.at(x, 0, 2.0), NotImplementedError, "multiply.at"),
    "at through NumPy": (lambda cp, x: np.add.at(x, 0, 2.0), TypeError, "not supported|NotImplemented"),
    "a dtype": (lambda cp, x: cp.asarray(["a"]), ValueError, "Unsupported dtype"),
    "a loop": (lambda cp, x: cp.bitwise_and(x, x), TypeError, "bitwise_and"),
    "writes in a race": (lambda cp, x: x.__setitem__([0, 0], x[:2]), RuntimeError, "undefined"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(cupy, x, name):
    act, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        act(cupy, x)


def test_every_mistake_of_a_kernel_launch_is_the_emulators(cupy):
    """Kernels take the stand-in's arrays only."""
    module = cupy.RawModule(code='extern "C" __global__ void f(float* x) { x[0] = 1; }')
    kernel = module.get_function("f")
    x = cupy.zeros(2, "float32")
    kernel((1,), (1,), (x,))
    assert x.tolist() == [1, 0]
    for wrong in (np.zeros(2, "float32"), cupy.zeros(2), None):
        with pytest.raises(TypeError, match="argument 0"):
            kernel((1,), (1,), (wrong,))


# -- what differs from NumPy


def test_results_are_arrays_and_views_are_views(cupy, x):
    for result in (x.sum(), x[0, 0], x.argmax(), x.max(), cupy.mean(x), cupy.allclose(x, x)):
        assert isinstance(result, cupy.ndarray)
        assert result.shape == ()
    x[1][...] = 7
    x[0, 0].fill(5)
    assert x.T[:, 1].tolist() == [7] * 4
    assert x[0].tolist() == [5, 1, 2, 3]
    assert x.T.base is x
    assert x[1:].T.base is x
    assert (x + 1).base is None
    assert (x.T * 2).flags.c_contiguous


def test_indices_out_of_bounds_wrap_around(cupy, x):
    assert x[[1, 4]].tolist() == x[[1, 1]].tolist()
    assert x.take(cupy.asarray([4]), 0).tolist() == x[1:2].tolist()
    assert x[:, [5]].tolist() == x[:, 1:2].tolist()
    with pytest.raises(IndexError):
        x[3]


def test_sums_of_runs_are_differences_of_running_sums(cupy):
    """So an infinity spoils every later run."""
    x = cupy.asarray([1.0, 2.0, np.inf, 3.0])
    sums = cupy.add.reduceat(x, cupy.asarray([0, 2, 3])).tolist()
    assert sums[:2] == [3.0, np.inf]
    assert np.isnan(sums[2])


def test_nothing_warns(cupy, x):
    assert np.isnan((x[0] / 0 * 0).tolist()).all()
    assert np.isinf(cupy.exp(x * 1e5).tolist()[2]).all()


# -- what waits

WAITS = {
    "item": lambda cp, x: x[0, 0].item(),
    "get": lambda cp, x: x.get(),
    "asnumpy": lambda cp, x: cp.asnumpy(x),
    "tolist": lambda cp, x: x.tolist(),
    "bool": lambda cp, x: bool((x > 3).all()),
    "float": lambda cp, x: float(x.sum()),
    "int": lambda cp, x: int(x.argmax()),
    "format": lambda cp, x: f"{x.sum():.1f}",
    "a mask": lambda cp, x: x[x > 3],
    "a mask that is written to": lambda cp, x: x.__setitem__(x > 3, 0.0),
    "nonzero": lambda cp, x: x.nonzero(),
    "flatnonzero": lambda cp, x: cp.flatnonzero(x),
    "where": lambda cp, x: cp.where(x > 3),
    "unique": lambda cp, x: cp.unique(x),
}


@pytest.mark.parametrize("name", WAITS)
def test_it_counts_what_waits_for_the_device(cupy, x, name):
    with record_waits() as waits:
        WAITS[name](cupy, x)
    assert len(waits) == 1
    assert "test_strict_cupy.py" in waits[0]


def test_other_work_waits_for_nothing(cupy, x):
    with record_waits() as waits:
        y = cupy.where(x > 3, cupy.exp(x), 0.0).sum(0)
        x[[0, 1]] = x[cupy.asarray([1, 2])]
        cupy.copyto(x, 1.0, where=x > 5)
        x @ y
        cupy.argsort(y)
    assert not waits


# -- captures


@pytest.fixture
def stream(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        yield stream
        stream.end_capture()


HOST = {
    "a copy to the device": (lambda cp, x: cp.asarray(ROW), "copies from the host"),
    "a list as an index": (lambda cp, x: x[[0, 1]], "copies from the host"),
    "a copy to the host": (lambda cp, x: cp.asnumpy(x), "waits for the device"),
    "a number": (lambda cp, x: x.sum().item(), "waits for the device"),
    "a mask": (lambda cp, x: x[x > 3], "waits for the device"),
    "the stream": (lambda cp, x: cp.cuda.get_current_stream().synchronize(), "waits for the device"),
}


@pytest.mark.parametrize("name", HOST)
def test_a_capture_refuses_the_host(cupy, x, stream, name):
    act, message = HOST[name]
    with pytest.raises(CaptureError, match=message):
        act(cupy, x)


@pytest.mark.parametrize("function", ["matmul", "dot", "einsum"])
def test_a_capture_refuses_cublas(cupy, x, stream, function):
    args = ("ij,kj->ik", x, x) if function == "einsum" else (x, x.T)
    with pytest.raises(NotImplementedError, match="calling cuBLAS API during stream capture"):
        getattr(cupy, function)(*args)


def test_a_capture_changes_nothing_and_a_replay_everything(cupy):
    x, y = cupy.asarray([1.0, 2.0]), cupy.zeros(2)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        cupy.copyto(y, cupy.exp(x) + y)
        x += 1
        graph = stream.end_capture()
    assert (x.tolist(), y.tolist()) == ([1, 2], [0, 0])
    for _ in range(2):
        graph.launch(stream)
    assert x.tolist() == [3, 4]
    np.testing.assert_allclose(y.tolist(), np.exp([1, 2]) + np.exp([2, 3]))


# -- planted in the package: each is caught


def layer_norm(x):
    return F.layer_norm(x, (4,)).sum()


def plant(monkeypatch, name, planted):
    from tinygrad_norm.normalization.sample import layernorm

    monkeypatch.setattr(layernorm, name, planted)


def test_a_planted_array_of_numpy(cupy, monkeypatch):
    from tinygrad_norm.normalization.sample.layernorm import layer_norm_forward as real

    plant(
        monkeypatch,
        "layer_norm_forward",
        lambda x, *args: (real(x, *args)[0] + np.zeros(4), *real(x, *args)[1:]),
    )
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy\.ndarray'>"):
        layer_norm(tn.ones(2, 4))


def test_a_planted_item(cupy, monkeypatch):
    from tinygrad_norm.normalization.sample.layernorm import layer_norm_forward as real

    def peeking(x, *args):
        x.max().item()
        return real(x, *args)

    x = tn.ones(2, 4)
    with record_waits() as waits:
        layer_norm(x)
    assert not waits
    plant(monkeypatch, "layer_norm_forward", peeking)
    with record_waits() as waits:
        layer_norm(x)
    assert len(waits) == 1
    assert "item()" in waits[0]
    assert "peeking" in waits[0]


def test_a_planted_function_that_cupy_lacks(cupy, monkeypatch):
    from tinygrad_norm.backends import namespace

    plant(monkeypatch, "layer_norm_forward", lambda x, *args: namespace(x).block([x]))
    with pytest.raises(AttributeError, match="CuPy has no 'block'"):
        layer_norm(tn.ones(2, 4))


def test_a_planted_copy_in_a_capture(cupy):
    x, y = tn.ones(2, 4), tn.ones(4)

    def step():
        layer_norm(x * tn.Tensor(np.ones(4)))

    with pytest.raises(RuntimeError, match=r"cannot be captured.*copied between the CPU and the GPU"):
        Graph(step)
    Graph(lambda: layer_norm(x * y))
