"""The row machine: blocks and threads change nothing but the time; sums are sums; NumPy's settings stay."""

import threading
import tracemalloc

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.blocks import in_blocks, settings
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


@pytest.fixture
def bodies():
    """Run the NumPy bodies: loops have blocks of their own."""
    with tn.use_loops("off"):
        yield


def results(layer, shape=(5, 4, 3), dtype=np.float64, scale=1.0):
    """y, dx, dweight and dbias, contracted with a random dy."""
    rng = np.random.default_rng(1)
    x = Tensor((rng.normal(size=shape) * scale).astype(dtype), requires_grad=True)
    affine = shape[1:] if layer in ("layer_norm", "rms_norm") else shape[1:2]
    w, b = (Tensor(rng.normal(size=affine).astype(dtype), requires_grad=True) for _ in range(2))
    y = LAYERS[layer](x, w, b)
    dxs = grad(y, [x, w, b], rng.normal(size=y.shape).astype(dtype), allow_unused=True)
    return [y.array, *(dx.array for dx in dxs if dx is not None)]


@pytest.mark.usefixtures("bodies")
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


@pytest.mark.usefixtures("bodies")
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


@pytest.mark.usefixtures("bodies")
@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 2, 7])
def test_every_op_that_is_split_passes_its_checks_with_the_same_bits(block, monkeypatch):
    slices, parts, split = blocks.slices, [], set()
    monkeypatch.setattr(blocks, "MANY", 0)
    monkeypatch.setattr(blocks, "slices", lambda n, step: (parts.append(n), slices(n, step))[1])
    for op in REGISTRY.values():
        parts.clear()
        with settings(block=block):
            one = bits(op)
            if not parts:
                continue
            assert check(op).failures == ()
        split.add(op.name)
        for threads in (2, 4):  # the same bits pass the same checks
            with settings(block=block, threads=threads):
                assert bits(op) == one, f"{op.name}, {threads} threads"
    assert split >= LAYERS.keys() | {"add_layer_norm", "add_rms_norm", "normalize", "cross_entropy"}, split


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("threads", [1, 2])
def test_large_inputs_are_split_without_being_asked(threads):
    whole = {}
    for block in (1 << 30, 1 << 18):
        with settings(block=block, threads=threads):
            whole[block] = results("layer_norm", (600, 1000), np.float32)
    for a, b in zip(*whole.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_extreme_numbers_are_as_silent_as_the_whole(threads, monkeypatch):
    monkeypatch.setattr(blocks, "MANY", 0)
    for layer in ("layer_norm", "batch_norm", "rms_norm"):
        with settings(block=12, threads=threads):
            for array in results(layer, (6, 4, 3), np.float32, scale=1e30):
                assert np.isfinite(array).all()


def test_a_body_runs_in_blocks_of_whole_rows():
    seen = []

    @in_blocks("x", add=True)
    def body(x, weight):
        seen.append(len(x))
        return x * weight, x.sum(0)

    x = np.arange(20.0).reshape(10, 2)
    with settings(block=7):
        y, total = body(x, 3.0)
    assert seen == [3, 3, 3, 1]
    np.testing.assert_array_equal(y, 3 * x)
    np.testing.assert_array_equal(total, x.sum(0))


def test_further_results_are_joined_along_the_axis():
    @in_blocks("x", axis=1)
    def body(x):
        return -x, x.sum((0, 2), keepdims=True)

    x = RNG.normal(size=(3, 4, 2))
    with settings(block=6):
        y, sums = body(x)
    np.testing.assert_array_equal(y, -x)
    np.testing.assert_allclose(sums, x.sum((0, 2), keepdims=True))


def test_an_array_of_size_1_along_the_axis_goes_to_every_block():
    @in_blocks("x", "weight")
    def body(x, weight):
        return x * weight

    x, weight = RNG.normal(size=(6, 4)), RNG.normal(size=(1, 4))
    with settings(block=8):
        np.testing.assert_array_equal(body(x, weight), x * weight)


def scaled_gradient(dy, x, weight):
    """The backward of y = weight·x, for a weight (1, D) or, per sample, (N, D)."""
    dweight = dy * x
    return dy * weight, dweight.sum(0, keepdims=True) if len(weight) == 1 else dweight


@pytest.mark.parametrize("block", [1, 4, 8, 1000])
def test_the_gradient_of_a_weight_for_each_sample_is_joined(block):
    dy, x, weight = RNG.normal(size=(3, 6, 4))
    with settings(block=block):
        dx, dweight = in_blocks("dy", "x", "weight")(scaled_gradient)(dy, x, weight)
    np.testing.assert_array_equal(dx, dy * weight)
    np.testing.assert_array_equal(dweight, dy * x)


@pytest.mark.parametrize("block", [1, 4, 8])
@pytest.mark.parametrize("names", [("dy", "x"), ("dy", "x", "weight")])
def test_a_weight_for_each_sample_is_not_added_over_blocks(names, block):
    dy, x, weight = RNG.normal(size=(3, 6, 4))
    body = in_blocks(*names, add=True, weight=1.0)(scaled_gradient)
    with settings(block=block), pytest.raises(ValueError, match=r"weight \(6, 4\) varies along axis 0"):
        body(dy, x, weight)
    with settings(block=block):
        np.testing.assert_allclose(body(dy, x, weight[:1])[1], (dy * x).sum(0, keepdims=True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_half_types_are_upcast_and_missing_arguments_replaced(dtype):
    @in_blocks("x", weight=2.0)
    def body(x, weight):
        return x * weight, x.sum()

    x = RNG.normal(size=(6, 4)).astype(dtype)
    for block in (4, 1000):
        with settings(block=block):
            y, total = in_blocks("x", add=True, weight=2.0)(body.__wrapped__)(x, None)
        assert y.dtype == dtype
        assert total.dtype == np.promote_types(dtype, np.float32)
        np.testing.assert_array_equal(y, (x.astype(total.dtype) * 2).astype(dtype))


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

    @in_blocks("x")
    def body(x):
        seen.append((np.getbufsize(), np.geterr()["over"]))
        return -x

    for threads in (1, 2):
        with settings(block=1024, threads=threads):
            body(np.ones((64, blocks.LONG_ROW)))
    assert set(seen) == {(blocks.LONG_ROW, "ignore")}
    assert (np.getbufsize(), np.geterr()) == (size, handling)

    @in_blocks("x")
    def failing(x):
        raise RuntimeError("in a body")

    with pytest.raises(RuntimeError, match="in a body"):
        failing(np.ones((64, 4096)))
    assert (np.getbufsize(), np.geterr()) == (size, handling)


def memory_of_a_pass(layer, shape):
    """The most that forward and backward hold beside the input, dy and the parameters, in inputs."""
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal(shape, np.float32), requires_grad=True)
    dy = np.ones(shape, np.float32)
    w, b = (Tensor(np.ones(shape[1:2], np.float32), requires_grad=True) for _ in range(2))
    few = Tensor(x.array[:2], requires_grad=True)
    LAYERS[layer](few, w, b).backward(dy[:2])  # compiles the loops
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
    assert memory_of_a_pass(layer, shape) < 2 + 10 * blocks._settings.block / np.prod(shape)


@pytest.mark.slow
def test_a_gigabyte_takes_three():
    assert memory_of_a_pass("layer_norm", (1 << 16, 1 << 12)) < 2.05


def test_the_environment_chooses_threads():
    assert blocks._threads({"TINYGRAD_NORM_THREADS": "3"}) == 3
    assert blocks._threads({}) == 1
    for wrong in ("0", "two", ""):
        with pytest.raises(ValueError, match="TINYGRAD_NORM_THREADS"):
            blocks._threads({"TINYGRAD_NORM_THREADS": wrong})
