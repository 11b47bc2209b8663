"""FrozenBatchNorm2d beside torchvision's, which loads the same states."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
ops = pytest.importorskip("torchvision.ops")

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))


def test_torchvision_gives_the_same_values_gradient_and_state():
    theirs, ours = ops.FrozenBatchNorm2d(3).double(), nn.FrozenBatchNorm2d(3).double()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert (theirs.eps, list(theirs.parameters())) == (ours.eps, list(ours.parameters()))
    state = {name: RNG.uniform(0.5, 2.0, 3) for name in theirs.state_dict()}
    theirs.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    ours.load_state_dict(state)
    x, own_x = torch.tensor(X, requires_grad=True), tn.tensor(X, requires_grad=True)
    y, own_y = theirs(x), ours(own_x)
    (dx,) = torch.autograd.grad(y, x, torch.tensor(DY))
    np.testing.assert_allclose(own_y.detach().numpy(), y.detach().numpy(), 1e-9, 1e-12)
    np.testing.assert_allclose(grad(own_y, own_x, tn.tensor(DY))[0].numpy(), dx.numpy(), 1e-9, 1e-12)
