"""The rules of the experiments with transformers and text: each verdict is reached."""

import copy

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments.statistical import warm_up

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
RATES = {0.001: 3.0, 0.01: 2.5, 0.1: 2.9}
WARM = {
    warm_up.POST: {"loss": 3.2, "of frequencies": 3.3},
    warm_up.POST_WARM: {"loss": 2.8, "of frequencies": 3.3},
    warm_up.PRE: {"loss": 2.4, "of frequencies": 3.3},
    warm_up.PRE_WARM: {"loss": 2.39, "of frequencies": 3.3},
}
RMS = {
    "LayerNorm": {"loss": 2.4},
    "RMSNorm": {"loss": 2.41, "saved": 0.1},
    "no norm": {"loss": 2.6},
}
"""For each experiment, figures with which it holds; {(setting, figure[, seed]): value} changes them."""


@pytest.mark.parametrize(
    ("name", "figures", "changes", "state"),
    [
        ("warm-up-for-post-ln", WARM, {}, HOLDS),
        ("warm-up-for-post-ln", WARM, {(warm_up.POST, "loss"): 2.81}, FAILS),
        ("warm-up-for-post-ln", WARM, {(warm_up.PRE, "loss"): 2.6}, FAILS),
        ("warm-up-for-post-ln", WARM, {(warm_up.POST, "loss", 1): 2.6}, UNKNOWN),
        ("warm-up-for-post-ln", WARM, {(warm_up.PRE, "loss", 1): 2.7}, UNKNOWN),
        ("warm-up-for-post-ln", WARM, {(warm_up.PRE_WARM, "loss", 1): 3.25}, UNKNOWN),
        ("rms-norm-against-layer-norm", RMS, {}, HOLDS),
        ("rms-norm-against-layer-norm", RMS, {("RMSNorm", "loss"): 2.5}, FAILS),
        ("rms-norm-against-layer-norm", RMS, {("RMSNorm", "saved"): 0.05}, FAILS),
        ("rms-norm-against-layer-norm", RMS, {("RMSNorm", "saved", 1): 0.03}, UNKNOWN),
        ("rms-norm-against-layer-norm", RMS, {("no norm", "loss"): 2.4}, UNKNOWN),
    ],
)
def test_each_verdict_is_reached(name, figures, changes, state):
    assert verdict_of(name, figures, changes).state == state


def verdict_of(name, figures, changes, chosen=0.01):
    found = {setting: {seed: copy.deepcopy(figures[setting]) for seed in range(3)} for setting in figures}
    for (setting, figure, *seed), value in changes.items():
        for of_seed in [found[setting][seed[0]]] if seed else found[setting].values():
            of_seed[figure] = value
    results = experiments.Results(found, dict.fromkeys(found, RATES), dict.fromkeys(found, chosen))
    verdict = experiments.find(name).verdict(results)
    assert verdict.reason
    return verdict


def test_a_smaller_learning_rate_could_have_done_without_a_warm_up():
    verdict = verdict_of("warm-up-for-post-ln", WARM, {}, chosen=0.001)
    assert (verdict.state, verdict.reason[-41:]) == (UNKNOWN, "still smaller learning rate was not tried")
