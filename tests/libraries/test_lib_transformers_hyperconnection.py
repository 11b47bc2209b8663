"""HyperConnection is DeepSeek-V4's in transformers, which computes its weights in float32."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
deepseek = pytest.importorskip("transformers.models.deepseek_v4.modeling_deepseek_v4")
configuration = pytest.importorskip("transformers.models.deepseek_v4.configuration_deepseek_v4")

RNG = np.random.default_rng(0)
D, N = 6, 4


def test_weights_and_gradients_are_those_of_transformers():
    config = configuration.DeepseekV4Config(hidden_size=D, hc_mult=N)
    theirs, ours = deepseek.DeepseekV4HyperConnection(config), nn.HyperConnection(nn.Identity(), D, N)
    assert (ours.sinkhorn_iters, ours.eps, ours.norm_eps) == (
        config.hc_sinkhorn_iters,
        config.hc_eps,
        config.rms_norm_eps,
    )
    for name, size in (("fn", 0.3), ("base", 1.0), ("scale", 1.0)):
        value = (size * RNG.normal(size=getattr(ours, name).shape)).astype("float32")
        getattr(ours, name).array[...] = value
        getattr(theirs, name).data = torch.tensor(value)
    h = RNG.normal(size=(2, 5, N, D)).astype("float32")
    x, z = tn.tensor(h, requires_grad=True), torch.tensor(h, requires_grad=True)
    pre, post, comb = ours.weights(x)
    found = [post, comb, (pre.unsqueeze(-1) * x).sum(-2)]
    expected = list(theirs(z))
    dys = [RNG.normal(size=tuple(t.shape)).astype("float32") for t in expected]
    names = ["fn", "base", "scale"]
    found += grad(found, [x, *(getattr(ours, name) for name in names)], [tn.tensor(dy) for dy in dys])
    expected += torch.autograd.grad(
        expected, [z, *(getattr(theirs, name) for name in names)], [torch.tensor(dy) for dy in dys]
    )
    for a, b in zip(found, expected, strict=True):
        b = b.detach().numpy()
        assert abs(a.numpy() - b).max() <= 2e-6 * max(abs(b).max(), 1)
