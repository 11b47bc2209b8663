"""The row machine: blocks and threads change nothing but the time; sums are sums; NumPy's settings stay."""

import threading
import tracemalloc

import numpy as np
import pytest

from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.blocks import run, settings
from tinygrad_norm.gradient_check.registered import check, evaluate
from tinygrad_norm.nn import functional as F
from tinygrad_norm.registry import REGISTRY

RNG = np.random.default_rng(0)
# Each with more than one pool along the axis of the blocks, so that small blocks split it.
LAYERS = {
    "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b),
    "rms_norm": lambda x, w, b: F.rms_norm(x, x.shape[1:], w),
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "instance_norm": lambda x, w, b: F.instance_norm(x, None, None, w, b),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "softmax": lambda x, w, b: F.softmax(x, 1) * 1.0,
    "log_softmax": lambda x, w, b: F.log_softmax(x, -1) * 1.0,
}


def results(layer, shape=(5, 4, 3), dtype=np.float64, scale=1.0):
    """y, dx, dweight and dbias, contracted with a random dy."""
    rng = np.random.default_rng(1)
    x = Tensor((rng.normal(size=shape) * scale).astype(dtype), requires_grad=True)
    affine = shape[1:] if layer in ("layer_norm", "rms_norm") else shape[1:2]
    w, b = (Tensor(rng.normal(size=affine).astype(dtype), requires_grad=True) for _ in range(2))
    y = LAYERS[layer](x, w, b)
    dxs = grad(y, [x, w, b], rng.normal(size=y.shape).astype(dtype), allow_unused=True)
    return [y.array, *(dx.array for dx in dxs if dx is not None)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("block", [1, 2, 7, 24])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_blocks_and_threads_change_no_result(layer, block, threads, monkeypatch):
    monkeypatch.setattr(blocks, "MANY", 0)
    whole = results(layer)
    with settings(block=block, threads=threads):
        split = results(layer)
        again = results(layer)
    for a, b, c in zip(whole, split, again, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("layer", LAYERS)
def test_threads_change_not_a_bit(layer, monkeypatch):
    monkeypatch.setattr(blocks, "MANY", 0)
    with settings(block=12):
        one = results(layer, (7, 4, 6), np.float32)
    for threads in (2, 4):
        with settings(block=12, threads=threads):
            for a, b in zip(one, results(layer, (7, 4, 6), np.float32), strict=True):
                np.testing.assert_array_equal(a, b)


def bits(op):
    """Every value and gradient of every case, in both dtypes."""
    runs = [evaluate(op, op.function, case, dtype) for dtype in (np.float32, np.float64) for case in op.cases]
    return [array.tobytes() for run in runs for array in (*run.values, *run.gradients.values())]


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 2, 7])
def test_every_op_that_is_split_passes_its_checks_with_the_same_bits(block, monkeypatch):
    part, parts, split = blocks._part, [], set()
    monkeypatch.setattr(blocks, "MANY", 0)
    monkeypatch.setattr(blocks, "_part", lambda axis, where: (parts.append(where), part(axis, where))[1])
    for op in REGISTRY.values():
        parts.clear()
        with settings(block=block):
            one = bits(op)
        if not parts:
            continue
        split.add(op.name)
        for threads in (1, 2, 4):
            with settings(block=block, threads=threads):
                assert check(op).failures == (), f"{threads} threads"
                assert bits(op) == one, f"{op.name}, {threads} threads"
    assert split >= LAYERS.keys() | {"add_layer_norm", "add_rms_norm", "normalize", "cross_entropy"}, split


@pytest.mark.parametrize("threads", [1, 2])
def test_large_inputs_are_split_without_being_asked(threads):
    whole = {}
    for block in (1 << 30, 1 << 18):
        with settings(block=block, threads=threads):
            whole[block] = results("layer_norm", (600, 1000), np.float32)
    for a, b in zip(*whole.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_extreme_numbers_are_as_silent_as_the_whole(threads, monkeypatch):
    monkeypatch.setattr(blocks, "MANY", 0)
    for layer in ("layer_norm", "batch_norm", "rms_norm"):
        with settings(block=12, threads=threads):
            for array in results(layer, (6, 4, 3), np.float32, scale=1e30):
                assert np.isfinite(array).all()


def test_a_body_runs_in_blocks_of_whole_rows():
    seen = []

    def body(x, weight, out):
        seen.append(len(x))
        return np.multiply(x, weight, out=out), x.sum(0)

    x = np.arange(20.0).reshape(10, 2)
    with settings(block=7):
        y, total = run(body, (x,), (3.0,), add=True)
    assert seen == [3, 3, 3, 1]
    np.testing.assert_array_equal(y, 3 * x)
    np.testing.assert_array_equal(total, x.sum(0))


def test_further_results_are_joined_along_the_axis():
    x = RNG.normal(size=(3, 4, 2))
    with settings(block=6):
        y, sums = run(lambda x, out: (np.negative(x, out=out), x.sum((0, 2), keepdims=True)), (x,), axis=1)
    np.testing.assert_array_equal(y, -x)
    np.testing.assert_allclose(sums, x.sum((0, 2), keepdims=True))


def test_settings_are_of_the_thread_and_come_back():
    def block_elsewhere():
        found.append(blocks._settings.block)

    before, found = blocks._settings.block, []
    with settings(block=5):
        with settings(threads=3):
            assert (blocks._settings.block, blocks._settings.threads) == (5, 3)
        assert blocks._settings.threads == 1
        thread = threading.Thread(target=block_elsewhere)
        thread.start()
        thread.join()
    assert found == [before]
    assert blocks._settings.block == before


@pytest.mark.parametrize("wrong", [{"block": 0}, {"threads": -1}])
def test_settings_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"), settings(**wrong):
        pass


def test_numpys_own_settings_stay(monkeypatch):
    monkeypatch.setattr(blocks, "MANY", 0)
    size, handling, seen = np.getbufsize(), np.geterr(), []

    def body(x, out):
        seen.append((np.getbufsize(), np.geterr()["over"]))
        return (np.negative(x, out=out),)

    for threads in (1, 2):
        with settings(block=1024, threads=threads):
            run(body, (np.ones((64, blocks.LONG_ROW)),))
    assert set(seen) == {(blocks.LONG_ROW, "ignore")}
    assert (np.getbufsize(), np.geterr()) == (size, handling)

    def failing(x, out):
        raise RuntimeError("in a body")

    with pytest.raises(RuntimeError, match="in a body"):
        run(failing, (np.ones((64, 4096)),))
    assert (np.getbufsize(), np.geterr()) == (size, handling)


SHAPES = [
    ((4, 3), (1,)),
    ((4, 3), (0,)),
    ((6, 5, 1), (0, 2)),
    ((6, 5, 4), (0, 2)),
    ((3, 5, 300), (0, 2)),
    ((1, 5, 4), (0, 2)),
    ((3, 5, 4), (2,)),
    ((2, 3, 2, 5), (2, 3)),
    ((2, 3, 2, 1), (3,)),
    ((2, 3, 4), (1,)),
    ((2, 3, 4), (0, 1, 2)),
    ((0, 3), (1,)),
    ((3, 0), (1,)),
]


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize("lay_out", ["contiguous", "sliced", "transposed"])
def test_sums_are_sums(shape, axes, lay_out):
    x, y = RNG.normal(size=(2, *shape))
    if lay_out == "sliced":
        x, y = (np.repeat(a, 2, 1)[:, : a.shape[1]] for a in (x, y))
    elif lay_out == "transposed":
        x, y = (np.asfortranarray(a) for a in (x, y))
    pool = blocks.pools(x, axes)
    like_x = (1,) * (x.ndim - len(pool.shape)) + pool.shape
    assert like_x == x.sum(axes, keepdims=True).shape
    np.testing.assert_allclose(pool.sums(x), x.sum(axes).reshape(pool.shape), atol=1e-12, strict=True)
    np.testing.assert_allclose(
        pool.dots(x, y), (x * y).sum(axes).reshape(pool.shape), atol=1e-12, strict=True
    )
    room = np.empty_like(x)
    np.testing.assert_allclose(pool.dots(x, y, room), pool.dots(x, y), atol=1e-12, strict=True)
    assert pool.n == max(np.prod([shape[axis] for axis in axes]), 1)


def test_sums_of_rows_and_columns():
    x, y = RNG.normal(size=(2, 4, 3))
    row, column = RNG.normal(size=3), RNG.normal(size=(4, 1))
    np.testing.assert_allclose(blocks.row_sums(x), x.sum(1, keepdims=True))
    np.testing.assert_allclose(blocks.row_sums(x, row), (x * row).sum(1, keepdims=True))
    np.testing.assert_allclose(blocks.row_dots(x, y), (x * y).sum(1, keepdims=True))
    np.testing.assert_allclose(blocks.column_sums(x), x.sum(0))
    np.testing.assert_allclose(blocks.column_sums(x, column), (x * column).sum(0))
    np.testing.assert_array_equal(blocks.row_maxima(x), x.max(1, keepdims=True))
    assert (blocks.largest(x), blocks.smallest(x)) == (x.max(), x.min())
    x[2, 1] = np.nan
    assert np.isnan([blocks.largest(x), blocks.smallest(x), blocks.row_maxima(x)[2, 0]]).all()


def test_the_mean_of_equal_numbers_is_this_number():
    for value in (0.1, 1e4, 3e-5):
        x = np.full((7, 3), np.float32(value))
        np.testing.assert_allclose(blocks.pools(x, (0,)).means(x), x[0], rtol=1e-7)


@pytest.mark.parametrize("S", [1, 4, 300])
def test_spread_only_changes_the_shape(S):
    x = RNG.normal(size=(3, 5, S))
    for v in (RNG.normal(size=shape) for shape in ((5, 1), (1, 5, 1), (3, 5, 1), (3, 1, 1))):
        np.testing.assert_array_equal(x * blocks.spread(v, x), x * v)


def memory_of_a_pass(layer, shape):
    """The most that forward and backward hold beside the input, dy and the parameters, in inputs."""
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    dy = np.ones(shape, np.float32)
    w, b = (Tensor(np.ones(shape[1:2], np.float32), requires_grad=True) for _ in range(2))
    tracemalloc.start()
    try:
        y = LAYERS[layer](x, w, b)
        y.backward(dy)
        return tracemalloc.get_traced_memory()[1] / x.array.nbytes
    finally:
        tracemalloc.stop()


# Of the three inputs' worth, one is x itself; y and dx are the other two. Blocks need a little room.
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("layer_norm", (4096, 1024)),
        ("rms_norm", (4096, 1024)),
        ("batch_norm", (64, 64, 32, 32)),
        ("instance_norm", (64, 64, 32, 32)),
        ("group_norm", (64, 64, 32, 32)),
    ],
)
def test_a_large_input_takes_three_times_its_memory(layer, shape):
    assert memory_of_a_pass(layer, shape) < 2 + 4 * blocks._settings.block / np.prod(shape)


@pytest.mark.slow
def test_a_gigabyte_takes_three():
    assert memory_of_a_pass("layer_norm", (1 << 16, 1 << 12)) < 2.05


def test_the_environment_chooses_threads():
    assert blocks._threads({"TINYGRAD_NORM_THREADS": "3"}) == 3
    assert blocks._threads({}) == 1
    for wrong in ("0", "two", ""):
        with pytest.raises(ValueError, match="TINYGRAD_NORM_THREADS"):
            blocks._threads({"TINYGRAD_NORM_THREADS": wrong})
