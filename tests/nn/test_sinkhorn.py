"""Sinkhorn's matrices: what sums to 1, what does not, and the block of streams that they mix."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.activation import sinkhorn
from tinygrad_norm.nn.activation.softmax import softmax_backward

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(6, 4, 4)), RNG.normal(size=(6, 4, 4))


def results(function, x, dy=DY):
    t = tn.tensor(x, requires_grad=True)
    y = function(t)
    return [a.numpy() for a in (y, *grad(y, t, tn.tensor(dy.astype(x.dtype))))]


def row_errors(scale, iterations=20):
    y = F.sinkhorn(tn.tensor(scale * np.random.default_rng(0).normal(size=(200, 4, 4))), iterations).numpy()
    assert abs(y.sum(1) - 1).max() < 5e-6  # columns, whatever x is
    return abs(y.sum(2) - 1).max()


def test_twenty_rounds_are_not_doubly_stochastic_for_peaked_logits():
    assert row_errors(1) < 1e-4
    assert row_errors(4) > 0.02
    assert row_errors(8) > 0.04
    assert row_errors(8, 200) < 0.5 * row_errors(8)


def test_steps_are_columns_then_rows_and_columns():
    p = np.exp(X) / np.exp(X).sum(2, keepdims=True) + 1e-6
    y = p / (p.sum(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(F.sinkhorn(tn.tensor(X), 1).numpy(), y, 1e-12)
    y = y / (y.sum(2, keepdims=True) + 1e-6)
    y = y / (y.sum(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(F.sinkhorn(tn.tensor(X), 2).numpy(), y, 1e-12)


def test_a_number_added_to_a_row_changes_nothing_and_has_no_gradient():
    y, dx = results(F.sinkhorn, X)
    shifted, _ = results(F.sinkhorn, X + np.arange(4.0)[:, None])
    np.testing.assert_allclose(y, shifted, 1e-12)
    np.testing.assert_allclose(dx.sum(2), 0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loops_agree_with_bodies(dtype):
    x = (3 * X).astype(dtype)
    found = []
    for mode in ("off", "python"):
        with tn.use_loops(mode):
            found.append(results(F.sinkhorn, x))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, 0, 2e-6 if dtype == "float32" else 1e-13)


def test_extreme_logits_and_a_nan():
    y, dx = results(F.sinkhorn, (1e4 * X).astype("float32"))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    x = X.copy()
    x[2, 0, 0] = np.nan
    for a in results(F.sinkhorn, x):
        assert np.isnan(a[2]).all()
        assert np.isfinite(a[[0, 1, 3, 4, 5]]).all()


@pytest.mark.parametrize("loops", ["off", "python"])
def test_half_types_are_computed_in_float32(loops):
    x = (3 * X).astype("float16")
    x[0, 0], x[0, 1:] = 0, x[0, 1:] / 8
    x[0, :, 0] = 200  # the sums of the other columns are about eps
    with tn.use_loops(loops):
        found = results(F.sinkhorn, x)
    expected = results(F.sinkhorn, x.astype("float64"), DY.astype("float16").astype("float64"))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == "float16"
        np.testing.assert_allclose(a, b, 2e-3, 1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-50, 1e39])
def test_an_eps_that_the_dtype_cannot_hold_is_an_error(eps):
    for dtype in ("float16", "float32"):
        with pytest.raises(ValueError, match=r"eps must be from 1\.2e-38 to 3\.4e\+38"):
            F.sinkhorn(tn.tensor(X.astype(dtype)), eps=eps)
    x = np.zeros((1, 3, 3))
    x[0, :, 0] = 1e3  # the other columns are 0 in the softmax
    if eps:
        assert np.isfinite(F.sinkhorn(tn.tensor(x), eps=eps).numpy()).all()
    else:
        with pytest.raises(ValueError, match=r"eps must be from 2\.2e-308"):
            F.sinkhorn(tn.tensor(x), eps=eps)


def first_step_first(dy, y, rows, columns):
    """The steps undone in the order in which they were made."""
    dM, M = dy, y
    for k in range(columns.shape[1]):
        if k:
            dM = (dM - (dM * M).sum(2, keepdims=True)) / rows[:, k - 1, :, None]
        dM = (dM - (dM * M).sum(1, keepdims=True)) / columns[:, k, None]
    return dM


def test_a_backward_that_stops_at_the_last_step_or_begins_with_the_first_is_wrong():
    x = tn.tensor(3 * X, requires_grad=True)
    (expected,) = grad(sinkhorn.sinkhorn_composed(x), x, tn.tensor(DY))
    _, right = results(F.sinkhorn, 3 * X)
    p = F.softmax(tn.tensor(3 * X), -1).numpy()
    y, rows, columns = sinkhorn.sinkhorn_forward(p, 20, 1e-6)
    last = (DY - (DY * y).sum(1, keepdims=True)) / columns[:, -1, None]
    wrong = last, first_step_first(DY, y, rows, columns)
    wrong = [softmax_backward(dp.reshape(24, 4), p.reshape(24, 4)).reshape(p.shape) for dp in wrong]
    exact = expected.numpy()
    errors = [np.linalg.norm(dx - exact) / np.linalg.norm(exact) for dx in (right, *wrong)]
    assert errors[0] < 1e-10
    assert min(errors[1:]) > 0.05


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
@pytest.mark.parametrize(
    "shape", [(3, 4, 4), (2, 33, 5), pytest.param((1, 250, 240), marks=pytest.mark.slow)]
)
def test_kernels_for_matrices_of_any_size(shape):
    """Also for those that shared memory cannot hold."""
    x, dy = RNG.normal(size=shape).astype("float32"), RNG.normal(size=shape).astype("float32")
    expected = results(lambda t: F.sinkhorn(t, 4), x.astype("float64"), dy)
    with tn.use_backend("emulator"), emulator.schedule(checked=True, seed=1):
        t = tn.tensor(x, requires_grad=True)
        y = F.sinkhorn(t, 4)
        (dx,) = grad(y, t, tn.tensor(dy))
        found = [to_numpy(a.array) for a in (y, dx)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 0, 2e-5 * abs(b).max())


# -- hyper-connections


def block(D=6, n=4):
    tn.manual_seed(0)
    return nn.HyperConnection(nn.Linear(D, D), D, n).double()


def test_a_hyper_connection_is_its_formula():
    h, layer = RNG.normal(size=(2, 5, 4, 6)), block()
    layer.base.array[...] = RNG.normal(size=24)
    pre, post, comb = (t.numpy() for t in layer.weights(tn.tensor(h)))
    assert (pre.shape, post.shape, comb.shape) == ((2, 5, 4), (2, 5, 4), (2, 5, 4, 4))
    f = layer.layer(tn.tensor(np.einsum("btn,btnd->btd", pre, h))).numpy()
    expected = post[..., None] * f[:, :, None] + np.einsum("btjk,btjd->btkd", comb, h)
    np.testing.assert_allclose(layer(tn.tensor(h)).numpy(), expected, 1e-12)
    np.testing.assert_allclose(comb.sum(-2), 1, 5e-6)


def test_a_new_hyper_connection_has_equal_streams_and_a_gain_of_one():
    h = np.repeat(RNG.normal(size=(3, 1, 6)), 4, 1)
    layer = block()
    layer.layer = nn.Identity()
    _, post, comb = (t.numpy() for t in layer.weights(tn.tensor(h)))
    y = layer(tn.tensor(h)).numpy()
    assert abs(post - 1).max() < 0.2
    assert abs(comb - 0.25).max() < 0.05
    assert y.shape == h.shape


def test_scaling_all_streams_changes_no_weight():
    layer, h = block(), tn.tensor(RNG.normal(size=(3, 4, 6)))
    for a, b in zip(layer.weights(h), layer.weights(h * 100), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-4)


def test_streams_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"takes streams \(\.\.\., 4, 6\), got shape \(3, 6\)"):
        block()(tn.tensor(RNG.normal(size=(3, 6))))
    for width in (1, 5):  # 1 would be broadcast
        layer = block()
        layer.layer = nn.Linear(6, width).double()
        with pytest.raises(ValueError, match=rf"of its input, \(3, 6\), got \(3, {width}\)"):
            layer(tn.tensor(RNG.normal(size=(3, 4, 6))))
    with pytest.raises(ValueError, match="hc_mult"):
        nn.HyperConnection(nn.Identity(), 6, 0)
    with pytest.raises(ValueError, match="eps"):
        nn.HyperConnection(nn.Identity(), 6, eps=-1.0)
    with pytest.raises(ValueError, match="eps of HyperConnection must be above 0"):
        nn.HyperConnection(nn.Identity(), 6, eps=0.0)
