"""L1 and L∞ batch normalization: p = 2 is BatchNorm, ties, NaN, large means, running statistics, kernels."""

import math
import shutil

import numpy as np
import pytest
from loop_runs import MODES, needs_numba

import tinygrad_norm as tn
from tinygrad_norm import nn, use_loops
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.gradient_check import GradcheckError, gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch import lpbatchnorm

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
WAYS = ["off", pytest.param("compiled", marks=needs_numba), pytest.param("emulator", marks=needs_compiler)]
ways = pytest.mark.parametrize("way", WAYS)
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 2e-3}
powers = pytest.mark.parametrize("p", [1.0, math.inf])


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def run(x, dy, way="off", **options):
    """y, dx, dweight and dbias, by bodies, by loops or by kernels."""
    C = x.shape[1]
    with (
        tn.use_backend("emulator" if way == "emulator" else "numpy"),
        use_loops("off" if way == "emulator" else way),
    ):
        values = x, np.linspace(-1, 2, C), np.linspace(0, 1, C)
        given = [Tensor(a.astype(x.dtype), requires_grad=True) for a in values]
        y = F.lp_batch_norm(given[0], None, None, *given[1:], training=True, **options)
        return [to_numpy(a.array).copy() for a in (y, *grad(y, given, dy.astype(x.dtype)))]


def assert_close(found, right, tolerance, least=0.0):
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(abs(b).max(), least))


def test_p_2_is_batch_normalization():
    x, dy = normal(6, 3, 4), normal(6, 3, 4, seed=1)
    ours, theirs = nn.LpBatchNorm1d(3, p=2).double(), nn.BatchNorm1d(3).double()
    for step in range(4):
        if step == 3:
            ours.eval()
            theirs.eval()
        inputs = [Tensor(x + step, requires_grad=True) for _ in range(2)]
        ys = ours(inputs[0]), theirs(inputs[1])
        assert np.array_equal(ys[0].numpy(), ys[1].numpy())
        dxs = [grad(y, [a], dy)[0].numpy() for y, a in zip(ys, inputs, strict=True)]
        assert np.array_equal(*dxs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


@powers
def test_the_deviation_of_every_channel_becomes_1(p):
    y = F.lp_batch_norm(Tensor(normal(7, 3, 5) * 4 + 2), training=True, p=p, eps=0.0).numpy()
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-14)
    np.testing.assert_allclose((abs(y).mean if p == 1 else abs(y).max)((0, 2)), 1, rtol=1e-12)


def test_the_gaussian_factor_makes_it_a_standard_deviation():
    y = F.lp_batch_norm(Tensor(normal(40_000, 1)), training=True, gaussian=True).numpy()
    assert abs(y.std() - 1) < 0.01


@pytest.mark.parametrize(("p", "gaussian"), [(1.0, False), (1.0, True), (math.inf, False)])
def test_running_statistics_are_the_mean_and_the_squared_deviation(p, gaussian):
    layer = nn.LpBatchNorm2d(3, p=p, momentum=1.0, gaussian=gaussian).double()
    x = normal(4, 3, 2, 5) * 3 + 1
    layer(Tensor(x))
    z = x - x.mean((0, 2, 3), keepdims=True)
    a = (abs(z).mean if p == 1 else abs(z).max)((0, 2, 3)) * (math.sqrt(math.pi / 2) if gaussian else 1)
    np.testing.assert_allclose(layer.running_mean.numpy(), x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), a**2 * 40 / 39, rtol=1e-12)
    y = layer.eval()(Tensor(x)).numpy()
    v = (a**2 * 40 / 39).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(y, (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(v + 1e-5), rtol=1e-10)


@ways
def test_ties_share_the_slope_of_the_farthest(way):
    """z = 2, -2, 1, -1: the first two have half of n = 4 each. Beside them, one channel without a tie."""
    x = np.array([[2.0, 5.0], [-2.0, -1.0], [1.0, -1.0], [-1.0, -3.0]])
    dy = normal(4, 2, seed=1)
    y, dx, *_ = run(x, dy, way, p=math.inf, eps=0.0)
    g = dy[:, 0] * -1  # the weight of this channel
    s = np.array([2.0, -2.0, 0.0, 0.0])
    expected = (g - g.mean() - (s - s.mean()) * (g * x[:, 0] / 2).mean()) / 2
    np.testing.assert_allclose(dx[:, 0], expected, rtol=1e-12)
    assert y[0, 1] == 2 + 1  # weight 2, bias 1: x̂ of the farthest is exactly 1


@ways
@powers
@pytest.mark.parametrize(("mean", "std"), [(1e4, 1e-2), (-3e6, 7.0), (0, 1e30), (1e30, 1e25), (0, 1e-30)])
def test_float32_has_the_digits_of_float64(mean, std, p, way):
    for shape in ((16, 4, 10), (37, 3), (2, 3, 70)):
        x = (mean + std * normal(*shape)).astype(np.float32)
        dy = normal(*shape, seed=1)
        right = run(x.astype(np.float64), dy, p=p, eps=0.0)
        assert_close(run(x, dy, way, p=p, eps=0.0), right, 3e-6)


@ways
@powers
@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("value", [0.0, 12345.678, 1e30, -1e-30])
def test_constant_channels_give_the_bias_and_a_finite_gradient(value, eps, p, way):
    x, dy = np.full((6, 3), value, np.float32), normal(6, 3, seed=1)
    y, dx, dweight, dbias = run(x, dy, way, p=p, eps=eps)
    np.testing.assert_array_equal(y, np.tile(np.linspace(0, 1, 3, dtype=np.float32), (6, 1)))
    assert np.isfinite(dx).all()
    assert not dweight.any()
    np.testing.assert_allclose(dbias, dy.sum(0), rtol=1e-5)


@ways
@powers
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 60)])
def test_a_nan_or_infinity_spoils_its_channel_and_no_other(shape, value, p, way):
    x, dy = normal(*shape, dtype=np.float32), normal(*shape, seed=1)
    x.reshape(len(x), 3, -1)[2, 1, -1] = value
    for a in run(x, dy, way, p=p)[:2]:
        assert np.isnan(a[:, 1]).all()
        assert np.isfinite(a[:, ::2]).all()


@needs_compiler
@powers
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    "shape",
    [(2, 1), (40, 5), (33, 2, 3), (7, 3, 9), (3, 2, 31), (2, 2, 32), (2, 3, 33), (2, 2, 1023), (1, 2, 9000)],
    ids=str,
)
def test_kernels_on_pools_of_every_length(shape, dtype, p):
    x, dy = normal(*shape).astype(dtype), normal(*shape, seed=1).astype(dtype)
    if p == math.inf and math.prod(shape) == 2:
        return  # a tie that rounding may break
    right = run(x.astype(np.float64), dy.astype(np.float64), p=p)
    for checked in (False, True):
        with emulator.schedule(seed=1, checked=checked), emulator.record() as launches:
            found = run(x, dy, "emulator", p=p)
        assert [launch.name.split("<")[0] for launch in launches] == [
            *("strip_shifts", "column_sums", "strip_deviations", "channel_deviations"),
            *("lp_batch_norm_forward", "strip_slopes", "column_sums", "lp_batch_norm_backward"),
        ]
        assert_close(found, right, TOLERANCE[np.dtype(dtype).name], least=1.0)


@pytest.mark.parametrize("mode", MODES)
@powers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 300, 1), (40, 3, 1), (300, 1, 1), (9, 5, 7), (3, 4, 47), (3, 4, 48)])
def test_loops_for_few_positions_and_for_many_agree_with_the_body(shape, dtype, p, mode):
    x, dy = normal(*shape).astype(dtype), normal(*shape, seed=1)
    right = run(x.astype(np.float64), dy.astype(dtype), p=p)
    assert_close(run(x, dy, mode, p=p), right, 3e-6 if dtype == "float32" else 1e-14, least=1.0)


@needs_numba
@powers
@pytest.mark.parametrize("shape", [(30, 24, 30, 30), (600, 1000)])
def test_results_are_the_same_for_any_number_of_threads(shape, p):
    x, dy = normal(*shape, dtype=np.float32), normal(*shape, seed=1)
    expected = run(x, dy, "compiled", p=p)
    with blocks.settings(threads=2):
        for found, right in zip(run(x, dy, "compiled", p=p), expected, strict=True):
            np.testing.assert_array_equal(found, right)


@powers
def test_a_planted_mistake_is_found(p, monkeypatch):
    """Without mean(s), which is what sets these apart from p = 2."""

    def check():
        x = tn.tensor(normal(5, 3), requires_grad=True)
        with use_loops("off"):
            return gradcheck(lambda x: F.lp_batch_norm(x, training=True, p=p), [x])

    assert check()
    monkeypatch.setattr(lpbatchnorm, "channel_means", lambda s: 0 * s[:1, :, :1])
    with pytest.raises(GradcheckError):
        check()
