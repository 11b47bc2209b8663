"""MixStyle: statistics mixed across the batch, and held constant in backward."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (2, 4, 3, 5))
RATIO, ORDER = np.array([1.0, 0.0, 0.3, 0.8]), np.array([1, 2, 3, 0])
MEAN, STD = X.mean(2, keepdims=True), np.sqrt(X.var(2, keepdims=True) + 1e-5)


def mixed():
    share = RATIO[:, None, None]
    return (share * a + (1 - share) * a[ORDER] for a in (STD, MEAN))


def call(x):
    return F.mix_style(x, tn.tensor(RATIO), tn.tensor(ORDER))


def test_each_channel_has_the_mixed_statistics():
    y = call(tn.tensor(X)).numpy()
    std, mean = mixed()
    np.testing.assert_allclose(y, std * (X - MEAN) / STD + mean, 1e-12, 1e-13)
    np.testing.assert_allclose(y[0], X[0], 1e-12, 1e-13)  # a ratio of 1
    np.testing.assert_allclose(y.mean(2, keepdims=True), mean, 1e-12)


def test_with_a_ratio_of_0_it_is_adain_without_its_paths_through_the_statistics():
    x = tn.tensor(X, requires_grad=True)
    y = F.mix_style(x, tn.zeros(4, dtype="float64"), tn.tensor(ORDER))
    np.testing.assert_allclose(
        y.numpy(), F.adaptive_instance_norm(x, tn.tensor(X[ORDER])).numpy(), 1e-10, 1e-12
    )
    (dx,) = grad(y, [x], tn.tensor(DY))
    np.testing.assert_allclose(dx.numpy(), STD[ORDER] / STD * DY, 1e-12)
    (of_adain,) = grad(F.adaptive_instance_norm(x, tn.tensor(X[ORDER])), [x], tn.tensor(DY))
    assert abs(of_adain.numpy() - dx.numpy()).max() > 0.1


def test_the_gradient_is_the_affine_s():
    x = tn.tensor(X, requires_grad=True)
    (dx,) = grad(call(x), [x], tn.tensor(DY))
    std, _ = mixed()
    np.testing.assert_allclose(dx.numpy(), std / STD * DY, 1e-12)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float16", 3e3), ("float32", 1e20), ("float32", 1e-25)], ids=str
)
def test_a_variance_that_the_dtype_cannot_hold_is_no_harm(dtype, scale):
    x = tn.tensor((X * scale).astype(dtype), requires_grad=True)
    y = F.mix_style(x, tn.tensor(RATIO.astype(dtype)), tn.tensor(ORDER), eps=0.0)
    (dx,) = grad(y, [x], tn.tensor(DY.astype(dtype)))
    std, mean = mixed()
    tolerance = 5e-3 if dtype == "float16" else 1e-5
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_allclose(y.numpy() / scale, std * (X - MEAN) / STD + mean, tolerance, 5 * tolerance)
    np.testing.assert_allclose(dx.numpy(), std / STD * DY, tolerance)


@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 0, 4), (3, 4, 0)], ids=str)
def test_empty_inputs_stay_empty(shape):
    ratio, order = tn.ones(shape[0]), tn.arange(shape[0])
    assert F.mix_style(tn.ones(*shape), ratio, order).shape == shape


def test_the_layer_mixes_in_training_only_and_repeats_with_a_seed():
    layer, x = nn.MixStyle(p=1.0), tn.tensor(X.astype("float32"))
    tn.manual_seed(3)
    first = layer(x).numpy()
    tn.manual_seed(3)
    np.testing.assert_array_equal(layer(x).numpy(), first)
    assert abs(first - x.numpy()).max() > 0.1
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    layer = nn.MixStyle(p=0.3)
    share = np.mean([abs(layer(x).numpy() - x.numpy()).max() > 1e-5 for _ in range(200)])
    assert 0.2 < share < 0.4
    assert repr(layer) == "MixStyle(p=0.3, alpha=0.1, eps=1e-05)"


@pytest.mark.parametrize("options", [{"p": 1.5}, {"p": -0.1}, {"alpha": 0.0}, {"eps": -1.0}], ids=str)
def test_options_out_of_range_raise(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        nn.MixStyle(**options)


def test_what_does_not_fit_raises():
    x = tn.tensor(X)
    with pytest.raises(ValueError, match=r"ratio \(N,\) = \(4,\)"):
        F.mix_style(x, tn.ones(3), tn.tensor(ORDER))
    for value in (2.0, -0.5):
        with pytest.raises(ValueError, match=f"ratios from 0 to 1, got {value}"):
            F.mix_style(x, tn.tensor([0.0, 1.0, value, 0.5]), tn.tensor(ORDER))
    with pytest.raises(IndexError, match="0 to 3"):
        F.mix_style(x, tn.tensor(RATIO), tn.tensor([0, 1, 2, 4]))
    with pytest.raises(ValueError, match="positions"):
        F.mix_style(tn.ones(4, 3), tn.tensor(RATIO), tn.tensor(ORDER))
