"""Global response normalization: channels of zeros, layouts, extremes."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends.cpu.loop_mode import use_loops
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
W, B = RNG.normal(size=3), RNG.normal(size=3)


def results(x, dy, function=F.global_response_norm, **options):
    x, w, b = (tn.tensor(a.astype(x.dtype), requires_grad=True) for a in (x, W, B))
    y = function(x, w, b, **options)
    return [a.numpy() for a in (y, *grad(y, [x, w, b], tn.tensor(dy.astype(x.dtype))))]


def test_a_new_layer_is_the_identity():
    layer = nn.GlobalResponseNorm(3)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight": (3,), "bias": (3,)}
    x = tn.tensor(X.astype("float32"), requires_grad=True)
    y = layer(x)
    y.backward(tn.tensor(DY.astype("float32")))
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    np.testing.assert_array_equal(x.grad.numpy(), DY.astype("float32"))
    assert abs(layer.weight.grad.numpy()).min() > 0


def test_it_is_the_formula_of_the_paper_in_both_layouts():
    G = np.sqrt((X**2).sum((2, 3), keepdims=True))
    N = G / (G.mean(1, keepdims=True) + 1e-6)
    w, b = W[:, None, None], B[:, None, None]
    expected = w * X * N + b + X
    first = results(X, DY)
    last = results(np.moveaxis(X, 1, -1), np.moveaxis(DY, 1, -1), channels_last=True)
    np.testing.assert_allclose(first[0], expected, 1e-12)
    for a, b in zip(first, last, strict=True):
        np.testing.assert_allclose(np.moveaxis(b, -1, 1) if b.ndim > 1 else b, a, 1e-12)


@pytest.mark.parametrize("loops", ["off", "python"])
@pytest.mark.parametrize("backend", ["numpy", "emulator"])
def test_a_channel_of_zeros_has_a_finite_gradient(backend, loops):
    """‖x‖ has no derivative at 0, but x·‖x‖ has: 0. So dx of that channel is dy."""
    if backend == "emulator":
        shutil.which("g++") or pytest.skip("the emulator needs g++")
    x = X.astype("float32")
    x[0, 1] = 0
    with use_loops(loops), tn.use_backend(backend):
        y, dx, dw, db = results(x, DY)
    np.testing.assert_allclose(y[0, 1], np.full((4, 5), B[1]), 1e-6)
    np.testing.assert_allclose(dx[0, 1], DY[0, 1], 1e-6)
    expected = results(x.astype("float64"), DY, nn.functional.global_response_norm)
    for a, b in zip((y, dx, dw, db), expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_extremes_are_as_in_float64(scale):
    x = (X * scale).astype("float32")
    x[1, 2] = scale  # a constant channel
    for a, b in zip(results(x, DY), results(x.astype("float64"), DY), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, 2e-5, 1e-5 * abs(b).max() + 1e-37)


def test_a_nan_spoils_its_sample_only():
    x = X.astype("float32")
    x[1, 2, 0, 0] = np.nan
    y, dx, *_ = results(x, DY)
    for a in (y, dx):
        assert np.isnan(a[1]).all()
        assert np.isfinite(a[0]).all()


def test_with_eps_0_the_response_does_not_depend_on_the_scale():
    y, dx, *_ = results(X, DY, eps=0.0)
    y7, dx7, *_ = results(7 * X, DY, eps=0.0)
    b = B[:, None, None]
    np.testing.assert_allclose(y7 - b, 7 * (y - b), 1e-12)
    np.testing.assert_allclose(dx7, dx, 1e-11)
