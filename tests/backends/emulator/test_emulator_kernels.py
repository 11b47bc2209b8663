"""Correct kernels: correct results in both modes under three schedules, and no false report."""

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import asarray, empty, record, zeros

f4, i4 = np.float32, np.int32
RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("mode", "seed")


@pytest.mark.parametrize("D", [1, 31, 33, 255, 1000])
def test_block_reduction(correct, D):
    x = RNG.normal(size=(5, D)).astype(f4)
    y = empty(5, f4)
    correct.get_function("row_sum<float, 256>")((5,), (256,), (asarray(x), y, i4(D)))
    np.testing.assert_allclose(y, x.astype(float).sum(1), rtol=1e-5, atol=1e-5)


def test_block_reduction_in_double(correct):
    x = RNG.normal(size=(3, 500))
    y = empty(3)
    correct.get_function("row_sum<double, 64>")((3,), (64,), (asarray(x), y, i4(500)))
    np.testing.assert_allclose(y, x.sum(1), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(32, 32), (50, 70)])
def test_tiled_transpose(correct, shape):
    x = asarray(RNG.normal(size=shape).astype(f4))
    y = empty(shape[::-1], f4)
    grid = (-(-shape[1] // 32), -(-shape[0] // 32))
    correct.get_function("transpose")(grid, (32, 8), (x, y, i4(shape[0]), i4(shape[1])))
    assert np.array_equal(y, x.T)


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(correct, affine):
    N, D, eps = 6, 300, 1e-5
    x = RNG.normal(2, 3, size=(N, D))
    weight, bias = RNG.normal(1, 1, size=(2, D)) if affine else (np.ones(D), np.zeros(D))
    y = empty((N, D), f4)
    parameters = [asarray(p.astype(f4)) if affine else np.uint64(0) for p in (weight, bias)]
    correct.get_function("layer_norm")(
        (N,), (128,), (asarray(x.astype(f4)), *parameters, y, i4(D), f4(eps)), shared_mem=4 * D
    )
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) * weight + bias
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


def test_groups_of_lanes_synchronize_by_themselves(correct):
    x = asarray(RNG.integers(-9, 9, 32, dtype=i4))
    y = empty(32, i4)
    correct.get_function("sum_of_eight")((1,), (32,), (x, y))
    assert np.array_equal(y, np.repeat(np.asarray(x).reshape(4, 8).sum(1), 8))


def test_shuffles(correct):
    x = np.arange(100, 132, dtype=i4)
    y = empty(160, i4)
    correct.get_function("shuffles")((1,), (32,), (asarray(x), y))
    up, down, exclusive_or, index, wide = np.asarray(y).reshape(5, 32)
    lane = np.arange(32)
    assert np.array_equal(up, x[np.where(lane < 3, lane, lane - 3)])
    assert np.array_equal(down, x[np.where(lane % 16 > 12, lane, np.minimum(lane + 3, 31))])
    assert np.array_equal(exclusive_or, x[lane ^ 5])
    assert np.array_equal(index, np.full(32, x[3]))
    assert np.array_equal(wide, x[lane ^ 1] + x[0])


def test_votes(correct):
    x = np.arange(64, dtype=i4)
    x[:32] |= 1
    y = empty(12, i4)
    correct.get_function("votes")((1,), (64,), (asarray(x), y))
    assert np.asarray(y).tolist() == [48, 1, 0, -1, 1, 1, 48, 1, 0, 0xAAAAAAAA - 2**32, 1, 0]


def test_vectors(correct):
    x, a = asarray(RNG.normal(size=(40, 4)).astype(f4)), asarray(RNG.normal(size=(40, 2)))
    y, b = empty((40, 4), f4), empty((40, 2))
    correct.get_function("scale_vectors")((2,), (32,), (x, y, a, b, i4(40)))
    assert np.array_equal(y, 2 * x)
    assert np.array_equal(b, a[:, ::-1])


def test_structs(correct):
    x, s = asarray(np.arange(65, dtype=f4)), asarray(np.arange(96, dtype=np.int16))
    y, t = empty(65, f4), empty(96, np.int16)
    correct.get_function("copy_structs")((1,), (32,), (x, y, s, t))
    assert np.array_equal(y[1:], x[1:])
    assert y[0] == 3
    assert np.array_equal(t, s)


def test_a_barrier_waits_only_for_running_threads(correct):
    y = empty(32, i4)
    correct.get_function("leave_early")((1,), (64,), (y,))
    assert np.array_equal(y, np.arange(32)[::-1])


def test_every_kind_of_scalar(correct):
    y = empty(6)
    values = (np.bool_(True), i4(-2), np.uint32(2**32 - 1), np.int64(-(2**40)), f4(0.5), np.float64(0.1))
    correct.get_function("scalars")((1,), (1,), (y, *values))
    assert np.asarray(y).tolist() == [1.0, -2.0, 2.0**32 - 1, -(2.0**40), 0.5, 0.1]
    correct.get_function("scalars")((1,), (1,), (y, False, -3, 3, 2**40, f4(0.25), 0.2))
    assert np.asarray(y).tolist() == [0.0, -3.0, 3.0, 2.0**40, 0.25, 0.2]


def test_one_array_for_two_parameters(correct):
    x = asarray(np.arange(32, dtype=f4))
    correct.get_function("add_in_place")((1,), (32,), (x, x))
    assert np.array_equal(x, 2 * np.arange(32))


def test_constant_memory(correct):
    y = empty(32, f4)
    correct.get_function("look_up")((1,), (32,), (asarray(np.arange(32, dtype=i4) % 4), y))
    assert np.array_equal(y, 2.0 ** (np.arange(32) % 4))


def test_small_elements_side_by_side(correct):
    x = asarray(RNG.integers(-99, 99, 64, dtype=np.int16))
    y, z = empty(64, np.int16), empty(64, np.int8)
    correct.get_function("small_elements")((1,), (64,), (x, y, z), shared_mem=128)
    assert np.array_equal(y, x[np.arange(64) ^ 1])
    assert np.array_equal(z, x)


def test_a_record_tells_shape_and_time_and_bytes(correct, mode):
    x = asarray(np.ones((4, 300), f4))
    y, weight = empty((4, 300), f4), asarray(np.ones(300, f4))
    with record() as launches:
        kernel = correct.get_function("layer_norm")
        kernel((4,), (128,), (x, weight, np.uint64(0), y, i4(300), f4(1)), shared_mem=1200)
    (launch,) = launches
    assert (launch.name, launch.grid, launch.block, launch.shared_mem) == (
        "layer_norm",
        (4, 1, 1),
        (128, 1, 1),
        1200,
    )
    assert launch.seconds > 0
    assert launch.traffic == ({0: (4800, 0), 1: (4800, 0), 3: (0, 4800)} if mode == "checked" else {})


def test_an_empty_array_is_a_pointer_too(correct):
    y = empty(6)
    correct.get_function("row_sum<double, 64>")((1,), (64,), (zeros((1, 0)), y, i4(0)))
    assert y[0] == 0
