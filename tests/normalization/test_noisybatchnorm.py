"""Noisy batch normalization: another scale and shift in every training step, none in evaluation."""

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn

X = tn.tensor(np.random.default_rng(0).normal(2.0, 3.0, (64, 200)).astype("float32"))


def test_scale_and_shift_are_drawn_per_channel_and_step_within_their_ranges():
    tn.manual_seed(0)
    layer = nn.NoisyBatchNorm1d(200)
    steps = [layer(X).numpy() for _ in range(2)]
    for y in steps:
        shift, scale = y.mean(0), y.std(0)
        assert abs(shift).max() <= 0.5
        assert 0.9 < scale.min() < 1.02
        assert 1.22 < scale.max() <= 1.25
        assert shift.std() > 0.2
    assert abs(steps[0] - steps[1]).max() > 0.5


def test_a_seed_repeats_them_and_evaluation_has_none():
    layer, plain = nn.NoisyBatchNorm1d(200), nn.BatchNorm1d(200)
    plain(X)
    results = []
    for _ in range(2):
        tn.manual_seed(7)
        results.append(layer(X).numpy())
    np.testing.assert_array_equal(*results)
    layer.load_state_dict(plain.state_dict())
    np.testing.assert_array_equal(layer.eval()(X).numpy(), plain.eval()(X).numpy())


def test_without_ranges_it_is_batch_normalization():
    layer = nn.NoisyBatchNorm1d(200, mean_range=0.0, scale_range=1.0)
    np.testing.assert_allclose(layer(X).numpy(), nn.BatchNorm1d(200)(X).numpy(), 1e-6)
