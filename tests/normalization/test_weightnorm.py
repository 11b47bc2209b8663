"""What the registry cannot say of weight normalization: geometry, rows of zeros, extremes, half precision."""

import shutil

import numpy as np
import pytest
from kernel_runs import worst_error

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn.utils import parametrizations
from tinygrad_norm.normalization import weight_norm
from tinygrad_norm.normalization.weight.weightnorm import norm_except_dim
from tinygrad_norm.optim import SGD
from tinygrad_norm.registry import REGISTRY, Case

SLOW = pytest.mark.slow
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
backends = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def forward_backward(v, g, dw, dim=0, backend="numpy"):
    with tn.use_backend(backend):
        v, g = Tensor(v, requires_grad=True), Tensor(g, requires_grad=True)
        w = weight_norm(v, g, dim)
        dv, dg = grad(w, [v, g], dw.astype(v.dtype))
        return tuple(to_numpy(x.array).copy() for x in (w, dv, dg))


@pytest.mark.parametrize(("dim", "axes"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1)), (None, (0, 1, 2))])
def test_g_is_the_length_and_the_gradient_of_v_lies_across_it(dim, axes):
    v = normal(4, 3, 5)
    g = (
        np.linalg.norm(v.reshape(-1)) * np.ones(())
        if dim is None
        else abs(normal(4, 3, 5)).sum(axes, None, None, True)
    )
    w, dv, dg = forward_backward(v, g, normal(4, 3, 5, seed=1), dim)
    np.testing.assert_allclose(np.sqrt((w**2).sum(axes)), g.reshape(-1) if g.ndim else g, rtol=1e-13)
    np.testing.assert_allclose((dv * v).sum(axes), 0, atol=1e-13)
    assert abs(dv).max() > 0.1
    assert dg.shape == g.shape


def test_without_a_dim_and_with_minus_1_it_is_the_whole_weight():
    v, dw = normal(4, 3), normal(4, 3, seed=1)
    for a, b in zip(
        forward_backward(v, np.array(2.0), dw, None), forward_backward(v, np.array(2.0), dw, -1), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert norm_except_dim(Tensor(v), None).shape == ()


def test_lengths_of_vectors_are_sizes_of_their_entries():
    v = normal(5)
    np.testing.assert_allclose(norm_except_dim(Tensor(v), 0).numpy(), abs(v), rtol=1e-15)
    np.testing.assert_allclose(weight_norm(Tensor(v), Tensor(np.full(5, 2.0)), 0).numpy(), 2 * np.sign(v))


@backends
def test_a_row_of_zeros_is_zero_with_zero_gradients_and_its_neighbours_do_not_notice(backend):
    v, g, dw = normal(3, 6), normal(3, 1, seed=1), normal(3, 6, seed=2)
    right = forward_backward(v, g, dw)
    v[1] = 0
    ours = forward_backward(v.astype(np.float32), g.astype(np.float32), dw, backend=backend)
    for a, b in zip(ours, right, strict=True):
        assert not a[1].any()
        np.testing.assert_allclose(a[[0, 2]], b[[0, 2]], rtol=1e-5, atol=1e-6)


@backends
@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e18, 1e25, 1e37], ids="scale {:g}".format)
def test_any_scale_of_v_gives_the_same_weight(scale, backend):
    v, g, dw = normal(3, 8).astype(np.float32), normal(3, 1, seed=1).astype(np.float32), normal(3, 8, seed=2)
    w, dv, dg = forward_backward(v, g, dw)
    scaled = forward_backward(v * np.float32(scale), g, dw, backend=backend)
    for a, b in zip(scaled, (w, dv / scale, dg), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


def test_half_precision_is_only_stored():
    v, g, dw = (a.astype(np.float16) for a in (normal(3, 64), normal(3, 1, seed=1), normal(3, 64, seed=2)))
    right = forward_backward(*(a.astype(np.float64) for a in (v, g, dw)))
    for a, b in zip(forward_backward(v, g, dw), right, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * abs(b).max())


def test_a_layer_without_outputs_has_nothing_to_normalize():
    w, dv, dg = forward_backward(np.ones((0, 3)), np.ones((0, 1)), np.ones((0, 3)))
    assert w.shape == dv.shape == (0, 3)
    assert dg.shape == (0, 1)


def test_under_plain_descent_v_only_grows():
    """Salimans, Kingma 2016, section 2.1: every step is at right angles to v."""
    layer = parametrizations.weight_norm(nn.Linear(5, 4)).double()
    optimizer = SGD(layer.parameters(), 0.3)
    x, target = Tensor(normal(8, 5)), Tensor(normal(8, 4, seed=1))
    lengths = []
    for _ in range(10):
        lengths.append(np.linalg.norm(layer.parametrizations.weight.original1.numpy(), axis=1))
        optimizer.zero_grad()
        ((layer(x) - target) ** 2).mean().backward()
        optimizer.step()
    assert (np.diff(lengths, axis=0) > 0).all()


@needs_compiler
@pytest.mark.parametrize("D", [1, 33, 1023, pytest.param(4096, marks=SLOW), pytest.param(65537, marks=SLOW)])
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_the_kernel_takes_rows_of_every_length(D, checked):
    case = Case(((3, D), (3, 1)))
    with emulator.schedule(seed=1, checked=checked):
        assert worst_error(REGISTRY["weight_norm"], case, np.float32) <= 1e-6
        assert worst_error(REGISTRY["weight_norm"], case, np.float16) <= 2e-3


@needs_compiler
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_number_spoils_its_row_only(value):
    v, g, dw = normal(3, 6), normal(3, 1, seed=1), normal(3, 6, seed=2)
    v[1, 2] = value
    expected = forward_backward(v, g, dw)
    found = forward_backward(v.astype(np.float32), g.astype(np.float32), dw, backend="emulator")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        assert np.isfinite(a[[0, 2]]).all()
        assert np.isnan(a[1]).any()
