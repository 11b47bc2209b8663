"""MABN beside an independent loop over batches."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.normalization.batch import mabn

RNG = np.random.default_rng(0)
W, B = RNG.uniform(0.5, 2.0, 3), RNG.normal(size=3)


def reference(batches, K, warmup, renorm_from, momentum=0.02, eps=1e-5):
    """y, dx and dw of every batch: as the authors', with numbers of batches from 1 on."""
    x2s, gzs, running, found = np.zeros((K, 3)), np.zeros((K, 3)), np.ones(3), []
    for k, (x, dy) in enumerate(batches, start=1):
        per_channel = np.s_[:, None, None]
        x2s[k % K] = (x * x).mean((0, 2, 3))
        own = k <= K or k < warmup
        var = x2s[k % K] if own else x2s.mean(0)
        z = x / np.sqrt(var + eps)[per_channel]
        r = np.sqrt(var + eps) / np.sqrt(running + eps)
        r = np.ones(3) if k <= renorm_from else r.clip(1 / 5, 5)
        y = (W * r)[per_channel] * z + B[per_channel]
        running = (1 - momentum) * running + momentum * var
        g = dy * (W * r)[per_channel]
        gzs[k % K] = (g * z).mean((0, 2, 3))
        mean_gz = gzs[k % K] if own else gzs.mean(0)
        dx = (g - z * mean_gz[per_channel]) / np.sqrt(var + eps)[per_channel]
        found.append((y, dx, (dy * r[per_channel] * z).sum((0, 2, 3))))
    return found, running


@pytest.mark.parametrize(("renorm_from", "scale"), [(1000, 1.0), (6, 1.0), (6, 30.0)])
def test_it_is_the_loop(monkeypatch, renorm_from, scale):
    monkeypatch.setattr(mabn, "FROM", renorm_from)
    batches = [(scale * RNG.normal(size=(2, 3, 2, 2)), RNG.normal(size=(2, 3, 2, 2))) for _ in range(9)]
    layer = nn.MABN2d(3, 2, 8, warmup_iters=6).double()
    layer.weight.copy_(tn.tensor(W))
    layer.bias.copy_(tn.tensor(B))
    expected, running = reference(batches, 4, 6, renorm_from)
    for (x, dy), (y, dx, dw) in zip(batches, expected, strict=True):
        inputs, layer.weight.grad = tn.tensor(x, requires_grad=True), None
        found = layer(inputs)
        found.backward(tn.tensor(dy))
        np.testing.assert_allclose(found.numpy(), y, 1e-9)
        np.testing.assert_allclose(inputs.grad.numpy(), dx, 1e-9, 1e-12)
        np.testing.assert_allclose(layer.weight.grad.numpy(), dw, 1e-9)
    np.testing.assert_allclose(layer.running_var.numpy(), running, 1e-9)


def test_evaluation_divides_by_the_running_root_mean_square():
    layer, x = nn.MABN2d(3, 2, 4), RNG.normal(size=(2, 3, 2, 2)).astype("float32")
    layer(tn.tensor(x))
    V = 0.98 + 0.02 * (x * x).mean((0, 2, 3))
    np.testing.assert_allclose(layer.running_var.numpy(), V, 1e-6)
    expected = x / np.sqrt(V + 1e-5)[:, None, None]
    np.testing.assert_allclose(layer.eval()(tn.tensor(x)).detach().numpy(), expected, 1e-5)


def test_a_projection_of_one_batch_alone_is_found_out_after_warm_up():
    layer, dxs = nn.MABN2d(3, 2, 4, warmup_iters=0).double(), []
    for _ in range(4):
        x = tn.tensor(RNG.normal(size=(2, 3, 2, 2)), requires_grad=True)
        dy = RNG.normal(size=(2, 3, 2, 2))
        layer(x).backward(tn.tensor(dy))
        r = 1 / np.sqrt((x.numpy() ** 2).mean((0, 2, 3)) + 1e-5)[:, None, None]
        z = x.numpy() * r
        planted = r * (dy - z * (dy * z).mean((0, 2, 3))[:, None, None])
        dxs.append(abs(planted - x.grad.numpy()).max())
    assert dxs[0] < 1e-9 < 0.05 < dxs[3]
