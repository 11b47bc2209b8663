"""The rules of the experiments with transformers and text: each verdict is reached."""

import pytest
from changed_figures import verdict

from tinygrad_norm import experiments
from tinygrad_norm.experiments.statistical import batch_norm_lstm, batch_statistics, ngpt_steps, warm_up

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
GAMMA = {
    batch_norm_lstm.SMALL: {"left": 0.5, "accuracy": 0.9},
    batch_norm_lstm.LARGE: {"left": 0.001, "accuracy": 0.6},
}
POWER = {
    batch_statistics.IMAGES: {"mean": 0.1, "variance": 0.1, "accuracy": 0.95},
    batch_statistics.BATCH: {"mean": 0.5, "variance": 0.5, "loss": 3.2},
    batch_statistics.POWER: {"loss": 2.9},
    batch_statistics.LAYER: {"loss": 3.0, "of frequencies": 3.7},
}
NGPT = {
    ngpt_steps.GPT: {"loss": 2.2, "of frequencies": 3.1},
    ngpt_steps.WHOLE: {"loss": 1.8},
    ngpt_steps.HALF: {"loss": 2.0},
    ngpt_steps.FOURTH: {"loss": 2.15},
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
        ("batch-norm-lstm-gamma", GAMMA, {}, HOLDS),
        ("batch-norm-lstm-gamma", GAMMA, {(batch_norm_lstm.LARGE, "left"): 0.3}, FAILS),
        ("batch-norm-lstm-gamma", GAMMA, {(batch_norm_lstm.LARGE, "accuracy"): 0.91}, FAILS),
        ("batch-norm-lstm-gamma", GAMMA, {(batch_norm_lstm.LARGE, "left", 1): 0.5}, UNKNOWN),
        ("batch-norm-lstm-gamma", GAMMA, {(batch_norm_lstm.SMALL, "accuracy"): 0.2}, UNKNOWN),
        ("batch-statistics-of-text", POWER, {}, HOLDS),
        ("batch-statistics-of-text", POWER, {(batch_statistics.BATCH, "mean"): 0.15}, FAILS),
        ("batch-statistics-of-text", POWER, {(batch_statistics.IMAGES, "variance"): 0.4}, FAILS),
        ("batch-statistics-of-text", POWER, {(batch_statistics.POWER, "loss"): 3.2}, FAILS),
        ("batch-statistics-of-text", POWER, {(batch_statistics.POWER, "loss", 1): 3.3}, UNKNOWN),
        ("batch-statistics-of-text", POWER, {(batch_statistics.IMAGES, "accuracy", 1): 0.5}, UNKNOWN),
        ("batch-statistics-of-text", POWER, {(batch_statistics.LAYER, "loss", 1): 3.8}, UNKNOWN),
        ("ngpt-steps", NGPT, {}, HOLDS),
        ("ngpt-steps", NGPT, {(ngpt_steps.FOURTH, "loss"): 2.3}, FAILS),
        ("ngpt-steps", NGPT, {(ngpt_steps.FOURTH, "loss", 1): 2.3}, UNKNOWN),
        ("ngpt-steps", NGPT, {(ngpt_steps.GPT, "of frequencies"): 2.4}, UNKNOWN),
    ],
)
def test_each_verdict_is_reached(name, figures, changes, state):
    assert verdict_of(name, figures, changes).state == state


def verdict_of(name, figures, changes, chosen=0.01):
    return verdict(name, figures, changes, tried=RATES, chosen=chosen)


def test_a_smaller_learning_rate_could_have_done_without_a_warm_up():
    found = verdict_of("warm-up-for-post-ln", WARM, {}, chosen=0.001)
    assert (found.state, found.reason[-41:]) == (UNKNOWN, "still smaller learning rate was not tried")


def test_a_baseline_that_is_not_tuned_decides_nothing():
    found = verdict_of("ngpt-steps", NGPT, {}, chosen=0.1)
    assert (found.state, "an end of the range" in found.reason) == (UNKNOWN, True)


@pytest.mark.parametrize(
    ("loss", "factor"), [(2.5, 4.0), (2.1, 8**0.5), (1.9, 2**0.5), (1.7, 1.0)], ids=["4", "2.8", "1.4", "1"]
)
def test_the_steps_that_are_saved_are_interpolated(loss, factor):
    losses = {"GPT": loss, "nGPT": 1.8, "nGPT, half the steps": 2.0, "nGPT, a fourth": 2.2}
    results = experiments.Results({name: {0: {"loss": value}} for name, value in losses.items()})
    assert ngpt_steps.speed_ups(results) == pytest.approx([factor])
