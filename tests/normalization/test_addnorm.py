"""What the registry cannot say of residual sum and norm in one: modules, single outputs, extremes, bytes."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
FUNCTIONS = {"layer": (F.add_layer_norm, F.layer_norm), "rms": (F.add_rms_norm, F.rms_norm)}
functions = pytest.mark.parametrize(("fused", "norm"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("fused", "norm"), [(nn.AddLayerNorm, nn.LayerNorm), (nn.AddRMSNorm, nn.RMSNorm)])
def test_modules_are_the_norm_of_the_sum(fused, norm):
    x, z = Tensor(normal(4, 6, dtype=np.float32)), Tensor(normal(4, 6, seed=1, dtype=np.float32))
    module, plain = fused(6), norm(6)
    module.load_state_dict(plain.state_dict())
    y, s = module(x, z)
    np.testing.assert_array_equal(s.numpy(), (x + z).numpy())
    # Compiled loops may add the squares of a row in another order.
    np.testing.assert_allclose(y.numpy(), plain(x + z).numpy(), rtol=4 * np.finfo(np.float32).eps)


@functions
@pytest.mark.parametrize("output", [0, 1])
def test_a_loss_may_use_one_output_alone(fused, norm, output):
    x, z = (Tensor(normal(3, 5, seed=k), requires_grad=True) for k in (0, 1))
    dy = normal(3, 5, seed=2)
    found = grad(fused(x, z, 5)[output], [x, z], dy)
    s = x + z
    expected = grad((norm(s, 5), s)[output], [x, z], dy)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@functions
@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
@pytest.mark.parametrize("scale", [1e-30, 1e18, 1e30, 1e37], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_right_results(fused, norm, backend, scale):
    drawn = [(normal(3, 8, seed=k) * scale).astype(np.float32) for k in (0, 1)]
    dy, ds = normal(3, 8, seed=2), normal(3, 8, seed=3)

    def results(dtype):
        x, z = (Tensor(a.astype(dtype), requires_grad=True) for a in drawn)
        y, s = fused(x, z, 8, eps=1e-5)
        (dx,) = grad([y, s], [x], [dy.astype(dtype), ds.astype(dtype)])
        return [to_numpy(t.array).copy() for t in (y, s, dx)]

    expected = results(np.float64)
    with tn.use_backend(backend):
        found = results(np.float32)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


@functions
def test_half_precision_is_the_norm_of_the_rounded_sum(fused, norm):
    x, z = (Tensor(normal(4, 32, seed=k, dtype=np.float16)) for k in (0, 1))
    y, s = fused(x, z, 32, eps=1e-5)
    assert y.dtype == s.dtype == np.float16
    np.testing.assert_array_equal(y.numpy(), norm(x + z, 32, eps=1e-5).numpy())


@functions
def test_a_sum_too_large_for_the_dtype_is_infinite_without_a_warning(fused, norm):
    x = Tensor(np.full((1, 2), 3e38, np.float32))
    assert np.isinf(fused(x, x, 2)[1].numpy()).all()


@functions
def test_changing_the_sum_before_backward_is_noticed(fused, norm):
    x, z = (Tensor(normal(3, 5, seed=k), requires_grad=True) for k in (0, 1))
    y, s = fused(x, z, 5)
    s.detach()[0] = 1.0
    with pytest.raises(RuntimeError, match="changed in place, but its backward needs it"):
        y.backward(normal(3, 5))


@needs_compiler
@pytest.mark.parametrize("D", [64, 4096, 20000])
def test_every_array_crosses_once(D):
    """In registers, and (20000) in shared memory; backward reads rows that long again.

    In forward, each of up to 32 warps reads the first value of a row once more.
    """
    N = 2
    rows = [normal(N, D, seed=k, dtype=np.float32) for k in range(4)]
    with tn.use_backend("emulator"), emulator.schedule(checked=True), emulator.record() as launches:
        x, z = (Tensor(row, requires_grad=True) for row in rows[:2])
        grad(F.add_rms_norm(x, z, D), [x], rows[2:])
    forward, backward = ([sum(moved) for moved in launch.traffic.values()] for launch in launches[:2])
    rstd, y, s, x, residual = sorted(forward)
    assert (rstd, y, s) == (4 * N, 4 * N * D, 4 * N * D)
    assert 4 * N * D < x == residual <= 4 * N * (D + 32)
    if D <= 4096:
        assert backward.count(4 * N * D) >= 4
