"""The toy sets, and what each is for."""

import numpy
import pytest

from tinygrad_norm.data import SOURCES, load, load_toy
from tinygrad_norm.data.toys import TOYS


def whole(dataset):
    return tuple(
        numpy.concatenate([getattr(part, name) for part in dataset.parts.values()])
        for name in ("inputs", "targets")
    )


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_set_is_a_dataset_that_depends_only_on_its_seed(name):
    numpy.random.seed(123)  # noqa: NPY002
    dataset, again, other = load(name), load_toy(name), load(name, seed=1)
    assert name in SOURCES
    assert dataset.name == name
    assert len(whole(dataset)[0]) == 1000
    assert dataset.train.inputs.dtype == numpy.float32
    for part in ("train", "validation", "test"):
        assert (getattr(dataset, part).inputs == getattr(again, part).inputs).all()
    assert (dataset.train.inputs != other.train.inputs).any()


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_parts_are_alike(name, seed):
    dataset = load(name, seed=seed)
    scale = dataset.train.inputs.std(0)
    for part in (dataset.validation, dataset.test):
        assert (numpy.abs(part.inputs.mean(0) - dataset.train.inputs.mean(0)) < 0.3 * scale).all()
        assert (numpy.abs(part.inputs.std(0) - scale) < 0.15 * scale).all()


def test_the_numbers_are_these_on_every_machine():
    assert load("spirals").test.inputs[0].tolist() == pytest.approx([-0.2808, -0.7109])
    assert load("sine").test.targets[0] == pytest.approx(0.8103)


def test_no_line_separates_the_spirals():
    x, y = whole(load("spirals"))
    design = numpy.column_stack([x, numpy.ones(len(x))])
    fit = numpy.linalg.lstsq(design, 2.0 * y - 1, rcond=None)[0]
    assert ((design @ fit > 0) == y).mean() < 0.75
    nearest = ((x[:, None] - x) ** 2).sum(2)
    numpy.fill_diagonal(nearest, numpy.inf)
    assert (y[nearest.argmin(1)] == y).mean() > 0.97


def test_the_features_of_the_blobs_differ_a_thousandfold():
    x, y = whole(load("blobs"))
    assert 700 < x[:, 1].std() / x[:, 0].std() < 1400
    assert numpy.bincount(y).tolist() == [334, 333, 333]


def test_features_are_counted():
    line = "700 training samples of 2 features of moons, 2 classes (150 validation, 150 test)"
    assert load("moons").describe() == line
    assert repr(load("sine").test) == "<Split of 150 samples of 1 feature, float32>"
    assert ", 1 target value (" in load("sine").describe()


def test_the_sine_is_a_sine():
    x, y = whole(load("sine"))
    residue = y - numpy.sin(x[:, 0])
    assert x.shape == (1000, 1)
    assert abs(residue.mean()) < 0.02
    assert 0.08 < residue.std() < 0.12
