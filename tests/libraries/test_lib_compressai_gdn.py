"""GDN, its inverse and GDN1 are CompressAI's: y and every gradient, to 1e-9 in float64, and parameters alike.

Skipped without CompressAI, which .ci/libraries does not install: it imports pandas, tqdm and more.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("compressai.layers")

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 4, 3, 5)), RNG.normal(size=(2, 4, 3, 5))
LAYERS = {
    "GDN": (nn.GDN(4), theirs.GDN(4)),
    "IGDN": (nn.IGDN(4), theirs.GDN(4, inverse=True)),
    "GDN1": (nn.GDN1(4), theirs.GDN1(4)),
    "GDN1, inverse": (nn.GDN1(4, inverse=True), theirs.GDN1(4, inverse=True)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_equal_to_compressai(name):
    own, other = (layer.double() for layer in LAYERS[name])
    for (ours, p), (reference, q) in zip(own.named_parameters(), other.named_parameters(), strict=True):
        assert ours == reference
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), 1e-6, 1e-12)
        p.array[...] = RNG.uniform(-0.1, 1, p.shape)  # some below their bound
        q.data = torch.tensor(p.numpy())
    # CompressAI's bound of beta is a float32 buffer that .double() cannot make exact.
    other.beta_reparam.lower_bound.bound.fill_((1e-6 + 2.0**-36) ** 0.5)
    x, z = tn.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, reference = own(x), other(z)
    found = [y, *grad(y, [x, *own.parameters()], tn.tensor(DY))]
    expected = [reference, *torch.autograd.grad(reference, [z, *other.parameters()], torch.tensor(DY))]
    for a, b in zip(found, expected, strict=True):
        b = b.detach().numpy()
        assert abs(a.numpy() - b).max() <= 1e-9 * abs(b).max()
