"""Weight standardization, its scaled form, and the convolutions with both."""

import copy
import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import fuse_conv_bn_eval, parametrize
from tinygrad_norm.normalization import ScaledWeightStandardization, WeightStandardization
from tinygrad_norm.optim import split_decay

RNG = np.random.default_rng(0)
W, GAIN, DY = (
    RNG.normal(0.3, 0.2, (4, 3, 2, 2)),
    RNG.normal(1, 0.3, (4, 1, 1, 1)),
    RNG.normal(size=(4, 3, 2, 2)),
)


def results(w, dy, gain=GAIN, **options):
    tensors = [tn.tensor(a.astype(w.dtype), requires_grad=True) for a in (w, gain)]
    y = F.weight_standardization(*tensors, **options)
    return [a.numpy() for a in (y, *grad(y, tensors, tn.tensor(dy.astype(w.dtype))))]


def by_hand(w, eps=1e-6):
    mean, var = w.mean((1, 2, 3), keepdims=True), w.var((1, 2, 3), keepdims=True)
    return (w - mean) / np.sqrt(var + eps)


def test_it_is_the_formula_of_the_paper():
    np.testing.assert_allclose(F.weight_standardization(tn.tensor(W)).numpy(), by_hand(W), 1e-12)
    scaled = F.scaled_weight_standardization(tn.tensor(W), tn.tensor(GAIN), 1.7, 1e-3).numpy()
    np.testing.assert_allclose(scaled, GAIN * 1.7 / math.sqrt(12) * by_hand(W, 1e-3), 1e-12)


def test_eps_is_added_to_the_variance_before_the_scale():
    """Not to the standard deviation, as in Qiao's code, nor to fan_in·var, as in DeepMind's."""
    w, eps = tn.tensor([[-0.1, 0.1]]), 0.03
    found = F.scaled_weight_standardization(w, eps=eps).numpy()[0, 1]
    assert found == pytest.approx(0.1 / math.sqrt(0.01 + 0.03) / math.sqrt(2))


def test_it_is_batch_normalization_of_the_weight(torch):
    """The scaled form, as a public NFNet does it: the outputs are the channels of one sample."""
    w, gain = (torch.tensor(a, requires_grad=True) for a in (W, GAIN))
    scale = (gain * 1.5 / math.sqrt(12)).reshape(-1)
    y = torch.nn.functional.batch_norm(w.reshape(1, 4, -1), None, None, scale, None, True, 0.0, 1e-6)
    y.backward(torch.tensor(DY).reshape(1, 4, -1))
    ours = results(W, DY, scale=1.5 / math.sqrt(12))
    for a, b in zip(ours, (y.reshape(W.shape).detach(), w.grad, gain.grad), strict=True):
        np.testing.assert_allclose(a, b.numpy(), 1e-9, 1e-12)


def test_the_gradient_has_no_part_along_1_nor_along_the_weight():
    _, dw, _ = results(W, DY, eps=0.0)
    np.testing.assert_allclose(dw.sum((1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose((dw * W).sum((1, 2, 3)), 0, atol=1e-12)
    assert abs(dw).max() > 0.1


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e18, 1e30])
def test_any_size_of_weights(scale):
    w = (W * scale).astype("float32")
    w[1] = scale  # one output with equal weights
    for a, b in zip(results(w, DY), results(w.astype("float64"), DY), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, 2e-5, 1e-5 * abs(b).max())


def test_a_small_variance_on_a_large_mean():
    w = (1e4 + 1e-2 * W).astype("float32")
    for a, b in zip(results(w, DY), results(w.astype("float64"), DY), strict=True):
        np.testing.assert_allclose(a, b, 1e-3, 1e-4 * abs(b).max())


def test_a_nan_spoils_its_output_only():
    w = W.astype("float32")
    w[2, 1, 0, 0] = np.nan
    for a in results(w, DY):
        assert np.isnan(a).reshape(4, -1).all(1).tolist() == [False, False, True, False]
        assert np.isnan(a).sum() == a[2].size


def test_half_precision_is_only_stored():
    w, dy, gain = (a.astype(np.float16) for a in (W, DY, GAIN))
    right = results(w.astype(np.float64), dy, gain.astype(np.float64), scale=0.3)
    for a, b in zip(results(w, dy, gain, scale=0.3), right, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * abs(b).max())


@pytest.mark.parametrize(
    ("name", "published"), [("identity", 1.0), ("relu", 1.71386), ("silu", 1.78813), ("gelu", 1.70150)]
)
def test_gains_of_activations(name, published):
    """1/√Var[f(z)], by the trapezoidal rule on halves: relu has its kink at 0."""
    f = getattr(F, name, lambda z: z)
    total = np.zeros(2)
    for low, high in ((-12.0, 0.0), (0.0, 12.0)):
        z, step = np.linspace(low, high, 20001, retstep=True)
        y, p = f(tn.tensor(z)).numpy(), np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        p[[0, -1]] /= 2
        total += [(y * p).sum() * step, (y * y * p).sum() * step]
    gain = 1 / math.sqrt(total[1] - total[0] ** 2)
    assert nn.init.ACTIVATION_GAINS[name] == pytest.approx(gain, rel=1e-7)
    assert nn.init.ACTIVATION_GAINS[name] == pytest.approx(published, rel=6e-4)


# -- the convolutions


def test_a_wsconv_convolves_with_the_standardized_weight():
    layer, x = nn.WSConv2d(4, 6, 3, 2, 1, groups=2, padding_mode="reflect"), tn.randn(2, 4, 7, 7)
    plain = nn.Conv2d(4, 6, 3, 2, 1, groups=2, padding_mode="reflect")
    plain.load_state_dict(layer.state_dict())
    with tn.no_grad():
        plain.weight.copy_(F.weight_standardization(layer.weight, eps=1e-6))
    np.testing.assert_array_equal(layer(x).numpy(), plain(x).numpy())


def test_a_scaled_one_has_a_gain_and_keeps_it_in_its_state():
    layer = nn.ScaledWSConv2d(4, 6, 3, gamma=1.5)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        "weight": (6, 4, 3, 3),
        "bias": (6,),
        "gain": (6, 1, 1, 1),
    }
    assert (layer.gain.numpy() == 1).all()
    weight = F.scaled_weight_standardization(layer.weight, layer.gain, 1.5).numpy()
    np.testing.assert_allclose(weight.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose((weight**2).sum((1, 2, 3)), 1.5**2, rtol=1e-3)  # eps is not quite nothing
    x, other = tn.randn(2, 4, 5, 5), copy.deepcopy(layer)
    y = layer(x)
    y.sum().backward()
    assert abs(layer.gain.grad.numpy()).max() > 0
    np.testing.assert_array_equal(other(x).numpy(), y.numpy())
    assert other.gain.grad is None


@pytest.mark.parametrize("name", ["relu", "silu", "gelu"])
def test_a_deep_network_keeps_its_variance(name):
    tn.manual_seed(0)
    x, f = tn.randn(8, 32, 8, 8), getattr(F, name)
    with tn.no_grad():
        for _ in range(8):
            layer = nn.ScaledWSConv2d(
                32,
                32,
                3,
                padding=1,
                bias=False,
                padding_mode="circular",
                gamma=nn.init.ACTIVATION_GAINS[name],
            )
            x = layer(f(x))
    assert 0.6 < float(x.numpy().var()) < 1.6


def test_a_weight_does_not_care_for_its_mean_and_size():
    layer, x = nn.ScaledWSConv2d(3, 4, 3).double(), tn.tensor(RNG.normal(size=(1, 3, 5, 5)))
    before = layer(x).numpy()
    with tn.no_grad():
        layer.weight.copy_(100 * layer.weight + 5)
    np.testing.assert_allclose(layer(x).numpy(), before, 1e-3, 1e-3)


def test_single_weights_are_refused():
    with pytest.raises(ValueError, match=r"WSConv2d needs a weight .* at least two weights"):
        nn.WSConv2d(1, 4, 1)
    with pytest.raises(ValueError, match=r"ScaledWSConv2d needs a weight .* at least two weights"):
        nn.ScaledWSConv2d(4, 4, 1, groups=4)


def test_a_gain_does_not_decay_with_the_weights():
    layer = nn.ScaledWSConv2d(3, 4, 3)
    decayed, undecayed = split_decay(layer, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(layer.weight)]
    assert {id(p) for p in undecayed["params"]} == {id(layer.gain), id(layer.bias)}
    *_, norms, biases = split_decay(layer, 0.1, norm_decay=0.01)
    assert [id(p) for p in norms["params"]] == [id(layer.gain)]
    assert not biases["params"]


def test_fusion_does_not_take_one():
    with pytest.raises(TypeError, match="WSConv2d has a forward of its own"):
        fuse_conv_bn_eval(nn.WSConv2d(3, 4, 3).eval(), nn.BatchNorm2d(4).eval())


# -- as parametrizations


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3)], ids=repr)
def test_parametrizations_are_the_same_weights(layer):
    w = layer.weight.numpy().copy()
    parametrize.register_parametrization(layer, "weight", WeightStandardization(1e-4))
    expected = F.weight_standardization(tn.tensor(w), eps=1e-4).numpy()
    np.testing.assert_array_equal(layer.weight.numpy(), expected)
    parametrize.remove_parametrizations(layer, "weight")
    np.testing.assert_array_equal(layer.weight.numpy(), expected)
    scaled = ScaledWeightStandardization(layer.weight, 1.5)
    parametrize.register_parametrization(layer, "weight", scaled)
    assert "parametrizations.weight.0.gain" in layer.state_dict()
    expected = F.scaled_weight_standardization(tn.tensor(expected), gamma=1.5).numpy()
    np.testing.assert_array_equal(layer.weight.numpy(), expected)
