"""ActNorm beside that of normflows, whose shift comes after the scale."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
normalization = pytest.importorskip("normflows.flows.normalization")

RNG = np.random.default_rng(0)
X, DY, D = 2 + 3 * RNG.normal(size=(5, 3, 4, 2)), RNG.normal(size=(5, 3, 4, 2)), 0.7


def test_normflows_gives_the_same_values_determinant_and_gradients():
    theirs, ours = normalization.ActNorm((3, 1, 1)).double(), nn.ActNorm(3).double()
    theirs(torch.tensor(X))  # the first batch sets the unbiased deviation there
    scale = theirs.s.detach().numpy().reshape(-1)
    np.testing.assert_allclose(scale, -np.log(X.std((0, 2, 3), ddof=1) + 1e-6), 1e-12)
    ours(tn.tensor(X))
    ours.log_scale.copy_(tn.tensor(scale))

    x, own_x = torch.tensor(X, requires_grad=True), tn.tensor(X, requires_grad=True)
    (y, log_det), (own_y, own_det) = theirs(x), ours(own_x)
    np.testing.assert_allclose(own_y.detach().numpy(), y.detach().numpy(), 1e-12, 1e-12)
    np.testing.assert_allclose(own_det.detach().numpy(), np.full(5, log_det.item()), 1e-14)

    loss = (y * torch.tensor(DY)).sum() + D * log_det
    dx, ds, dt = (d.numpy() for d in torch.autograd.grad(loss, (x, theirs.s, theirs.t)))
    own_loss = (own_y * tn.tensor(DY)).sum() + D * own_det.sum() / 5
    found = [d.numpy() for d in grad(own_loss, [own_x, ours.log_scale, ours.bias])]
    # theirs is t' = e^s·t: dt = e^s·dt', and s reaches y through t' too
    e, t = np.exp(scale), ours.bias.numpy()
    expected = [dx, ds.reshape(-1) + dt.reshape(-1) * e * t, dt.reshape(-1) * e]
    for a, b in zip(found, expected, strict=True):
        assert abs(a - b).max() <= 1e-9 * abs(b).max()

    back, _ = theirs.inverse(y)
    np.testing.assert_allclose(ours.inverse(own_y)[0].detach().numpy(), back.detach().numpy(), 1e-12)
