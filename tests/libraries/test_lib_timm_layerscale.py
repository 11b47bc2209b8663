"""LayerScale beside timm's: names, values, gradients."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn


@pytest.mark.parametrize(("name", "shape"), [("LayerScale", (2, 5, 4)), ("LayerScale2d", (2, 4, 3, 5))])
def test_layer_scale_is_timm_s(name, shape):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.layers")
    rng = np.random.default_rng(0)
    theirs = (getattr(timm, name, None) or getattr(timm.layer_scale, name))(4).double()
    ours = getattr(nn, name)(4).double()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    np.testing.assert_allclose(ours.gamma.numpy(), theirs.gamma.detach().numpy(), rtol=1e-7)
    gamma, x, dy = rng.normal(size=4), rng.normal(size=shape), rng.normal(size=shape)
    ours.gamma.array[...] = gamma
    theirs.gamma.data = torch.tensor(gamma)
    a, b = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    y.backward(tn.tensor(dy))
    z.backward(torch.tensor(dy))
    pairs = [(y.detach(), z.detach()), (a.grad, b.grad), (ours.gamma.grad, theirs.gamma.grad)]
    for mine, other in pairs:
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-12, atol=1e-14)
