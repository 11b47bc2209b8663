"""The kernels of attention's weights and their gradient: all masks, row lengths and sizes of numbers."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.attention import attention_weights
from tinygrad_norm.nn.attention.attention_weights import (
    softcap_gradient,
    softmax_gradient,
    write_attention_weights,
)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
SLOW = pytest.mark.slow


def masks(B, H, L, S):
    rng = np.random.default_rng(1)
    padding = rng.random((B, 1, 1, S)) < 0.7
    padding[0] = False  # a sample without keys
    added = rng.normal(size=(B, H, L, S))
    added[..., ::3] = -np.inf
    return {
        "none": None,
        "causal": np.tril(np.ones((1, 1, L, S), bool)),
        "padding": padding,
        "keys of each head": rng.random((1, H, 1, S)) < 0.7,
        "added": added,
        "added to all": added[:1, :1],
        "one number a row": rng.normal(size=(1, 1, L, 1)),
    }


def weights(q, k, mask, scale, dtype, backend, softcap=None, **schedule):
    q, k = q.astype(dtype), k.astype(dtype)
    mask = mask.astype(dtype) if mask is not None and mask.dtype.kind == "f" else mask
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    with tn.use_backend(backend), emulator.schedule(**schedule), np.errstate(all="ignore"):
        make = emulator.asarray if backend == "emulator" else np.asarray
        p = make(np.empty((*lead, q.shape[-2], k.shape[-2]), dtype))
        write_attention_weights(make(q), make(k), None if mask is None else make(mask), scale, p, softcap)
        return to_numpy(p)


def drawn(*shape, seed=0, size=1.0):
    return np.random.default_rng(seed).normal(size=shape) * size


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize("name", masks(1, 1, 1, 1))
def test_weights_with_every_kind_of_mask(name, checked):
    B, H, L, S = 3, 2, 5, 12
    q, k, mask = drawn(B, H, L, 4), drawn(B, H, S, 4, seed=1), masks(B, H, L, S)[name]
    for dtype, bound in ((np.float32, 1e-6), (np.float64, 1e-13)):
        for softcap in (None, 0.6):
            found = weights(q, k, mask, 0.5, dtype, "emulator", softcap, checked=checked, seed=2)
            q64, k64 = q.astype(dtype), k.astype(dtype)
            expected = weights(q64, k64, mask, 0.5, np.float64, "numpy", softcap)
            np.testing.assert_allclose(found, expected, atol=bound)
    if name == "padding":
        assert not found[0].any()


@pytest.mark.parametrize("lead", [(3,), (2, 1, 3), (2, 2, 1, 2)])
def test_any_number_of_leading_axes(lead):
    q, k = drawn(*lead, 4, 3), drawn(*lead, 6, 3, seed=1)
    for shape in ((6,), (4, 6), (*(1,) * len(lead), 4, 6), (*lead, 1, 6), (*lead[:-1], 1, 4, 1)):
        mask = drawn(*shape, seed=2)
        mask = mask.reshape((1,) * (len(lead) + 2 - mask.ndim) + mask.shape)
        found = weights(q, k, mask, 1.0, np.float32, "emulator")
        np.testing.assert_allclose(found, weights(q, k, mask, 1.0, np.float64, "numpy"), atol=1e-6)


@pytest.mark.parametrize("S", [1, 7, 64, *(pytest.param(n, marks=SLOW) for n in (600, 1031, 20000, 70000))])
def test_rows_of_every_length(S):
    q, k, mask = drawn(1, 2, 4), drawn(1, S, 4, seed=1), np.tril(np.ones((1, 2, S), bool), S // 2)
    for checked in (False, True):
        found = weights(q, k, mask, 0.7, np.float32, "emulator", checked=checked)
        np.testing.assert_allclose(found, weights(q, k, mask, 0.7, np.float64, "numpy"), atol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e10, 1e25, 3e38])
def test_any_size_of_numbers(size):
    """In float64 the largest scores are exact enough: their weights are 0 or 1."""
    q, k = np.clip(drawn(1, 3, 4), -1, 1) * size, np.clip(drawn(1, 5, 4, seed=1), -1, 1) * size
    q, k = q.astype(np.float32), k.astype(np.float32)
    for softcap in (None, 3.0, 200.0):
        expected = weights(q, k, None, 0.5, np.float64, "numpy", softcap)
        found = weights(q, k, None, 0.5, np.float32, "emulator", softcap)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e10, 3e38])
@pytest.mark.parametrize("S", [5, 12])
def test_the_gradient_of_the_soft_cap(S, size):
    q, k = (np.clip(drawn(2, n, 4, seed=n), -1, 1) * size for n in (3, S))
    q, k, dp = q.astype(np.float32), k.astype(np.float32), drawn(2, 3, S).astype(np.float32)
    expected = dp.astype(np.float64)
    softcap_gradient(expected, q.astype(np.float64), k.astype(np.float64), 0.5, 0.8)
    z = np.einsum("nle,nse->nls", q, k, dtype=np.float64) * 0.5
    np.testing.assert_allclose(expected, dp * (1 - np.tanh(z / 0.8) ** 2), rtol=1e-7, atol=1e-12)
    with tn.use_backend("emulator"), emulator.schedule(checked=True):
        ds = emulator.asarray(dp)
        softcap_gradient(ds, emulator.asarray(q), emulator.asarray(k), 0.5, 0.8)
    np.testing.assert_allclose(to_numpy(ds), expected, atol=2e-6)


def test_nan_and_infinity_are_not_hidden():
    q, k = drawn(1, 3, 4), drawn(1, 5, 4, seed=1)
    for bad in (np.nan, np.inf):
        spoilt = q.copy()
        spoilt[0, 1, 2] = bad
        found = weights(spoilt, k, None, 0.5, np.float32, "emulator")
        assert np.isnan(found[0, 1]).all()
        expected = weights(q, k, None, 0.5, np.float64, "numpy")
        np.testing.assert_allclose(found[0, [0, 2]], expected[0, [0, 2]], atol=1e-6)


@pytest.mark.parametrize("S", [12, 33, pytest.param(20000, marks=SLOW)])
def test_the_gradient_of_the_softmax(S):
    dp, p = drawn(2, 3, S), abs(drawn(2, 3, S, seed=1))
    p /= p.sum(-1, keepdims=True)
    expected = p * (dp - (dp * p).sum(-1, keepdims=True))
    with tn.use_backend("emulator"), emulator.schedule(checked=True):
        ds = emulator.asarray(dp.astype(np.float32))
        softmax_gradient(ds, emulator.asarray(p.astype(np.float32)))
    np.testing.assert_allclose(to_numpy(ds), expected, atol=1e-6)


@pytest.mark.parametrize("softcap", [None, 0.7], ids=["plain", "capped"])
def test_attention_is_one_call_of_the_kernels_however_large(softcap):
    def run():
        q, k, v = (
            Tensor(drawn(2, 3, 300, 4, seed=n).astype(np.float32), requires_grad=True) for n in range(3)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, softcap=softcap)
        return [to_numpy(a.array) for a in (y, *grad(y, (q, k, v), np.ones(y.shape, np.float32)))]

    expected = run()
    with tn.use_backend("emulator"), emulator.record() as launches:
        found = run()
    names = [launch.name.partition("<")[0] for launch in launches]
    powers = ["largest_magnitudes", "power_of_two_above"]
    of_cap = [] if softcap is None else [*powers, *powers, "softcap_gradient"]
    assert names == [*powers, *powers, "attention_weights", "attention_gradient", *of_cap]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n % L * row_step", "n * row_step"),
        ("if (m == -infinity<A>()) m = 0;", ""),
        ("while (above <= found && above", "while (false && above"),
        ("if (capped) score", "if (false) score"),
        ("capped ? A(1) : A(*a_at)", "A(*a_at)"),
    ],
    ids=[
        "another row of the mask",
        "no guard of masked rows",
        "no power of two",
        "no cap",
        "a cap still divided",
    ],
)
def test_planted_errors_are_seen(old, new, tmp_path, monkeypatch):
    source = CudaSource(attention_weights.__file__, "../../backends/cuda/elements.cuh")
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / source.path.name
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    monkeypatch.setattr(attention_weights, "_kernels", source)
    q, k, mask = drawn(2, 2, 4, 3, size=1e22), drawn(2, 2, 6, 3, seed=1, size=1e22), masks(2, 2, 4, 6)
    mask = mask["causal"] & mask["padding"]
    softcap = 3.0 if "cap" in old else None
    expected = weights(q, k, mask, 1.0, np.float64, "numpy", softcap)
    with pytest.raises((AssertionError, emulator.KernelError)):
        found = weights(q, k, mask, 1.0, np.float32, "emulator", softcap, checked=True)
        np.testing.assert_allclose(found, expected, atol=1e-6)
