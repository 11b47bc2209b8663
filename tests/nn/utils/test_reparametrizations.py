"""σReparam and centered weight normalization: values, gradients and mistakes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn.utils.centered_weight_norm import CenteredWeightNorm
from tinygrad_norm.nn.utils.parametrizations import centered_weight_norm, sigma_reparam
from tinygrad_norm.nn.utils.sigma_reparam import SigmaReparam

RNG = np.random.default_rng(0)


def linear(K=4, D=6):
    layer = nn.Linear(D, K).double()
    layer.weight.copy_(tn.tensor(RNG.normal(size=(K, D))))
    return layer


def spectral_norm_of(weight):
    return np.linalg.norm(weight.reshape(len(weight), -1), 2)


def test_sigma_reparam_keeps_the_weight_and_gamma_is_its_spectral_norm():
    layer = linear()
    before = layer.weight.numpy().copy()
    sigma_reparam(layer)
    assert {name for name, _ in layer.named_parameters()} == {
        "bias",
        "parametrizations.weight.0.gamma",
        "parametrizations.weight.original",
    }
    np.testing.assert_allclose(layer.weight.numpy(), before, 1e-12)
    gamma = layer.parametrizations["weight"][0].gamma
    np.testing.assert_allclose(gamma.item(), spectral_norm_of(before), 1e-12)
    with tn.no_grad():
        layer.parametrizations["weight"].original.mul_(3.0)
    np.testing.assert_allclose(layer.weight.numpy(), before, 1e-12)
    gamma.fill_(0.5)
    np.testing.assert_allclose(spectral_norm_of(layer.weight.numpy()), 0.5, 1e-9)


def test_an_assigned_weight_is_kept_too():
    layer, value = sigma_reparam(linear()), tn.tensor(RNG.normal(size=(4, 6)))
    layer.weight = value
    np.testing.assert_allclose(layer.weight.numpy(), value.numpy(), 1e-12)


@pytest.mark.parametrize(("conv", "dim"), [(nn.Conv2d, 0), (nn.ConvTranspose2d, 1)])
def test_convolutions_are_matrices_with_a_row_for_each_output(conv, dim):
    layer = sigma_reparam(conv(3, 5, 2).double())
    weight = np.moveaxis(layer.weight.numpy(), dim, 0)
    np.testing.assert_allclose(
        layer.parametrizations["weight"][0].gamma.item(), spectral_norm_of(weight), 1e-12
    )


def test_the_gradients_of_sigma_reparam_with_singular_vectors_held_constant():
    weight = tn.tensor(RNG.normal(size=(4, 6)), requires_grad=True)
    norm = SigmaReparam(weight).double().eval()
    G = RNG.normal(size=(4, 6))
    norm(weight).backward(tn.tensor(G))
    W, u, v, gamma = (t.numpy() for t in (weight, norm._u, norm._v, norm.gamma))
    sigma = u @ W @ v
    np.testing.assert_allclose(norm.gamma.grad.numpy(), (G * W).sum() / sigma, 1e-12)
    right = gamma * (G - (G * W).sum() / sigma * np.outer(u, v)) / sigma
    np.testing.assert_allclose(weight.grad.numpy(), right, 1e-9)
    without_sigma = gamma * G / sigma
    assert abs(without_sigma - right).max() > 0.02 * abs(right).max()
    assert gradcheck(norm, weight)


def test_centered_weights_have_mean_0_and_the_length_g():
    layer = linear()
    before = layer.weight.numpy().copy()
    centered_weight_norm(layer)
    centered = before - before.mean(1, keepdims=True)
    np.testing.assert_allclose(layer.weight.numpy(), centered, 1e-12)
    x = RNG.normal(size=(3, 6))
    np.testing.assert_allclose(layer(tn.tensor(x + 5)).numpy(), layer(tn.tensor(x)).numpy(), 1e-9)
    layer.parametrizations["weight"].original0.fill_(2.0)
    np.testing.assert_allclose(np.linalg.norm(layer.weight.numpy(), axis=1), 2.0, 1e-12)


@pytest.mark.parametrize("dim", [0, 1])
def test_the_gradient_of_centered_weight_norm_is_orthogonal_to_two_directions(dim):
    V = tn.tensor(RNG.normal(size=(3, 5)), requires_grad=True)
    g = tn.tensor(RNG.normal(size=(3, 1) if dim == 0 else (1, 5)), requires_grad=True)
    norm, G = CenteredWeightNorm(dim), RNG.normal(size=(3, 5))
    assert gradcheck(norm, [g, V])
    norm(g, V).backward(tn.tensor(G))
    axis, dV = 1 - dim, V.grad.numpy()
    c = V.numpy() - V.numpy().mean(axis, keepdims=True)
    np.testing.assert_allclose(dV.sum(axis), 0, atol=1e-12)
    np.testing.assert_allclose((dV * c).sum(axis), 0, atol=1e-12)
    e = c / np.linalg.norm(c, axis=axis, keepdims=True)
    not_centered = (
        g.numpy() / np.linalg.norm(c, axis=axis, keepdims=True) * (G - (G * e).sum(axis, keepdims=True) * e)
    )
    assert abs(not_centered - dV).max() > 0.1 * abs(dV).max()


def test_bad_layers_are_refused():
    with pytest.raises(ValueError, match="no parameter or buffer named 'kernel'"):
        sigma_reparam(nn.Linear(2, 3), "kernel")
    with pytest.raises(ValueError, match="at least 2 axes"):
        sigma_reparam(nn.Linear(2, 3), "bias")
    with pytest.raises(ValueError, match="at least 2 axes"):
        centered_weight_norm(nn.Linear(2, 3), "bias")
    with pytest.raises(ValueError, match="parametrized already"):
        centered_weight_norm(centered_weight_norm(nn.Linear(2, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_sigma_reparam_refuses_a_weight_that_is_not_finite(value):
    layer = linear()
    layer.weight.data[1, 2] = value
    with pytest.raises(ValueError, match="largest singular value of the weight, which must be finite"):
        sigma_reparam(layer)
    assert isinstance(layer.weight, nn.Parameter)  # it stays as it was


def test_sigma_reparam_keeps_a_weight_in_half_precision():
    layer = linear().half()
    before = layer.weight.numpy().copy()
    weight = sigma_reparam(layer).eval().weight
    assert weight.dtype == np.float16
    np.testing.assert_allclose(weight.numpy(), before, rtol=5e-3, atol=1e-3)
