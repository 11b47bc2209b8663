"""The rule of the GAN experiment goes both ways; coverage and penalty are what they should be."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import experiments, nn
from tinygrad_norm.experiments.statistical import spectral_gan

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
QUALITY = {
    spectral_gan.SPECTRAL: [0.6, 0.8, 0.7, 0.5],
    spectral_gan.PLAIN: [0.5, 0.6, 0.1, 0.0],
    spectral_gan.CLIPPED: [0.1, 0.1, 0.0, 0.0],
    spectral_gan.PENALTY: [0.6, 0.7, 0.2, 0.1],
}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, HOLDS),
        ({(spectral_gan.PENALTY, None): [0.9, 0.9, 0.9, 0.9]}, FAILS),
        ({(spectral_gan.PLAIN, 1): [0.9, 0.9, 0.9, 0.9]}, UNKNOWN),
        ({(spectral_gan.SPECTRAL, None): [0.4, 0.4, 0.4, 0.4]}, UNKNOWN),
        ({(spectral_gan.SPECTRAL, None): [np.nan] * 4}, UNKNOWN),
    ],
    ids=["better", "penalty better", "a seed differs", "spectral fails", "not a number"],
)
def test_a_wrong_figure_changes_the_verdict(changes, state):
    found = {name: {seed: {"quality": copy.copy(q)} for seed in range(3)} for name, q in QUALITY.items()}
    for (name, seed), quality in changes.items():
        for each in range(3) if seed is None else [seed]:
            found[name][each]["quality"] = quality
    verdict = experiments.find("spectral-norm-gan").verdict(experiments.Results(found))
    assert verdict.state == state, verdict
    assert verdict.reason


def test_coverage_counts_samples_near_and_gaussians_that_have_some():
    samples = np.repeat(spectral_gan.CENTRES, 10, axis=0)
    assert spectral_gan.coverage(samples) == (1, 8)
    samples[:40] = 0
    assert spectral_gan.coverage(samples) == (0.5, 4)


def test_the_penalty_of_a_linear_critic():
    """D(x) = w·x has the slope ‖w‖ everywhere, and the penalty a gradient of 2·(‖w‖ - 1)·w/‖w‖."""
    critic = nn.Linear(2, 1)
    with tn.no_grad():
        critic.weight.copy_(tn.tensor(np.float32([[3, 4]])))
    x = tn.randn(5, 2)
    loss = spectral_gan.penalty(critic, x, x + 1, np.random.default_rng(0))
    loss.backward()
    np.testing.assert_allclose(loss.item(), 16, rtol=1e-5)
    np.testing.assert_allclose(critic.weight.grad.numpy(), [[4.8, 6.4]], rtol=1e-5)


def test_each_discriminator_is_trained_as_it_says(monkeypatch):
    """Clipped weights end within the clip; the other ones do not."""
    made = []
    make = spectral_gan.make_mlp
    monkeypatch.setattr(spectral_gan, "make_mlp", lambda *args: made.append(make(*args)) or made[-1])
    for kind in QUALITY:
        assert spectral_gan.train(0, kind, 1e-2, 0.5, 0.9, 3).shape == (3, 2)
        largest = max(abs(p.detach().numpy()).max() for p in made[-1].parameters())
        assert (largest <= spectral_gan.CLIP + 1e-6) == (kind == spectral_gan.CLIPPED)
        assert hasattr(made[-1][0], "parametrizations") == (kind == spectral_gan.SPECTRAL)
