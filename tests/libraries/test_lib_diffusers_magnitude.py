"""EDM2's magnitude-preserving operations beside those of diffusers, whose norms are in float32."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("diffusers.models.autoencoders.autoencoder_mmaudio")

RNG = np.random.default_rng(0)
A, B, DY = RNG.normal(size=(3, 4, 3, 5)).astype("float32")


@pytest.mark.parametrize("name", ["magnitude_preserving_weight", "mp_silu", "mp_sum"])
def test_values_and_gradients_are_those_of_diffusers(name):
    ours, library = {
        "magnitude_preserving_weight": (
            lambda a, b: F.magnitude_preserving_weight(a) + 0 * b,
            lambda a, b: theirs.normalize(a) / 15**0.5 + 0 * b,
        ),
        "mp_silu": (lambda a, b: F.mp_silu(a) + 0 * b, lambda a, b: theirs.mp_silu(a) + 0 * b),
        "mp_sum": (lambda a, b: F.mp_sum(a, b, 0.3), lambda a, b: theirs.mp_sum(a, b, 0.3)),
    }[name]
    inputs = [tn.tensor(a, requires_grad=True) for a in (A, B)]
    given = [torch.tensor(a, requires_grad=True) for a in (A, B)]
    y, expected = ours(*inputs), library(*given)
    pairs = zip(
        (y, *grad(y, inputs, tn.tensor(DY))),
        (expected.detach(), *torch.autograd.grad(expected, given, torch.tensor(DY))),
        strict=True,
    )
    for a, b in pairs:
        assert abs(a.numpy() - b.numpy()).max() <= 2e-6 * max(abs(b.numpy()).max(), 1e-30)
