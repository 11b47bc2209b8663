"""LayerNorm2d beside timm's."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
layers = pytest.importorskip("timm.layers")


def test_y_and_all_gradients_are_those_of_timm():
    rng = np.random.default_rng(0)
    x, dy = rng.normal(1, 2, (2, 6, 4, 5)), rng.normal(size=(2, 6, 4, 5))
    w, b = rng.normal(size=(2, 6))
    theirs, ours = layers.LayerNorm2d(6).double(), nn.LayerNorm2d(6).double()
    theirs.load_state_dict({"weight": torch.tensor(w), "bias": torch.tensor(b)})
    ours.load_state_dict({"weight": w, "bias": b})
    assert ours.eps == theirs.eps
    x_ours, x_theirs = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y_ours, y_theirs = ours(x_ours), theirs(x_theirs)
    found = grad(y_ours, [x_ours, *ours.parameters()], tn.tensor(dy))
    expected = torch.autograd.grad(y_theirs, [x_theirs, *theirs.parameters()], torch.tensor(dy))
    for one, other in zip((y_ours, *found), (y_theirs.detach(), *expected), strict=True):
        assert abs(one.numpy() - other.numpy()).max() < 1e-12 * abs(one.numpy()).max()
