"""Adaptive layer normalization: a scale and a shift for each sample; adaLN-Zero starts as the identity."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, C = RNG.normal(2.0, 3.0, (3, 5, 8)).astype("float32"), RNG.normal(size=(3, 6)).astype("float32")


def test_each_sample_is_layer_normalized_with_its_own_affine():
    scale, shift = (RNG.normal(size=(3, 8)).astype("float32") for _ in range(2))
    y = F.adaptive_layer_norm(tn.tensor(X), tn.tensor(scale), tn.tensor(shift)).numpy()
    for n in range(3):
        expected = F.layer_norm(tn.tensor(X[n]), (8,), tn.tensor(1 + scale[n]), tn.tensor(shift[n]), 1e-6)
        np.testing.assert_allclose(y[n], expected.numpy(), 1e-5, 1e-6)


def test_the_gradients_of_the_affine_are_sums_over_the_steps_of_a_sample():
    x, scale, shift = (tn.tensor(a, requires_grad=True) for a in (X, X[:, 0], X[:, 1]))
    dy = RNG.normal(size=X.shape).astype("float32")
    dscale, dshift = grad(F.adaptive_layer_norm(x, scale, shift), [scale, shift], tn.tensor(dy))
    x_hat = F.layer_norm(tn.tensor(X), (8,), eps=1e-6).numpy()
    np.testing.assert_allclose(dscale.numpy(), (dy * x_hat).sum(1), 1e-4, 1e-5)
    np.testing.assert_allclose(dshift.numpy(), dy.sum(1), 1e-5, 1e-6)


def test_the_layer_makes_shift_and_scale_from_the_condition():
    layer = nn.AdaLayerNorm(8, 6)
    assert [(name, p.shape) for name, p in layer.named_parameters()] == [
        ("linear.weight", (16, 6)),
        ("linear.bias", (16,)),
    ]
    shift, scale = layer.linear(F.silu(tn.tensor(C))).chunk(2, 1)
    expected = F.layer_norm(tn.tensor(X), (8,)) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
    np.testing.assert_allclose(layer(tn.tensor(X), tn.tensor(C)).numpy(), expected.numpy(), 1e-5, 1e-5)


def test_ada_layer_norm_zero_starts_without_affine_and_with_closed_gates():
    layer = nn.AdaLayerNormZero(8, 6)
    y, *others = layer(tn.tensor(X), tn.tensor(C))
    np.testing.assert_allclose(y.numpy(), F.layer_norm(tn.tensor(X), (8,), eps=1e-6).numpy(), 1e-6)
    assert [other.shape for other in others] == [(3, 8)] * 4
    assert not any(other.numpy().any() for other in others)
    with tn.no_grad():
        layer.linear.bias.copy_(tn.tensor(np.repeat(np.arange(6, dtype="float32"), 8)))
    y, *others = layer(tn.tensor(X), tn.tensor(C))
    assert [other.numpy()[0, 0] for other in others] == [2, 3, 4, 5]  # after shift 0 and scale 1


def test_a_dit_block_is_the_identity_at_first_and_only_its_gates_learn():
    tn.manual_seed(0)
    block, x = nn.DiTBlock(8, 2, cond_dim=6), tn.tensor(X, requires_grad=True)
    y = block(x, tn.tensor(C))
    np.testing.assert_array_equal(y.numpy(), X)
    dy = tn.tensor(RNG.normal(size=X.shape).astype("float32"))
    y.backward(dy)
    np.testing.assert_allclose(x.grad.numpy(), dy.numpy(), 1e-6)
    for name, parameter in block.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.numpy().any())
        assert moved == name.startswith("norm.linear"), name
    of_each = block.norm.linear.bias.grad.numpy().reshape(6, 8)
    assert [bool(part.any()) for part in of_each] == [False, False, True, False, False, True]


def test_a_dit_block_learns():
    tn.manual_seed(0)
    block, optimizer = nn.DiTBlock(8, 2, cond_dim=6), None
    optimizer = tn.optim.Adam(block.parameters(), 1e-2)
    target = tn.tensor(np.roll(X, 1, 1))
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.mse_loss(block(tn.tensor(X), tn.tensor(C)), target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * F.mse_loss(tn.tensor(X), target).item()


@pytest.mark.parametrize("layer", [nn.AdaLayerNorm, nn.AdaLayerNormZero])
def test_inputs_and_conditions_of_another_shape_raise(layer):
    with pytest.raises(ValueError, match=r"takes an input \(N, T, 8\), got shape \(3, 8\)"):
        layer(8, 6)(tn.ones(3, 8), tn.tensor(C))
    with pytest.raises(ValueError, match=r"of shape \(3, 6\), got \(3, 5\)"):
        layer(8, 6)(tn.tensor(X), tn.ones(3, 5))
