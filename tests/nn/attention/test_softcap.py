"""The soft cap of attention's scores, and of logits: before the mask, and any size of numbers."""

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.attention.scaleddotproduct import attention

RNG = np.random.default_rng(0)
Q, K, V = (RNG.normal(size=(2, n, 4)) * 3 for n in (3, 5, 5))


def weights(q, k, mask=None, **options):
    options = {"scale": 1.0, "softcap": 2.0} | options
    return attention(Tensor(q), Tensor(k), Tensor(V), None if mask is None else Tensor(mask), **options)[
        1
    ].array


def by_hand(q, k, mask, cap=2.0):
    z = q @ k.swapaxes(-1, -2)
    e = np.exp(cap * np.tanh(z / cap)) * mask
    return e / e.sum(-1, keepdims=True)


def test_the_cap_stands_before_the_mask():
    mask = np.tril(np.ones((3, 5), bool))
    found = weights(Q, K, mask)
    np.testing.assert_allclose(found, by_hand(Q, K, mask), rtol=1e-12)
    assert not found[:, ~mask].any()
    wrong = F.softmax(F.softcap(Tensor(np.where(mask, Q @ K.swapaxes(-1, -2), -np.inf)), 2.0), -1).array
    assert wrong[:, ~mask].min() > 1e-3  # a masked score is -c there, and no longer -∞


@pytest.mark.parametrize("cap", [1.0, 30.0])
def test_no_score_exceeds_the_cap(cap):
    size = 1e3
    found = weights(Q * size, K * size, softcap=cap)
    assert np.log(found.max(-1) / found.min(-1)).max() <= 2 * cap * (1 + 1e-9)
    assert abs(F.softcap(Tensor(Q * size), cap).array).max() <= cap


def test_a_large_cap_changes_nothing():
    np.testing.assert_allclose(weights(Q, K, softcap=1e9), weights(Q, K, softcap=None), rtol=1e-9)


@pytest.mark.parametrize("softcap", [2.0, 100.0], ids=["small", "subtracts the maximum"])
@pytest.mark.parametrize("size", [1e-30, 1e10, 1e25, 3e38])
def test_any_size_of_numbers(size, softcap):
    q, k = (np.clip(x, -1, 1).astype(np.float32) * np.float32(size) for x in (Q, K))
    q64, k64 = (Tensor(x.astype(np.float64), requires_grad=True) for x in (q, k))
    q32, k32 = (Tensor(x, requires_grad=True) for x in (q, k))
    dy = RNG.normal(size=(2, 3, 4))
    with np.errstate(all="ignore"):
        for dtype, a, b in ((np.float32, q32, k32), (np.float64, q64, k64)):
            y = F.scaled_dot_product_attention(a, b, Tensor(V.astype(dtype)), softcap=softcap)
            a.grads = [y.array, *(d.array for d in grad(y, (a, b), dy.astype(dtype)))]
    for found, expected in zip(q32.grads, q64.grads, strict=True):
        scale = max(abs(expected).max(), 1e-30)
        np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)


def planted(q, k, mask, dy, wrong):
    """ds and dz of the composed attention, with a mistake."""
    c, z = 2.0, q @ k.swapaxes(-1, -2)
    t = np.tanh(z / c)
    s = np.where(mask, c * t, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    dp = dy @ V.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    slope = {"none": 1 - t * t, "no slope": 1.0, "1/c": (1 - t * t) / c, "of the capped": 1 - np.tanh(t) ** 2}
    return ds * slope[wrong] @ k


@pytest.mark.parametrize("wrong", ["none", "no slope", "1/c", "of the capped"])
def test_wrong_slopes_of_the_cap_are_seen(wrong):
    mask, dy = np.tril(np.ones((3, 5), bool), 1), RNG.normal(size=(2, 3, 4))
    q = Tensor(Q, requires_grad=True)
    y = F.scaled_dot_product_attention(q, Tensor(K), Tensor(V), Tensor(mask), scale=1.0, softcap=2.0)
    found = grad(y, q, dy)[0].array
    error = abs(planted(Q, K, mask, dy, wrong) - found).max() / abs(found).max()
    assert error < 1e-12 if wrong == "none" else error > 0.05


def test_the_gradient_of_an_added_mask_is_that_before_the_cap():
    q, k, mask = (Tensor(x, requires_grad=True) for x in (Q, K, RNG.normal(size=(3, 5))))
    options = {"scale": 1.0, "softcap": 2.0}
    dy = RNG.normal(size=(2, 3, 4))
    alone = grad(F.scaled_dot_product_attention(q, k, Tensor(V), mask, **options), mask, dy)[0].array
    dq, dmask = grad(F.scaled_dot_product_attention(q, k, Tensor(V), mask, **options), (q, mask), dy)
    np.testing.assert_allclose(dmask.array, alone, rtol=1e-12)
    t = np.tanh(Q @ K.swapaxes(-1, -2) / 2)
    p = weights(Q, K, mask.array)
    dp = dy @ V.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    np.testing.assert_allclose(dmask.array, ds.sum(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dq.array, ds * (1 - t * t) @ K, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cap", [1e-46, 1e-40, 1e39, 1e300])
def test_a_cap_that_the_dtype_cannot_hold_is_an_error(cap):
    for dtype in (np.float16, np.float32):
        x = Tensor(Q.astype(dtype))
        with pytest.raises(
            ValueError, match=r"^cap must be from 1\.2e-38 to 3\.4e\+38, .* computed in float32"
        ):
            F.softcap(x, cap)
        with pytest.raises(ValueError, match=r"^softcap must be from 1\.2e-38"):
            F.scaled_dot_product_attention(x, x, x, softcap=cap)
    y = F.softcap(Tensor(Q), cap).array
    assert (y / cap <= 1).all()
    assert (y != 0).all()


def test_nan_and_infinity():
    x = Tensor(np.array([np.nan, np.inf, -np.inf, 0.0]), requires_grad=True)
    y = F.softcap(x, 30.0)
    np.testing.assert_array_equal(y.array, [np.nan, 30, -30, 0])
    np.testing.assert_array_equal(grad(y, x, np.ones(4))[0].array, [np.nan, 0, 0, 1])


def test_groups_of_heads_and_a_causal_mask_take_a_cap():
    q, k, v = (RNG.normal(size=(2, heads, 3, 4)) for heads in (4, 2, 2))
    y = F.scaled_dot_product_attention(
        Tensor(q), Tensor(k), Tensor(v), is_causal=True, softcap=0.5, enable_gqa=True
    )
    k, v = (x.repeat(2, axis=1) for x in (k, v))
    p = by_hand(q / 2, k, np.tril(np.ones((3, 3))), 0.5)
    np.testing.assert_allclose(y.array, p @ v, rtol=1e-12)


def test_a_bool_is_no_cap():
    x = Tensor(Q)
    for call in (
        lambda: F.softcap(x, True),
        lambda: F.scaled_dot_product_attention(x, x, x, softcap=True),
        lambda: nn.MultiheadAttention(4, 2, softcap=False),
        lambda: nn.TransformerEncoderLayer(4, 2, softcap=True),
    ):
        with pytest.raises(TypeError, match=r"cap must be a number, such as 30\.0, got (True|False)"):
            call()
