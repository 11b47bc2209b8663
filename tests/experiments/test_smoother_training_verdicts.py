"""The rules about BatchNorm in training go both ways, and what they are fed is measured rightly."""

import numpy as np
import pytest
from changed_figures import verdict

import tinygrad_norm as tn
from tinygrad_norm import experiments, nn
from tinygrad_norm.experiments.statistical import (
    input_scaling,
    noisy_batchnorm,
    rates_and_initialization,
    small_vgg,
    smoothness,
)

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
RANGE, CHANGE, BETA = smoothness.MEASURES
SMOOTH = {
    "BatchNorm": {"loss": 0.01, RANGE: [0.1, 0.1], CHANGE: [1.0, 1.0], BETA: [5.0, 5.0]},
    "no normalization": {"loss": 0.1, RANGE: [1.0, 1.0], CHANGE: [3.0, 3.0], BETA: [9.0, 9.0]},
}
NOISE = {
    noisy_batchnorm.NORM: {"loss": 0.1, "drift": 0.01},
    noisy_batchnorm.NOISY: {"loss": 0.12, "drift": 0.4},
    noisy_batchnorm.PLAIN: {"loss": 0.5, "drift": 0.1},
}
GRID = {"rates": [0.1, 1.0, 10.0], "scales": [0.5, 1, 2]}
ONE = [[0.1, 0.1, 0.1], [0.95, 0.3, 0.1], [0.1, 0.1, 0.1]]
MANY = [[0.5, 0.95, 0.1], [0.95, 0.95, 0.1], [0.9, 0.95, 0.1]]
CARE = {"BatchNorm": {"accuracies": MANY, **GRID}, "no normalization": {"accuracies": ONE, **GRID}}
INPUTS = {
    input_scaling.RAW: {"κ": 1e8, "steps": np.inf, "limit": 1000},
    input_scaling.STANDARD: {"κ": 1.5, "steps": 3},
    input_scaling.NORM: {"κ": 1.5, "steps": 3},
    input_scaling.CONTROL: {"κ": 1.5, "steps": 3},
}
LOW = [[0.95, 0.1, 0.1], [0.95, 0.1, 0.1], [0.95, 0.1, 0.1]]


@pytest.mark.parametrize(
    ("name", "figures", "changes", "state"),
    [
        ("smoother-loss", SMOOTH, {}, HOLDS),
        ("smoother-loss", SMOOTH, {("BatchNorm", BETA): [10.0, 9.0]}, FAILS),
        ("smoother-loss", SMOOTH, {("BatchNorm", RANGE, 1): [2.0, 2.0]}, UNKNOWN),
        ("smoother-loss", SMOOTH, {("no normalization", "loss"): 2.3}, UNKNOWN),
        ("smoother-loss", SMOOTH, {("no normalization", "loss"): np.inf}, UNKNOWN),
        ("noisy-batchnorm", NOISE, {}, HOLDS),
        ("noisy-batchnorm", NOISE, {(noisy_batchnorm.NOISY, "loss"): 0.3}, FAILS),
        ("noisy-batchnorm", NOISE, {(noisy_batchnorm.NOISY, "drift"): 0.05}, FAILS),
        ("noisy-batchnorm", NOISE, {(noisy_batchnorm.NOISY, "loss", 1): 0.3}, UNKNOWN),
        ("noisy-batchnorm", NOISE, {(noisy_batchnorm.PLAIN, "loss"): 0.11}, UNKNOWN),
        ("rates-and-initialization", CARE, {}, HOLDS),
        ("rates-and-initialization", CARE, {("BatchNorm", "accuracies"): LOW}, FAILS),
        ("rates-and-initialization", CARE, {("no normalization", "accuracies"): LOW}, FAILS),
        ("rates-and-initialization", CARE, {("BatchNorm", "accuracies", 2): LOW}, UNKNOWN),
        ("rates-and-initialization", CARE, {("BatchNorm", "accuracies"): np.zeros((3, 3))}, UNKNOWN),
        ("input-scaling", INPUTS, {}, HOLDS),
        ("input-scaling", INPUTS, {(input_scaling.NORM, "steps"): np.inf}, FAILS),
        ("input-scaling", INPUTS, {(input_scaling.STANDARD, "steps"): 200}, FAILS),
        ("input-scaling", INPUTS, {(input_scaling.STANDARD, "κ"): 1e7}, FAILS),
        ("input-scaling", INPUTS, {(input_scaling.STANDARD, "steps", 0): 200}, UNKNOWN),
        ("input-scaling", INPUTS, {(input_scaling.CONTROL, "steps"): 200}, UNKNOWN),
    ],
)
def test_a_wrong_figure_changes_the_verdict(name, figures, changes, state):
    assert verdict(name, figures, changes).state == state


def test_along_the_gradient_of_a_quadratic(monkeypatch):
    """L = λ·w²/2 has g = λ·w and β = λ; the parameters and their gradients are left as they were."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    monkeypatch.setattr(smoothness, "loss_of", lambda model, batch: 1.5 * (model.weight**2).sum())
    smoothness.loss_of(model, None).backward()
    found = smoothness.along_the_gradient(model, None)
    loss = 6 * (1 - 3 * smoothness.LENGTHS) ** 2
    np.testing.assert_allclose(found, (np.ptp(loss), 0.4 * 3 * 6, 3), rtol=1e-5)
    assert (model.weight.item(), model.weight.grad.item()) == (2, 6)


def test_ratios_at_equal_losses_know_a_power_law():
    """Twice a power law of the loss, and fewer losses: the ratio is 2."""
    losses = np.geomspace(0.1, 2, 9)
    plain, norm = ({"losses": x, BETA: f * x**1.5} for x, f in ((losses, 1), (losses[::3], 2)))
    results = experiments.Results({smoothness.PLAIN: {0: plain}, smoothness.NORM: {0: norm}})
    np.testing.assert_allclose(smoothness.ratios_at_equal_losses(results, BETA), [2])


def test_the_small_vgg_has_a_norm_before_each_relu():
    pytest.importorskip("sklearn")
    tn.manual_seed(0)
    images, labels = next(small_vgg.batches(small_vgg.load_digits().train, np.random.default_rng(0)))
    np.testing.assert_allclose(small_vgg.load_digits().train.images.mean(), 0, atol=0.01)
    for make_norm in (None, nn.BatchNorm2d):
        model = small_vgg.make_vgg(make_norm)
        kinds = [type(layer).__name__ for layer in model]
        assert kinds.count("BatchNorm2d") == (6 if make_norm else 0)
        assert all(
            kinds[i - 1] == "BatchNorm2d" for i, kind in enumerate(kinds) if kind == "ReLU" and make_norm
        )
        assert model(images).shape == (len(labels), 10)


def test_spread_of_a_training_that_diverged():
    assert experiments.spread([0.1, np.inf, 0.2]) == "inf"
    assert experiments.spread([0.0, 0.0]) == "0"


def test_noisy_batchnorm_shifts_and_scales_each_channel_anew():
    """One shift and scale of each channel for each step in training; BatchNorm itself in evaluation."""
    tn.manual_seed(0)
    norm, x = noisy_batchnorm.NoisyBatchNorm2d(3), tn.randn(64, 3, 8, 8)
    plain = nn.BatchNorm2d(3)
    first, second = (norm(x).detach().numpy() for _ in range(2))
    normalized = plain(x).detach().numpy()
    for y in (first, second):
        shifts, scales = zip(
            *(np.polyfit(normalized[:, c].ravel(), y[:, c].ravel(), 1)[::-1] for c in range(3)), strict=True
        )
        assert 0.01 < np.abs(shifts).max() < 0.5
        assert len(set(np.round(shifts, 2))) == 3
        assert all(0.98 < scale < 1.27 for scale in scales)
    assert abs(first.mean((0, 2, 3)) - second.mean((0, 2, 3))).min() > 1e-3
    norm.load_state_dict(plain.state_dict())
    np.testing.assert_array_equal(norm.eval()(x).numpy(), plain.eval()(x).numpy())


def test_drift_is_told_in_deviations():
    before = [(np.array([0.0, 1.0]), np.array([2.0, 1.0]))]
    after = [(np.array([1.0, 1.0]), np.array([2.0, np.e]))]
    np.testing.assert_allclose(noisy_batchnorm.drift(before, after), (0.25, 0.5))


def test_what_trains_is_read_from_the_grid():
    results = experiments.Results({name: {0: CARE[name]} for name in CARE})
    for name, rate, scales in (("BatchNorm", 1, 3), ("no normalization", 0.1, 1)):
        assert rates_and_initialization.highest_rate(results, name) == [rate]
        assert rates_and_initialization.most_scales(results, name) == [scales]


def test_the_scale_multiplies_the_output_without_norms_only():
    x = tn.randn(32, 1, 8, 8)
    for normalized, power in ((False, 7), (True, 1)):
        found = []
        for scale in (1.0, 2.0):
            tn.manual_seed(0)
            found.append(rates_and_initialization.make_mlp(normalized, scale)(x).detach().numpy())
        np.testing.assert_allclose(found[1], found[0] * 2**power, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "how", [input_scaling.SCALED, input_scaling.STANDARD], ids=["scaled", "standardized"]
)
def test_gradient_descent_takes_the_steps_of_the_formula(how):
    found = input_scaling.measure(3, how, 0.9, 2000, large=10.0, mean=0.5)
    assert found["steps"] == found["formula"]
    assert 1 < found["steps"] < 1000


def test_a_share_above_the_limit_diverges():
    found = input_scaling.measure(3, input_scaling.RAW, 1.02, 2000)
    assert found["formula"] == found["steps"] == np.inf
    assert found["score"] > 1e6


def test_the_condition_number_is_that_of_the_features():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2)) * (1, 1000)
    eigenvalues, _ = input_scaling.eigen(X)
    np.testing.assert_allclose(eigenvalues, (2, 2, 2e6), rtol=0.1)
    eigenvalues, _ = input_scaling.eigen(input_scaling.prepared(X + 5, input_scaling.STANDARD))
    np.testing.assert_allclose(eigenvalues, 2, rtol=0.1)
