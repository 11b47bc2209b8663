"""EvoNorm-S0 and B0 against timm, which computes the deviations in float32."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm_layers = pytest.importorskip("timm.layers")

import tinygrad_norm as tn  # noqa: E402
from tinygrad_norm import nn  # noqa: E402

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(3, 8, 4, 5)).astype("float32"), RNG.normal(size=(3, 8, 4, 5)).astype("float32")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["EvoNorm2dS0", "EvoNorm2dB0"])
def test_timm_gives_the_same_values_and_gradients(name, training):
    sizes = (8, 4) if name == "EvoNorm2dS0" else (8,)
    theirs, ours = getattr(timm_layers, name)(*sizes), getattr(nn, name)(*sizes)
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in ours.named_parameters()]
    assert theirs.eps == ours.eps
    for parameter, own in zip(theirs.parameters(), ours.parameters(), strict=True):
        values = own.numpy() + RNG.uniform(-0.3, 0.3, own.shape).astype("float32")
        own.array[...] = values
        parameter.data = torch.from_numpy(values.copy())
    x, own_x = torch.from_numpy(X).requires_grad_(), tn.tensor(X, requires_grad=True)
    y, own_y = theirs.train(training)(x), ours.train(training)(own_x)
    y.backward(torch.from_numpy(DY))
    own_y.backward(tn.tensor(DY))
    pairs = [(own_y.numpy(), y.detach()), (own_x.grad.numpy(), x.grad)]
    pairs += [(b.grad.numpy(), a.grad) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True)]
    pairs += [(b.numpy(), a) for a, b in zip(theirs.buffers(), ours.buffers(), strict=True)]
    for found, expected in pairs:
        assert abs(found - expected.numpy()).max() <= 2e-6 * abs(expected).max()
