"""functional_call: a module called with other tensors instead of its parameters."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn.utils.parameter_swap import functional_call


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_it_computes_with_the_given_tensors_and_leaves_the_module_alone():
    module, x = model(), tn.randn(5, 3)
    before = {name: (parameter, parameter.numpy().copy()) for name, parameter in module.named_parameters()}
    other = model()
    given = {name: tensor.requires_grad_() for name, tensor in other.state_dict().items()}
    y = functional_call(module, given, (x,))
    np.testing.assert_array_equal(y.numpy(), other(x).numpy())
    assert all(np.abs(dx.numpy()).max() > 0 for dx in grad(y, list(given.values()), np.ones(y.shape)))
    for name, parameter in module.named_parameters():
        assert parameter is before[name][0]
        np.testing.assert_array_equal(parameter.numpy(), before[name][1])
        assert parameter.grad is None


def test_some_of_the_parameters_are_enough():
    module, x = model(), tn.randn(5, 3)
    bias = tn.ones(2)
    y = functional_call(module, {"2.bias": bias}, (x,))
    np.testing.assert_allclose(
        (y - module(x)).numpy(), np.tile(1 - module[2].bias.numpy(), (5, 1)), rtol=1e-5, atol=1e-6
    )


def test_the_module_is_restored_after_a_failure():
    module = model()
    weight = module[0].weight
    with pytest.raises(ValueError, match="takes x"):
        functional_call(module, {"0.weight": tn.ones(4, 3)}, (tn.ones(5, 7),))
    assert module[0].weight is weight


def test_options_are_passed_on():
    attention, x = nn.MultiheadAttention(4, 2), tn.randn(3, 4)
    weights = functional_call(attention, {}, (x, x, x), {"need_weights": False})[1]
    assert weights is None


def test_errors():
    with pytest.raises(ValueError, match=r"no parameter '3\.weight', only 0\.weight"):
        functional_call(model(), {"3.weight": tn.ones(2)}, (tn.ones(5, 3),))
    with pytest.raises(ValueError, match=r"2\.bias has shape \(2,\), got a tensor of shape \(3,\)"):
        functional_call(model(), {"2.bias": tn.ones(3)}, (tn.ones(5, 3),))
