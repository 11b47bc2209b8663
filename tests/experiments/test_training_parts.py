"""What experiments with small trainings share: the digits' parts, batches, a training and its test."""

import itertools

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.backends.random import manual_seed
from tinygrad_norm.data import Split
from tinygrad_norm.experiments.training_parts import convolutions, evaluate, few_digits, fit, shuffled


def test_the_digits_are_shared_out_and_scaled_by_those_for_training():
    pytest.importorskip("sklearn")
    train, validation, test = few_digits(3, 100)
    assert [len(train), len(validation), len(test)] == [100, 270, 1797 - 370]
    assert abs(train.images.mean()) < 1e-5
    assert train.images.std() == pytest.approx(1, abs=1e-5)
    everything = np.concatenate([part.images.reshape(-1, 64) for part in (train, validation, test)])
    assert len(np.unique(everything, axis=0)) == 1797


def test_noise_is_added_to_what_is_judged_and_depends_on_the_seed_only():
    pytest.importorskip("sklearn")
    clean, noisy, again = few_digits(3, 100), few_digits(3, 100, 0.5), few_digits(3, 100, 0.5)
    assert (clean[0].images == noisy[0].images).all()
    for k in (1, 2):
        assert (noisy[k].images - clean[k].images).std() == pytest.approx(0.5, abs=0.01)
        assert (noisy[k].images == again[k].images).all()


def make_split(samples=7):
    images = np.arange(samples, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    return Split(images, np.arange(samples) % 10)


def test_an_epoch_has_each_sample_once_but_for_an_incomplete_batch():
    batches = [batch for (batch,) in itertools.islice(shuffled(np.random.default_rng(0), make_split(), 3), 4)]
    for epoch in (batches[:2], batches[2:]):
        labels = np.concatenate([labels for _, labels in epoch])
        assert len(set(labels)) == 6
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in batches)


def test_noise_is_new_in_each_step():
    (one,), (two,) = itertools.islice(shuffled(np.random.default_rng(0), make_split(3), 3, 0.5), 2)
    drawn = [images - labels[:, None, None, None] for images, labels in (one, two)]
    assert all(0.4 < noise.std() < 0.6 for noise in drawn)
    assert abs(drawn[0] - drawn[1]).min() > 0


def test_a_batch_larger_than_the_samples_is_refused():
    with pytest.raises(ValueError, match="a batch of 8 needs as many samples, got 7"):
        next(shuffled(np.random.default_rng(0), make_split(), 8))


def test_a_training_lowers_the_loss_and_the_error():
    manual_seed(0)
    split = make_split()
    model = convolutions(nn.BatchNorm2d, ((4, 1), (8, 2)))
    before = evaluate(model, split)
    losses = fit(model, shuffled(np.random.default_rng(0), split, 7), 60, 0.1)
    after = evaluate(model, split)
    assert losses.shape == (60,)
    assert losses[-1] < losses[0] / 2
    assert after < before
    assert not model.training


def test_the_batches_of_a_step_are_averaged():
    split = make_split(8)
    found = []
    for parts in (1, 2):
        manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        images, labels = np.split(split.images, parts), np.split(split.labels, parts)
        losses = fit(model, itertools.repeat(list(zip(images, labels, strict=True))), 3, 1e-3)
        found.append((losses, model[1].weight.numpy()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_a_training_that_diverges_ends():
    manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with np.errstate(all="ignore"):
        losses = fit(model, shuffled(np.random.default_rng(0), make_split(), 7), 30, 1e38)
    assert np.isfinite(losses[0])
    assert not np.isfinite(losses[-1])
