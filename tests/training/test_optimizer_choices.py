"""The optimizers of `train`: what their learning rate means."""

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.training.optimizer_choices import make


def step_lengths(name, weight_decay, scale):
    """Return ‖Δp‖ and ‖p‖ of the weight and the bias of a layer in one step."""
    rng = np.random.default_rng(0)
    layer = nn.Linear(4, 3).double()
    for p in layer.parameters():
        p.data[...] = rng.normal(size=p.shape)
        p.grad = Tensor(scale * rng.normal(size=p.shape))
    before = [p.numpy().copy() for p in layer.parameters()]
    make(name, layer, 0.01, weight_decay).step()
    moved = [np.linalg.norm(p.numpy() - old) for p, old in zip(layer.parameters(), before, strict=True)]
    return moved, [np.linalg.norm(old) for old in before]


@pytest.mark.parametrize("name", ["lars", "lamb"])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-9], ids=["no decay", "little decay"])
def test_the_rate_of_lars_and_lamb_is_a_fraction_of_the_weight_with_and_without_decay(name, weight_decay):
    (of_weight, of_bias), (weight, bias) = step_lengths(name, weight_decay, 10.0)
    np.testing.assert_allclose(of_weight, 0.01 * weight, rtol=1e-6)
    assert abs(of_bias / (0.01 * bias) - 1) > 0.01  # biases take the step of SGD or Adam
