"""Attention's weights by plain loops: every shape of mask, and rows that only the body gets right."""

import numpy as np
import pytest
from loop_runs import MODES

from tinygrad_norm import use_loops
from tinygrad_norm.nn.attention.attention_weights import softmax_gradient, write_attention_weights

B, H, L, S, E = 2, 3, 5, 7, 4
RNG = np.random.default_rng(0)
Q, K = (RNG.normal(size=(B, H, n, E)).astype(np.float32) for n in (L, S))
MASKS = [(L, S), (1, S), (L, 1), (1, 1, L, S), (B, 1, 1, S), (B, 1, L, S), (1, H, L, 1), (B, H, L, S), ()]


def weights(mode, q=Q, k=K, mask=None, scale=0.5, softcap=None):
    p = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    with use_loops(mode):
        write_attention_weights(q, k, mask, scale, p, softcap)
    return p


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", MASKS)
def test_masks_of_every_shape(shape, kind, mode):
    mask = RNG.random(shape) < 0.7 if kind == "bool" else RNG.normal(size=shape).astype(np.float32)
    mask = np.asarray(mask).reshape((1,) * (2 - len(shape)) + shape) if len(shape) < 2 else mask
    np.testing.assert_allclose(weights(mode, mask=mask), weights("off", mask=mask), rtol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_a_key_are_zero(mode):
    mask = np.tri(L, S, -1, dtype=bool)
    found = weights(mode, mask=mask)
    assert (found[..., 0, :] == 0).all()
    np.testing.assert_allclose(found[..., 1:, :].sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [30.0, -30.0, 1e-3, 1e3])
@pytest.mark.parametrize("offset", [0.0, 70.0, -70.0, -95.0, 1e4])
def test_scores_of_every_size(offset, scale, mode):
    mask = np.full((1, S), offset, np.float32)
    exact = weights("off", Q.astype(np.float64), K.astype(np.float64), mask.astype(np.float64), scale)
    capped = weights("off", Q.astype(np.float64), K.astype(np.float64), mask.astype(np.float64), scale, 2.0)
    near = 5e-3 if abs(offset) > 1e3 or abs(scale) > 100 else 1e-4
    np.testing.assert_allclose(weights(mode, mask=mask, scale=scale), exact, atol=near)
    np.testing.assert_allclose(weights(mode, mask=mask, scale=scale, softcap=2.0), capped, atol=near)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_as_in_the_body(value, mode):
    q = Q.copy()
    q[0, 1, 2, 3] = value
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(weights(mode, q), weights("off", q), rtol=1e-5)
        np.testing.assert_allclose(weights(mode, q, softcap=2.0), weights("off", q, softcap=2.0), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_the_softmax(dtype, mode):
    p = RNG.dirichlet(np.ones(41), (6, 5)).astype(dtype)
    ds = RNG.normal(size=p.shape).astype(dtype)
    right = p * (ds - (ds * p).sum(-1, keepdims=True))
    with use_loops(mode):
        assert softmax_gradient.cpu_version(ds, p) is None
    np.testing.assert_allclose(ds, right, atol=4 * np.finfo(dtype).eps)
