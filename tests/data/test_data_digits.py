"""The digits and their split, `load`, and Dataset."""

import hashlib
import sys

import numpy
import pytest

from tinygrad_norm.data import ImageScaler, MinMaxScaler, Split, StandardScaler, load, load_digits


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return load_digits()


def test_sizes_shapes_and_types(digits):
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [1257, 270, 270]
    assert (digits.name, digits.classes, digits.max_value) == ("digits", tuple("0123456789"), 16)
    for part in (digits.train, digits.validation, digits.test):
        assert part.images.shape == (len(part), 1, 8, 8)
        assert part.images.dtype == numpy.float32
        assert part.images.max() == 16
        assert part.labels.shape == (len(part),)
        assert part.labels.dtype == numpy.int64


def test_every_class_has_its_share_of_every_part(digits):
    counts = [
        numpy.bincount(part.labels, minlength=10) for part in (digits.train, digits.validation, digits.test)
    ]
    total = sum(counts)
    for part in counts:
        assert numpy.abs(part - total * part.sum() / 1797).max() < 1.5


def test_the_parts_are_the_whole_with_its_labels(digits):
    from sklearn.datasets import load_digits as original

    whole = original()
    images = numpy.concatenate([p.images for p in (digits.train, digits.validation, digits.test)])
    labels = numpy.concatenate([p.labels for p in (digits.train, digits.validation, digits.test)])
    ours = sorted((image.tobytes(), label) for image, label in zip(images, labels, strict=True))
    expected = whole.images.astype(numpy.float32)
    theirs = sorted((image.tobytes(), label) for image, label in zip(expected, whole.target, strict=True))
    assert ours == theirs


def test_the_split_is_fixed_whatever_the_global_generator(digits):
    numpy.random.seed(123)  # noqa: NPY002
    assert (load_digits().test.images == digits.test.images).all()
    fingerprint = hashlib.sha256(digits.test.images.astype("<f4").tobytes()).hexdigest()[:16]
    assert fingerprint == "ed89178727b18890"
    assert (load_digits(seed=1).test.images != digits.test.images).any()


@pytest.mark.parametrize("seed", [None, "a", 1.5])
def test_a_seed_that_is_not_an_integer_raises(seed):
    for call in (load_digits, lambda seed: load("digits", seed=seed)):
        with pytest.raises(TypeError, match=f"seed must be an int, got {seed!r}"):
            call(seed)


def test_a_name_that_is_not_text_is_unknown():
    with pytest.raises(ValueError, match="unknown dataset '3'"):
        load(3)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(RuntimeError, match=r"pip install 'tinygrad_norm\[data\]'"):
        load_digits()


def test_load_finds_datasets_by_name(digits):
    assert (load("digits").train.images == digits.train.images).all()
    assert (load("digits", seed=3).train.labels == load_digits(3).train.labels).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("mnist",), "unknown dataset 'mnist': choose one of digits, idx"),
        (("idx",), "folder=..."),
        (("digits", "/data"), "not read from a folder: to read /data, use 'idx'"),
        (("idx", "/no/such/folder"), "/no/such/folder is not a folder"),
    ],
)
def test_load_says_what_is_wrong(arguments, match):
    with pytest.raises(ValueError, match=match):
        load(*arguments)


def test_scaling_is_fitted_on_the_training_part_alone(digits):
    scaled = digits.scaled(StandardScaler())
    train = digits.train.images.astype(numpy.float64)
    mean, std = train.mean(0), train.std(0)
    std[std == 0] = 1
    for name in ("train", "validation", "test"):
        part, result = getattr(digits, name), getattr(scaled, name)
        assert numpy.allclose(result.images, (part.images - mean) / std, rtol=1e-5, atol=1e-6)
        assert (result.labels == part.labels).all()
    assert scaled.test.images.dtype == numpy.float32
    assert (scaled.name, scaled.classes) == ("digits", digits.classes)


def test_scaling_leaves_the_original_alone(digits):
    before = digits.train.images.copy()
    for scaler in (MinMaxScaler(), ImageScaler(max_value=digits.max_value)):
        scaled = digits.scaled(scaler)
        assert (scaled.train.images.min(), scaled.train.images.max()) == (0, 1)
        assert (digits.train.images == before).all()


def test_printed_they_are_a_line(digits):
    line = "1257 training images 1×8×8 of digits, 10 classes (270 validation, 270 test)"
    assert (digits.describe(), repr(digits)) == (line, f"<Dataset: {line}>")
    assert repr(digits.test) == "<Split of 270 images 1×8×8, float32>"


def test_every_image_needs_a_label():
    with pytest.raises(ValueError, match="3 inputs with 2 targets"):
        Split(numpy.zeros((3, 1, 2, 2)), numpy.zeros(2))
