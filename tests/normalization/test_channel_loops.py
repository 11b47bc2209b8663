"""The loops of batch and group normalization: for many positions, for few, and for parts of the channels."""

import pickle

import numpy as np
import pytest
from loop_runs import MODES, needs_numba

from tinygrad_norm import use_loops
from tinygrad_norm.backends import KERNELS
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.normalization.batch import shortrows
from tinygrad_norm.normalization.batch.batchnorm import batch_norm_forward

SHAPES = [(7, 300, 1), (40, 3, 1), (41, 3, 1), (300, 1, 1), (9, 5, 7), (3, 4, 47), (3, 4, 48), (2, 3, 130)]
RUNS = ["batch_norm_forward", "batch_norm_backward", "batch_norm_eval_forward", "batch_norm_eval_backward"]
LOOPS = {
    "batch_norm_forward": shortrows.short_rows,
    "batch_norm_backward": shortrows.short_rows_backward,
    "batch_norm_eval_forward": shortrows.eval_short_rows,
    "batch_norm_eval_backward": shortrows.eval_short_rows_backward,
}
HARD = ["constant channel", "a large mean", "1e30", "1e-30", "nan", "inf"]


def drawn(name, shape, dtype):
    """Arguments of a kernel."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    weight, bias, mean = rng.normal(size=(3, 1, shape[1], 1))
    rstd = rng.uniform(0.5, 2, (1, shape[1], 1))
    args = {
        "batch_norm_forward": (x, weight, bias, 1e-5),
        "batch_norm_eval_forward": (x, weight, bias, mean, rstd, 1e-5),
    }.get(name, (dy, x, weight, mean, rstd))
    return [a if isinstance(a, float) else a.astype(dtype) for a in args]


def results(mode, name, args):
    with use_loops(mode):
        return KERNELS[name](*args)


def assert_close(found, right, tolerance):
    for a, b in zip(found, right, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, abs(b).max()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", RUNS)
def test_both_loops_agree_with_the_body(name, shape, dtype, mode):
    args = drawn(name, shape, dtype)
    exact = results("off", name, [a if isinstance(a, float) else a.astype("float64") for a in args])
    right = [a.astype(dtype) for a in exact]
    assert_close(results(mode, name, args), right, 3e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 3, 5, 1), (5, 2, 3, 7), (4, 1, 40, 47), (3, 2, 3, 48)])
def test_both_loops_of_groups_agree_with_the_body(shape, dtype, mode):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, *shape)).astype(dtype)
    x[1] *= 1e-30
    weight, bias = rng.normal(size=(2, 1, *shape[1:3], 1)).astype(dtype)
    right = results("off", "group_norm_forward", (x, weight, bias, 1e-5))
    tolerance = 5e-6 if dtype == "float32" else 1e-14
    assert_close(results(mode, "group_norm_forward", (x, weight, bias, 1e-5)), right, tolerance)
    args = dy, x, weight, *right[1:]
    right = results("off", "group_norm_backward", args)
    assert_close(results(mode, "group_norm_backward", args), right, tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("shape", [(6, 4, 1), (2, 4, 60)])
def test_one_hard_channel_leaves_the_others_alone(shape, kind, mode):
    x, *others = drawn("batch_norm_forward", shape, "float32")
    if kind == "constant channel":
        x[:, 1] = 3
    elif kind == "a large mean":
        x[:, 1] += 1e5
    elif kind in ("nan", "inf"):
        x[0, 1, 0] = float(kind)
    else:
        x[:, 1] *= float(kind)
    y, mean, var, rstd = results("off", "batch_norm_forward", (x, *others))
    found = results(mode, "batch_norm_forward", (x, *others))
    for a, b in zip(found, (y, mean, var, rstd), strict=True):
        for c in range(4):
            scale = np.nan_to_num(abs(b[:, c]), nan=1, posinf=1).max()
            np.testing.assert_allclose(a[:, c], b[:, c], rtol=1e-5, atol=3e-6 * scale)


@needs_numba
@pytest.mark.parametrize("shape", [(300, 2100, 1), (200, 500, 7), (600, 20, 60)])
@pytest.mark.parametrize("name", RUNS)
def test_threads_change_no_bit(name, shape):
    args = drawn(name, shape, "float32")
    alone = results("compiled", name, args)
    with blocks.settings(threads=3):
        shared = results("compiled", name, args)
    for a, b in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_numba
@pytest.mark.parametrize("channels", [1, 3])
def test_millions_of_rows_keep_their_digits(channels):
    x = np.random.default_rng(0).uniform(1, 2, (3_000_000, channels, 1)).astype(np.float32)
    _, mean, var, _ = results("compiled", "batch_norm_forward", (x, None, None, 1e-5))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean.ravel(), exact.mean((0, 2)), rtol=2e-7)
    np.testing.assert_allclose(var.ravel(), exact.var((0, 2)), rtol=1e-6)
    _, dweight, dbias = results("compiled", "batch_norm_backward", (x, x, None, mean, var**-0.5))
    np.testing.assert_allclose(dbias.ravel(), exact.sum((0, 2)), rtol=2e-7)
    x_hat = (exact - mean) * var**-0.5
    np.testing.assert_allclose(dweight.ravel(), (exact * x_hat).sum((0, 2)), rtol=1e-5)


def test_positions_decide_which_loop_runs(monkeypatch):
    x, *others = drawn("batch_norm_forward", (4, 3, shortrows.SHORT - 1), "float32")
    right = results("python", "batch_norm_forward", (x, *others))
    monkeypatch.setattr(shortrows, "SHORT", 1)
    found = results("python", "batch_norm_forward", (x, *others))
    assert any((a != b).any() for a, b in zip(found, right, strict=True))  # another order of sums
    assert_close(found, right, 1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_a_part_of_the_channels_with_as_many_positions(name):
    """Rows lie side by side only where all channels are wanted, whatever the positions."""
    args = drawn(name, (5, 4, 2), "float64")
    right = results("off", name, args)
    found = [np.empty_like(a) for a in right]
    left = [] if "eval" in name else [np.empty(4, bool)]
    with use_loops("python"):
        for start in (0, 2):
            LOOPS[name](*args, *found, *left, start, start + 2)
    assert_close(found, right, 1e-13)


@pytest.mark.parametrize("at", range(3))
def test_arrays_that_were_pickled_run_loops_too(at):
    args = drawn("batch_norm_forward", (4, 3, 1), "float32")
    args[at] = pickle.loads(pickle.dumps(args[at]))
    assert args[at].dtype is not np.dtype(np.float32)
    with use_loops("python"):
        assert batch_norm_forward.cpu_version(*args) is not NotImplemented


def test_channels_without_values(recwarn):
    for shape in [(0, 3, 1), (2, 0, 1), (2, 3, 0)]:
        y, *statistics = batch_norm_forward(np.ones(shape, np.float32), None, None, 1e-5)
        assert y.shape == shape
        assert [s.shape for s in statistics] == [(1, shape[1], 1)] * 3
    assert not recwarn
