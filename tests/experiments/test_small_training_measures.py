"""What experiments on small trainings measure: the batches they draw, and settings that must agree."""

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.backends.random import manual_seed
from tinygrad_norm.data import Split
from tinygrad_norm.experiments.statistical import (
    deviation_norms,
    ghost_batches,
    own_statistics,
    small_batches,
    sorted_batches,
)
from tinygrad_norm.experiments.training_parts import convolutions, evaluate, few_digits, fit, shuffled


@pytest.mark.parametrize(("classes", "batches"), [(1, 10), (2, 5), (0, 10)])
def test_sorted_batches_have_so_many_classes_and_each_step_all(classes, batches):
    labels = np.repeat(np.arange(10), 20)
    split = Split(labels[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32), labels)
    step = next(sorted_batches.draw_steps(np.random.default_rng(0), split, classes, 0.0))
    assert len(step) == batches
    drawn = [len(set(labels)) for _, labels in step]
    assert min(drawn) > 2 if not classes else set(drawn) == {classes}
    assert (np.bincount(np.concatenate([labels for _, labels in step])) == 16).all()
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in step)


def test_noise_of_sorted_batches_differs_from_image_to_image():
    labels = np.repeat(np.arange(10), 20)
    split = Split(np.zeros((200, 1, 8, 8), np.float32), labels)
    step = next(sorted_batches.draw_steps(np.random.default_rng(0), split, 1, 0.5))
    drawn = np.concatenate([images for images, _ in step])
    assert drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(0.5, abs=0.02)
    assert len(np.unique(drawn)) > 0.99 * drawn.size


def trained(norm, layers, train, noise, batch, steps, lr):
    """Return the validation loss and the test error of a plain training."""
    manual_seed(0)
    split, validation, test = few_digits(0, train, noise)
    model = convolutions(norm, layers)
    fit(model, shuffled(np.random.default_rng(0), split, batch, noise), steps, lr)
    return evaluate(model, validation)[0], evaluate(model, test)[1]


def test_the_l2_norm_is_batchnorm():
    pytest.importorskip("sklearn")
    found = deviation_norms.measure(0, p=2.0, lr=0.1, steps=4, noise=0.5, train=64)
    expected = trained(nn.BatchNorm2d, deviation_norms.LAYERS, 64, 0.5, 32, 4, 0.1)
    np.testing.assert_allclose((found["validation"], found["error"]), expected, rtol=1e-4)


def test_weighing_starts_from_batchnorm_with_the_learning_rate_of_the_batch():
    pytest.importorskip("sklearn")
    found = own_statistics.measure(0, batch=16, lr=0.1, images=64, noise=0.5, train=64)
    expected = trained(nn.BatchNorm2d, own_statistics.LAYERS, 64, 0.5, 16, 4, 0.05)
    np.testing.assert_allclose((found["validation"], found["errors"][0]), expected, rtol=1e-4)
    assert found["gain"] == found["errors"][0] - found["errors"][own_statistics.ALPHAS.index(found["alpha"])]


def test_small_batches_get_a_learning_rate_in_proportion():
    pytest.importorskip("sklearn")
    sizes = {"batches": (32, 8), "images": 32, "noise": 0.5, "train": 64}
    found = small_batches.measure(0, norm="BatchNorm", lr=0.1, **sizes)
    for k, (batch, lr) in enumerate(((32, 0.1), (8, 0.025))):
        expected = trained(nn.BatchNorm2d, small_batches.LAYERS, 64, 0.5, batch, 32 // batch, lr)
        assert found["errors"][k] == pytest.approx(expected[1])


def test_ghosts_as_large_as_the_batch_are_none():
    pytest.importorskip("sklearn")
    sizes = {"lr": 0.1, "epochs": 2, "noise": 0.0, "train": 64}
    found = ghost_batches.measure(0, batch=32, ghost=32, **sizes)
    smaller = ghost_batches.measure(0, batch=32, ghost=8, **sizes)
    expected = trained(nn.BatchNorm2d, ghost_batches.LAYERS, 64, 0.0, 32, 4, 0.1)
    assert found["test error"] == expected[1]
    assert smaller["validation loss"] != pytest.approx(found["validation loss"], rel=1e-3)
