"""Datasets from arrays: splits, classes, target values, axes of images, and what is wrong with an array."""

from itertools import chain

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm.data import from_arrays


def features(n=100, d=3):
    return numpy.arange(n * d, dtype=numpy.float32).reshape(n, d)


def indices(dataset, d=3):
    """The indices of the samples of `features` in each part."""
    return [(part.inputs[:, 0] / d).astype(int).tolist() for part in dataset.parts.values()]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("counts", [(50, 50), (60, 40), (3, 3, 3), (200, 20, 3), (7, 11, 13, 17)])
def test_every_part_holds_its_share_of_every_class(counts, seed):
    labels = numpy.repeat(numpy.arange(len(counts)), counts)
    dataset = from_arrays(features(len(labels)), labels, seed=seed)
    parts = indices(dataset)
    assert sorted(chain(*parts)) == list(range(len(labels)))
    for part in (dataset.validation, dataset.test):
        for count, found in zip(counts, numpy.bincount(part.labels, minlength=len(counts)), strict=True):
            assert found >= 1
            assert abs(found - max(1, 0.15 * count)) <= 0.5
    for part, chosen in zip(dataset.parts.values(), parts, strict=True):
        assert (part.labels == labels[chosen]).all()
    assert indices(from_arrays(features(len(labels)), labels, seed=seed)) == parts
    if sum(counts) > 30:
        assert indices(from_arrays(features(len(labels)), labels, seed=seed + 1)) != parts


def test_regression_is_split_by_seed():
    y = numpy.linspace(0, 1, 100)
    dataset = from_arrays(features(), y)
    assert (dataset.task, dataset.classes, dataset.outputs) == ("regression", None, 1)
    assert [len(part) for part in dataset.parts.values()] == [70, 15, 15]
    assert sorted(chain(*indices(dataset))) == list(range(100))
    assert (dataset.test.targets == y[indices(dataset)[2]]).all()
    assert indices(dataset) != indices(from_arrays(features(), y, seed=1))
    assert [len(part) for part in from_arrays(features(3), numpy.zeros(3)).parts.values()] == [1, 1, 1]
    assert from_arrays(features(), numpy.zeros((100, 2))).outputs == 2


@pytest.mark.parametrize(
    ("targets", "classes", "names"),
    [
        ([0, 1] * 5, None, ("0", "1")),
        ([[0], [1]] * 5, None, ("0", "1")),
        ([True, False] * 5, None, ("False", "True")),
        (["dog", "cat"] * 5, None, ("cat", "dog")),
        (["dog", "cat"] * 5, ["dog", "cat"], ("dog", "cat")),
        ([b"dog", b"cat"] * 5, None, ("cat", "dog")),
        (numpy.array(["dog", "cat"] * 5, object), None, ("cat", "dog")),
        (numpy.array(["dog", "cat"] * 5, numpy.dtypes.StringDType()), None, ("cat", "dog")),
        (numpy.array([0, 1] * 5, object), None, ("0", "1")),
        (numpy.array([0, 1] * 5, numpy.uint8), ["a", "b"], ("a", "b")),
        (tn.tensor([0, 1] * 5), None, ("0", "1")),
    ],
    ids=[
        "ints",
        "column",
        "bools",
        "strings",
        "ordered strings",
        "bytes",
        "objects",
        "StringDType",
        "int objects",
        "uint8",
        "tensor",
    ],
)
def test_classes_get_indices_and_names(targets, classes, names):
    dataset = from_arrays(features(10), targets, classes=classes)
    assert (dataset.task, dataset.classes) == ("classification", names)
    given = targets.numpy() if isinstance(targets, tn.Tensor) else numpy.asarray(targets).ravel()
    for part, chosen in zip(dataset.parts.values(), indices(dataset), strict=True):
        assert part.labels.dtype == numpy.int64
        for label, sample in zip(part.labels, chosen, strict=True):
            value = given[sample]
            expected = value.decode() if isinstance(value, bytes) else str(value)
            assert names[label] == expected or (classes and label == value)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("classes", [False, True])
def test_data_made_with_the_seed_of_the_split_are_shuffled_all_the_same(seed, classes):
    x = numpy.random.default_rng(seed).random((1000, 1))
    dataset = from_arrays(x, numpy.arange(1000) % 2 if classes else x[:, 0], seed=seed)
    for part in dataset.parts.values():
        assert abs(part.inputs.mean() - 0.5) < 0.06
        assert abs(part.inputs.std() - 0.289) < 0.03


def test_a_given_split_is_kept_and_missing_parts_are_cut_from_training():
    split = numpy.array(["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    y = numpy.arange(100) % 2
    assert indices(from_arrays(features(), y, split=split))[1:] == [
        list(range(60, 80)),
        list(range(80, 100)),
    ]
    assert indices(from_arrays(features(), y, split=split.astype("S")))[2] == list(range(80, 100))
    cut = from_arrays(features(), y, split=["train"] * 80 + ["test"] * 20)
    train, validation, test = indices(cut)
    assert test == list(range(80, 100))
    assert sorted(train + validation) == list(range(80))
    assert numpy.bincount(cut.validation.labels).tolist() == [6, 6]
    cut = from_arrays(features(), y.astype(float), split=["train"] * 80 + ["validation"] * 20)
    assert [len(part) for part in cut.parts.values()] == [68, 20, 12]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 5, 6), (1, 5, 6)),
        ((9, 1, 5, 6), (1, 5, 6)),
        ((9, 3, 5, 6), (3, 5, 6)),
        ((9, 5, 6, 3), (3, 5, 6)),
        ((9, 5, 6, 1), (1, 5, 6)),
        ((9, 5, 6, 4), (4, 5, 6)),
        ((9, 3, 3, 3), (3, 3, 3)),
        ((9, 8, 5, 6), (8, 5, 6)),
    ],
)
def test_the_axes_of_images_are_recognized(shape, expected):
    images = numpy.random.default_rng(0).integers(0, 256, shape).astype(numpy.uint8)
    dataset = from_arrays(images, [0, 1, 2] * 3)
    assert (dataset.shape, dataset.max_value) == (expected, 255)
    first = images[images.reshape(9, -1).tolist().index(_flat(dataset.test.images[0], shape, expected))]
    moved = len(shape) == 4 and shape[1:] != expected
    assert (dataset.test.images[0] == (first.transpose(2, 0, 1) if moved else first)).all()
    assert dataset.test.images.dtype == numpy.uint8
    assert dataset.train.images.flags.c_contiguous


def _flat(image, shape, expected):
    moved = len(shape) == 4 and shape[1:] != expected
    return (image.transpose(1, 2, 0) if moved else image).ravel().tolist()


@pytest.mark.parametrize(
    ("images", "given", "expected"),
    [
        (numpy.full((9, 2, 2), 7, numpy.uint8), None, 255),
        (numpy.full((9, 2, 2), 7, numpy.uint8), 15, 15),
        (numpy.full((9, 2, 2), 0.5), None, 1),
        (numpy.full((9, 2, 2), 7.0), None, None),
        (numpy.full((9, 2, 2), -0.5), None, None),
        (numpy.full((9, 2), 0.5), None, None),
        (numpy.full((9, 2), 7, numpy.uint8), None, None),
    ],
    ids=["bytes", "given", "in 0 … 1", "unknown", "negative", "features", "features of bytes"],
)
def test_the_value_of_white_is_known_for_bytes_and_for_images_in_0_to_1(images, given, expected):
    dataset = from_arrays(images, [0, 1, 2] * 3, max_value=given)
    assert dataset.max_value == expected
    if expected is not None:
        scaled = dataset.scaled(tn.data.ImageScaler(max_value=expected))
        assert (scaled.test.images == numpy.float32(images.flat[0] / expected)).all()


BAD = float("nan")


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "error", "match"),
    [
        (features(4), [0, 1, 0], {}, ValueError, "4 inputs with 3 targets"),
        (features(5), [0, 0, 0, 1, 1], {}, ValueError, "class '1' has 2 samples: at least 3 are required"),
        (features(4), ["a", "a", "a", "b"], {}, ValueError, "class 'b' has 1 sample: at least 3"),
        (
            features(4),
            ["a", "b"] * 2,
            {"split": ["train", "test", "test", "test"]},
            ValueError,
            "class 'a' has 1 sample: at least 2 are required, for training and validation",
        ),
        (
            features(4),
            ["a", "b"] * 2,
            {"split": ["train", "test", "val", "test"]},
            ValueError,
            "class 'b', in the training part, has no samples: at least 1 is required",
        ),
        (features(9), [0, 1, 3] * 3, {}, ValueError, "no sample has the label 2: labels are indices"),
        (features(9), [1, 2, 3] * 3, {}, ValueError, "no sample has the label 0: .*Subtract 1"),
        (features(9), [0, 1, 2] * 3, {"classes": "abcd"}, ValueError, "got the string 'abcd'"),
        (features(9), [0, 1, 2] * 3, {"classes": list("abcd")}, ValueError, r"has the label 3 \(d\)"),
        (features(9), [0, 1, 2] * 3, {"classes": list("ab")}, ValueError, "0 … 1, got 0 … 2"),
        (features(9), [0, 1, 2] * 3, {"classes": list("aba")}, ValueError, "must differ"),
        (features(9), ["a", "b", "c"] * 3, {"classes": list("ab")}, ValueError, "class 'c', which is not in"),
        (features(9), [True] * 9, {}, ValueError, r"no sample has the label 0 \(False\)"),
        (features(9), [0, 1, -1] * 3, {}, ValueError, "0 … K−1, got -1 … 1"),
        (features(9), [2**50, 1, 2] * 3, {}, ValueError, "more than there are samples"),
        (features(9), numpy.eye(9, dtype=int), {}, ValueError, r"one-hot rows, pass targets.argmax\(1\)"),
        (features(9), [0.0, 1.0, 2.0] * 3, {"classes": list("abc")}, ValueError, "classes are for class"),
        (features(9), [0.0, 1.0, BAD] * 3, {}, ValueError, r"targets have nan at index \(2,\)"),
        ([[1.0, BAD]] * 9, [0, 1, 2] * 3, {}, ValueError, r"inputs: the data has nan at index \(0, 1\)"),
        ([[1.0, 2.0], [1.0]], [0, 1], {}, ValueError, "inputs differ in length"),
        ([["a"]] * 9, [0, 1, 2] * 3, {}, TypeError, "inputs: expected an array of integers or of float"),
        (features(9), [[1, 2], [3]] * 4 + [[1, 2]], {}, ValueError, "targets differ in length"),
        (features(9), numpy.array(["a", 1, "b"] * 3, object), {}, TypeError, "got int and str"),
        (features(9), [None] * 9, {}, TypeError, "must all be of one type, got NoneType"),
        (features(9), ["a"] * 9, {}, ValueError, "the class 'a': at least two classes"),
        (features(9), [0] * 9, {}, ValueError, "the label 0: at least two classes"),
        (features(9), [0] * 9, {"classes": ["a"]}, ValueError, "two classes are needed, got a"),
        (numpy.ma.masked_equal(features(9), 5), [0, 1, 2] * 3, {}, ValueError, "inputs have masked values"),
        (features(9), numpy.ma.masked_equal([0, 1, 2] * 3, 2), {}, ValueError, "targets have masked values"),
        (features(9), [0, 1, 2] * 3, {"max_value": 255}, ValueError, "white pixel in images, .*got 255 for"),
        (numpy.zeros((9, 2, 2)), [0, 1, 2] * 3, {"max_value": -1}, ValueError, "at least 1 .*, got -1"),
        (numpy.zeros((9, 2, 2)), [0, 1, 2] * 3, {"max_value": "a"}, TypeError, "max_value must be a number"),
        (features(9), [1j] * 9, {}, TypeError, "targets must be integers or strings"),
        (numpy.arange(9), [0, 1, 2] * 3, {}, ValueError, r"single feature, pass x.reshape\(-1, 1\)"),
        (numpy.zeros((9, 0)), [0, 1, 2] * 3, {}, ValueError, r"not empty, got shape \(9, 0\)"),
        (numpy.zeros((0, 2)), [], {}, ValueError, r"not empty, got shape \(0, 2\)"),
        (features(2), [0.5, 0.5], {}, ValueError, "training part has 2 samples: at least 3"),
        (
            features(3),
            [0.5] * 3,
            {"split": ["train"] * 2},
            ValueError,
            r"split has shape \(2,\) for 3 samples",
        ),
        (features(3), [0.5] * 3, {"split": ["train"] * 2 + ["x"]}, ValueError, "split has 'x' at index 2"),
        (features(3), [0.5] * 3, {"split": ["test"] * 3}, ValueError, "split has no 'train'"),
        (features(3), [0.5] * 3, {"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_what_does_not_fit_raises(inputs, targets, options, error, match):
    with pytest.raises(error, match=match):
        from_arrays(inputs, targets, **options)
