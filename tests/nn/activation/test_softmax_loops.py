"""The loops of softmax and log-softmax: what is not finite, far offsets, and columns (N, D, S)."""

import numpy as np
import pytest
from loop_runs import MODES

from tinygrad_norm import use_loops
from tinygrad_norm.nn.activation.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)

FORWARD = [softmax_forward, log_softmax_forward]
BACKWARD = [softmax_backward, log_softmax_backward]
SHAPES = [(7, 37), (3, 37, 5)]


def drawn(shape, dtype, scale=3.0):
    return (scale * np.random.default_rng(0).normal(size=shape)).astype(dtype)


def in_both(mode, kernel, *args):
    """The results of the loop and of the body."""
    with use_loops(mode):
        found = kernel.cpu_version(*args)
    assert found is not NotImplemented
    return found, kernel.numpy_version(*args)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", [*FORWARD, *BACKWARD])
def test_loops_and_bodies_agree(kernel, shape, dtype, mode):
    x, dy = drawn(shape, dtype), drawn(shape, dtype, 1.0)
    y = FORWARD[BACKWARD.index(kernel)](x) if kernel in BACKWARD else None
    found, right = in_both(mode, kernel, *((x,) if y is None else (dy, y)))
    assert found.dtype == dtype
    assert abs(found - right).max() <= 16 * np.finfo(dtype).eps * max(1, abs(right).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", FORWARD)
def test_numbers_that_are_not_finite_are_those_of_the_body(kernel, shape, mode):
    x = drawn((7, *shape[1:]), "float32")
    x[0, 1], x[1, 2], x[2, 3], x[3], x[4, 1:] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
    x[5, 0], x[5, 1], x[5, 2] = np.inf, -np.inf, np.nan
    x[6, 0], x[6, 1] = 3e38, -3e38
    found, right = in_both(mode, kernel, x)
    np.testing.assert_allclose(found, right, rtol=1e-5)
    assert np.isnan(found[3]).all()  # only -∞: no distribution, as in PyTorch


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offset", [1e4, -1e4, 1e30])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", FORWARD)
def test_a_constant_added_to_a_row_changes_nothing(kernel, shape, offset, mode):
    x = np.round(64 * drawn(shape, "float32")) / 64 if abs(offset) < 1e5 else np.zeros(shape, np.float32)
    with use_loops(mode):
        np.testing.assert_allclose(kernel(x + np.float32(offset)), kernel(x), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_logarithm_of_a_sure_prediction_keeps_its_digits(shape, mode):
    x = np.zeros(shape, np.float32)
    x[:, 0] = 1000
    x[:, 1] = 1000 - 10
    with use_loops(mode):
        np.testing.assert_allclose(log_softmax_forward(x)[:, 0], -np.log1p(np.exp(-10)), rtol=1e-3)
