"""Embedding's backward as kernels: a sort by index, and sums of runs of equal indices."""

import shutil

import fake_cupy
import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.nn import embedding
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.embedding import embedding_backward, embedding_forward

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
SLOW = pytest.mark.slow


def backward(dy, index, V, **schedule):
    with tn.use_backend("emulator"), emulator.schedule(**schedule):
        return to_numpy(embedding_backward(emulator.asarray(dy), emulator.asarray(index), V))


def expected(dy, index, V):
    dweight = np.zeros((V, dy.shape[1]))
    valid = (index >= 0) & (index < V)
    np.add.at(dweight, index[valid], dy[valid].astype(np.float64))
    return dweight


def drawn(N, V, D, dtype=np.float32, frequent=0.0):
    """A dy with mean 0.1, and indices, a fraction of which is 1."""
    rng = np.random.default_rng(N + V)
    index = np.where(rng.random(N) < frequent, 1, rng.integers(0, V, N))
    return (rng.normal(size=(N, D)) + 0.1).astype(dtype), index


def error(found, dy, index, V):
    exact = expected(dy, index, V)
    return abs(found - exact).max() / abs(exact).max()


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize(
    ("N", "V", "D", "frequent"),
    [
        (1, 1, 1, 0.0),
        (33, 5, 36, 0.0),  # two chunks, packs
        (700, 300, 5, 0.9),  # a run over many chunks, two passes of the sort
        pytest.param(5000, 70000, 6, 0.5, marks=SLOW),  # two blocks, three passes
        pytest.param(20000, 256, 136, 0.3, marks=SLOW),  # five blocks, one pass, two slices of columns
    ],
)
def test_sums_of_any_indices(N, V, D, frequent, checked):
    for dtype, bound in ((np.float32, 1e-6), (np.float64, 1e-14), (np.float16, 1e-6)):
        dy, index = drawn(N, V, D, dtype, frequent)
        results = [backward(dy, index, V, seed=seed, checked=checked) for seed in (0, 3)]
        assert error(results[0], dy, index, V) <= bound
        assert results[0].dtype == (np.float64 if dtype is np.float64 else np.float32)
        np.testing.assert_array_equal(*results)  # the same bits in any order of threads


@SLOW
def test_as_accurate_as_direct_sums_in_float32():
    dy, index = drawn(65536, 1000, 4)
    assert error(backward(dy, index, 1000), dy, index, 1000) <= 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_spoils_only_its_own_sum(bad):
    dy, index = drawn(200, 7, 3)
    dy[50] = bad
    found = backward(dy, index, 7)
    assert np.isnan(found[index[50]]).all() or np.isinf(found[index[50]]).all()
    others = np.arange(7) != index[50]
    np.testing.assert_allclose(found[others], expected(dy, index, 7)[others], rtol=1e-5, atol=1e-5)


def test_nothing_is_added_or_written_for_an_index_out_of_range():
    dy, index = drawn(200, 7, 4)
    index[::3] = np.resize([-1, 7, 2**62, -(2**63)], 67)
    assert error(backward(dy, index, 7, checked=True), dy, index, 7) <= 1e-6
    assert not backward(dy, np.full(200, 7), 7).any()
    assert backward(dy, index, 0).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("D", [3, 64, 600])
def test_forward_is_one_launch_and_nan_out_of_range(D, dtype):
    weight, index = (
        np.random.default_rng(0).normal(size=(5, D)).astype(dtype),
        np.array([[4, 0, 5], [-1, 2, 4]]),
    )
    with tn.use_backend("emulator"), emulator.schedule(checked=True), emulator.record() as launches:
        y = to_numpy(embedding_forward(emulator.asarray(weight), emulator.asarray(index)))
    assert len(launches) == 1
    wrong = (index < 0) | (index > 4)
    assert np.isnan(y[wrong]).all()
    np.testing.assert_array_equal(y[~wrong], weight[index[~wrong]])


def test_indices_of_other_types_and_layouts():
    dy, index = drawn(24, 5, 3)
    for given in (index.astype(np.int32), np.repeat(index, 2)[::2], index.astype(np.uint8)):
        assert error(backward(dy, given, 5), dy, index, 5) <= 1e-6


def test_a_captured_step_sums_the_rows_of_new_indices(monkeypatch):
    fake_cupy.install(monkeypatch)
    rng = np.random.default_rng(0)
    with tn.use_backend("emulator"):
        weight = tn.tensor(np.ones((5, 3), np.float32), requires_grad=True)
        index, dy = tn.tensor(np.zeros(40, int)), tn.tensor(rng.normal(size=(40, 3)).astype(np.float32))

        def step():
            weight.grad = None
            (F.embedding(index, weight, padding_idx=2) * dy).sum().backward()

        graph = Graph(step, warm_up=1)
        for _ in range(2):
            drawn_index = rng.integers(0, 5, 40)
            index.copy_(tn.tensor(drawn_index))
            graph()
            exact = expected(to_numpy(dy.array), drawn_index, 5)
            exact[2] = 0
            np.testing.assert_allclose(to_numpy(weight.grad.array), exact, rtol=1e-5, atol=1e-6)


def planted(tmp_path, old, new):
    source = CudaSource(embedding.__file__)
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / source.path.name
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    return source


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "      __syncwarp();\n      if (digit[k] >= 0 && b",
            "      if (digit[k] >= 0 && b",
            r"race on __shared__",
        ),
        ("begun ? pieces + chunk * D :", "false ? pieces :", "race on argument"),
        ("__popc(lanes & ((1u << lane) - 1))", "0", "race on"),
    ],
    ids=["missing barrier", "pieces to the row", "no ranks"],
)
def test_planted_races_are_reported(old, new, message, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_kernels", planted(tmp_path, old, new))
    dy, index = drawn(100, 2, 3)
    with pytest.raises(emulator.KernelError, match=message):
        for seed in range(5):
            backward(dy, index, 2, checked=True, seed=seed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("begun = false, sums", "sums"),
        pytest.param("of_warp[other][threadIdx.x] = before;", "of_warp[other][threadIdx.x] = 0;", marks=SLOW),
        pytest.param("if (counts != nullptr) at +=", "if (false) at +=", marks=SLOW),
    ],
)
def test_planted_errors_change_the_sums(old, new, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_kernels", planted(tmp_path, old, new))
    dy, index = drawn(5000, 2, 2)
    assert not error(backward(dy, index, 2), dy, index, 2) <= 1e-6
