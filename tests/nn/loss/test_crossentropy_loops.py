"""The loops of cross entropy: blocks that begin inside an array, infinite numbers, soft targets."""

import numpy as np
import pytest
from loop_runs import MODES, needs_numba

from tinygrad_norm import use_loops
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.nn.loss.crossentropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    soft_cross_entropy_backward,
    soft_cross_entropy_forward,
)

SHAPES = [(7, 19), (3, 19, 5)]


def drawn(shape):
    """Logits x, and the positions of one target for every sample in the flattened x."""
    rng = np.random.default_rng(0)
    N, C, *space = shape
    at = np.arange(N * C * int(np.prod(space))).reshape(shape)
    t = rng.integers(0, C, (N, 1, *space))
    return rng.normal(size=shape).astype(np.float32), np.take_along_axis(at, t, 1)[:, 0]


def in_both(mode, kernel, *args):
    """The results of the loop and of the body, as tuples."""
    with use_loops(mode), np.errstate(all="ignore"):
        found, right = kernel.cpu_version(*args), kernel.numpy_version(*args)
    assert found is not NotImplemented
    return [(one if type(one) is tuple else (one,)) for one in (found, right)]


def assert_alike(found, right, rtol=2e-6):
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sure_and_endless_predictions_are_as_in_the_body(shape, mode):
    x, index = drawn((7, *shape[1:]))
    x[0, 0], x[1, 1], x[2, 2], x[3], x[4] = np.nan, np.inf, -np.inf, -np.inf, 1e4
    x[5].flat[0], x[5].flat[-1] = 3e38, -3e38
    x[6] *= 200
    assert_alike(*in_both(mode, cross_entropy_forward, x, index))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_each_loss_or_of_their_sum(shape, each, mode):
    x, index = drawn(shape)
    _, p = cross_entropy_forward(x, index)
    dlosses = np.random.default_rng(1).normal(size=index.shape if each else ()).astype(np.float32)
    assert_alike(*in_both(mode, cross_entropy_backward, np.asarray(dlosses), p, index))


@needs_numba
@pytest.mark.parametrize("shape", [(3000, 200), (30, 20, 1000)])
def test_blocks_that_begin_inside_an_array(shape):
    x, index = drawn(shape)
    with blocks.settings(threads=2):
        assert_alike(*in_both("compiled", cross_entropy_forward, x, index), rtol=1e-5)
        _, p = cross_entropy_forward(x, index)
        for dlosses in (np.ones(index.shape, np.float32), np.ones((), np.float32)):
            assert_alike(*in_both("compiled", cross_entropy_backward, dlosses, p, index))


@pytest.mark.parametrize("mode", MODES)
def test_masses_of_0_count_for_nothing(mode):
    x, _ = drawn((6, 9))
    x[:, 3] = -np.inf
    q = np.random.default_rng(1).dirichlet(np.ones(9), 6).astype(np.float32)
    q[:4, 3] = 0
    found, right = in_both(mode, soft_cross_entropy_forward, x, q)
    assert_alike(found, right)
    assert np.isfinite(found[0][:4]).all()
    assert np.isinf(found[0][4:]).all()
    for dlosses in (np.arange(6, dtype=np.float32), np.asarray(2.0, np.float32)):
        assert_alike(*in_both(mode, soft_cross_entropy_backward, dlosses, right[1], q, (True, True)))
