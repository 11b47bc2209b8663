"""GraphNorm and PairNorm are those of PyTorch Geometric: y and every gradient, to 1e-9 in float64."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
geometric = pytest.importorskip("torch_geometric.nn")

RNG = np.random.default_rng(0)
X, DY, BATCH = RNG.normal(1, 2, (40, 6)), RNG.normal(size=(40, 6)), RNG.integers(0, 5, 40)
LAYERS = {
    "GraphNorm": (lambda package: package.GraphNorm(6)),
    "PairNorm": (lambda package: package.PairNorm(2.0)),
    "PairNorm of single nodes": (lambda package: package.PairNorm(2.0, True)),
}


@pytest.mark.parametrize("batch", [None, BATCH], ids=["one graph", "batch"])
@pytest.mark.parametrize("name", LAYERS)
def test_equal_to_pytorch_geometric(name, batch):
    ours, theirs = LAYERS[name](nn).double(), LAYERS[name](geometric).double()
    for (own, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert own == other
        p.array[...] = RNG.normal(size=6)
        q.data = torch.tensor(p.numpy())
    x, z = tn.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y = ours(x, None if batch is None else tn.tensor(batch))
    reference = theirs(z, None if batch is None else torch.tensor(batch))
    found = [y, *grad(y, [x, *ours.parameters()], tn.tensor(DY))]
    expected = [reference, *torch.autograd.grad(reference, [z, *theirs.parameters()], torch.tensor(DY))]
    for a, b in zip(found, expected, strict=True):
        b = b.detach().numpy()
        assert abs(a.numpy() - b).max() <= 1e-9 * abs(b).max()
