"""Adaptive group normalization: a scale and a shift for each sample."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

X = np.random.default_rng(0).normal(2.0, 3.0, (3, 4, 5)).astype("float32")


def test_each_sample_is_group_normalized_with_its_own_affine():
    scale, shift = (np.random.default_rng(k).normal(size=(3, 4)).astype("float32") for k in (1, 2))
    y = F.adaptive_group_norm(tn.tensor(X), tn.tensor(scale), tn.tensor(shift), 2).numpy()
    for n in range(3):
        expected = F.group_norm(tn.tensor(X[n : n + 1]), 2, tn.tensor(1 + scale[n]), tn.tensor(shift[n]))
        np.testing.assert_allclose(y[n], expected.numpy()[0], 1e-5, 1e-6)


def test_the_layer_makes_scale_and_shift_from_the_condition():
    layer = nn.AdaGroupNorm(6, 4, 2)
    assert {name: p.shape for name, p in layer.named_parameters()} == {
        "linear.weight": (8, 6),
        "linear.bias": (8,),
    }
    c = tn.randn(3, 6)
    scale, shift = layer.linear(c).chunk(2, 1)
    y = layer(tn.tensor(X), c)
    np.testing.assert_array_equal(y.numpy(), F.adaptive_group_norm(tn.tensor(X), scale, shift, 2).numpy())
    y.sum().backward()
    assert layer.linear.weight.grad is not None


def test_without_a_condition_it_is_group_normalization():
    layer = nn.AdaGroupNorm(6, 4, 2)
    expected = nn.GroupNorm(2, 4, affine=False)(tn.tensor(X)).numpy()
    with tn.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.zero_()
    np.testing.assert_allclose(layer(tn.tensor(X), tn.randn(3, 6)).numpy(), expected, 1e-6, 1e-7)


@pytest.mark.parametrize("shape", [(3, 5), (2, 6), (6,)])
def test_a_condition_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match=r"one condition per sample, of shape \(3, 6\)"):
        nn.AdaGroupNorm(6, 4, 2)(tn.tensor(X), tn.ones(*shape))
    with pytest.raises(TypeError, match="for the condition"):
        nn.AdaGroupNorm(6, 4, 2)(tn.tensor(X), tn.ones(3, 6, dtype=int))
