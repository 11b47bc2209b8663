"""RevIN: a series loses its level and scale before a model and gets them back; two gradients, two ends."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample import revin

RNG = np.random.default_rng(0)
N, T, C, HORIZON = 3, 7, 2, 4
X = 2.0 + 3.0 * RNG.normal(size=(N, T, C))
W, B = RNG.uniform(0.5, 1.5, C), RNG.normal(size=C)
MODEL = tn.tensor(RNG.normal(size=(HORIZON, T)))
DY = tn.tensor(RNG.normal(size=(N, HORIZON, C)))


def leaves():
    return [tn.tensor(a, requires_grad=True) for a in (X, W, B)]


def chain(x, w, b, ends=None, detach=False, eps=1e-5, norm=F.reversible_instance_norm):
    """Both ends around a model over the steps; `ends` are the weight and bias of the second one."""
    h, mean, std = norm(x, w, b, eps, detach)
    w_back, b_back = (w, b) if ends is None else ends
    return F.reversible_instance_denorm(MODEL @ h.tanh(), mean, std, w_back, b_back, eps)


def error(found, expected):
    return abs(found - expected).max() / abs(expected).max()


@pytest.mark.parametrize("a", [0.01, 1.0, 700.0])
def test_a_scale_and_a_level_of_the_series_are_those_of_the_forecast(a):
    layer = nn.RevIN(C, eps=0.0).double()
    layer.weight.copy_(tn.tensor(W))
    layer.bias.copy_(tn.tensor(B))

    def f(x):
        return layer(MODEL @ layer(tn.tensor(x), "norm").tanh(), "denorm").numpy()

    np.testing.assert_allclose(f(a * X - 30.0), a * f(X) - 30.0, 1e-11, 1e-11)


def test_without_a_model_it_is_the_identity_up_to_eps():
    layer = nn.RevIN(C).double()
    y = layer(layer(tn.tensor(X), "norm"), "denorm").numpy()
    np.testing.assert_allclose(y, X, 0, 1e-9)  # eps² in q leaves 1e-10
    plain = nn.RevIN(C, affine=False).double()
    np.testing.assert_allclose(plain(plain(tn.tensor(X), "norm"), "denorm").numpy(), X, 1e-14)


@pytest.mark.parametrize("detach", [False, True])
def test_both_gradients_are_those_of_the_composed_form(detach):
    x, w, b = leaves()
    found = grad(chain(x, w, b, detach=detach), [x, w, b], DY)
    y = chain(x, w, b, detach=detach, norm=revin.reversible_instance_norm_composed)
    for ours, expected in zip(found, grad(y, [x, w, b], DY), strict=True):
        assert error(ours.numpy(), expected.numpy()) < 1e-9


def test_the_detached_gradient_is_another_one_than_that_of_the_function():
    """Planted: one taken for the other. gradcheck, which differences the function, says so."""
    x, w, b = leaves()
    (true,), (detached,) = (grad(chain(x, w, b, detach=detach), [x], DY) for detach in (False, True))
    assert error(detached.numpy(), true.numpy()) > 0.3
    assert tn.gradcheck(lambda x: chain(x, w, b), [x])
    with pytest.raises(tn.gradient_check.GradcheckError):
        tn.gradcheck(lambda x: chain(x, w, b, detach=True), [x])


@pytest.mark.parametrize("which", [1, 2], ids=["weight", "bias"])
def test_the_affine_has_gradients_at_both_ends(which):
    """Planted: one end forgotten, by a detached weight or bias there."""
    inputs = leaves()
    given = inputs[which]
    expected = grad(chain(*inputs), given, DY)[0].numpy()
    ends = [v.detach() for v in inputs[1:]]
    first = grad(chain(*inputs, ends=ends), given, DY)[0].numpy()
    fixed = [*inputs[:1], *ends]
    second = grad(chain(*fixed, ends=inputs[1:]), given, DY)[0].numpy()
    np.testing.assert_allclose(first + second, expected, 1e-10)
    assert min(error(first, expected), error(second, expected)) > 0.1
    with pytest.raises(tn.gradient_check.GradcheckError):
        tn.gradcheck(
            lambda v: chain(*[v if i == which else p for i, p in enumerate(inputs)], ends=ends_of(v, which)),
            [given],
        )


def ends_of(v, which):
    others = [tn.tensor(W), tn.tensor(B)]
    others[which - 1] = v.detach()
    return others


def test_it_is_the_published_code_with_its_statistics_detached(torch):
    x, w, b = (torch.tensor(a, requires_grad=True) for a in (X, W, B))
    mean = x.mean(1, keepdim=True).detach()
    std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5).detach()
    h = (x - mean) / std * w + b
    o = torch.tensor(MODEL.numpy()) @ h.tanh()
    y = (o - b) / (w + 1e-5 * 1e-5) * std + mean
    expected = torch.autograd.grad(y, (x, w, b), torch.tensor(DY.numpy()))
    inputs = leaves()
    ours = chain(*inputs, detach=True)
    np.testing.assert_allclose(ours.numpy(), y.detach().numpy(), 1e-12)
    for found, reference in zip(grad(ours, inputs, DY), expected, strict=True):
        assert error(found.numpy(), reference.numpy()) < 1e-12


def test_a_series_has_statistics_of_its_own():
    y, mean, std = F.reversible_instance_norm(tn.tensor(X))
    assert mean.shape == std.shape == (N, 1, C)
    np.testing.assert_allclose(mean.numpy()[:, 0], X.mean(1), 1e-14)
    np.testing.assert_allclose(std.numpy()[:, 0], np.sqrt(X.var(1) + 1e-5), 1e-14)
    alone, *_ = F.reversible_instance_norm(tn.tensor(X[1:2]))
    np.testing.assert_allclose(y.numpy()[1:2], alone.numpy(), 1e-13)


def test_half_types_keep_their_statistics_in_float32():
    x = tn.tensor((X * 1000).astype(np.float16))
    layer = nn.RevIN(C)
    h = layer(x, "norm")
    assert h.dtype == np.float16
    assert {s.dtype for s in layer.statistics} == {np.dtype(np.float32)}
    assert layer(h, "denorm").dtype == np.float16


def test_a_view_that_is_not_contiguous_gives_the_same():
    x = tn.tensor(np.ascontiguousarray(X.transpose(2, 1, 0)))
    for found, expected in zip(
        F.reversible_instance_norm(x.permute(2, 1, 0)), F.reversible_instance_norm(tn.tensor(X)), strict=True
    ):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_detached_mean_and_deviation_do_not_require_a_gradient():
    x, w, b = leaves()
    _, *statistics = F.reversible_instance_norm(x, w, b, detach=True)
    assert not any(s.requires_grad for s in statistics)
    _, *statistics = F.reversible_instance_norm(x, w, b)
    assert all(s.requires_grad for s in statistics)


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "whole"])
def test_a_copy_has_no_statistics_and_the_layer_keeps_its_own(detach):
    layer = nn.RevIN(C, detach=detach).double()
    h = layer(tn.tensor(X, requires_grad=True), "norm")
    kept = layer.statistics
    averaged = tn.optim.swa_utils.AveragedModel(layer)
    for made in (copy.deepcopy(layer), averaged.module, pickle.loads(pickle.dumps(layer))):
        assert made.statistics is None
        with pytest.raises(RuntimeError, match="no statistics"):
            made(h, "denorm")
        np.testing.assert_array_equal(made(tn.tensor(X), "norm").detach().numpy(), h.detach().numpy())
    assert layer.statistics is kept
    layer(h, "denorm").sum().backward()
