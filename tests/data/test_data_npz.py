"""Datasets in .npz files."""

import zipfile

import numpy
import pytest

from tinygrad_norm.data import load, load_inputs, load_npz

X = numpy.arange(24.0).reshape(12, 2)
LABELS = numpy.arange(12) % 3


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        numpy.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return save


def test_classes_come_back(save):
    path = save(inputs=X, labels=LABELS, classes=["a", "b", "c"], notes=numpy.array([{}], object))
    dataset = load(path)
    assert (dataset.name, dataset.classes, dataset.shape) == (str(path), ("a", "b", "c"), (2,))
    inputs = numpy.concatenate([part.inputs for part in dataset.parts.values()])
    labels = numpy.concatenate([part.labels for part in dataset.parts.values()])
    order = inputs[:, 0].argsort()
    assert (inputs[order] == X).all()
    assert (labels[order] == LABELS).all()
    assert (load_npz(path, seed=1).train.inputs != dataset.train.inputs).any()


def test_images_strings_and_a_split_are_read(save):
    images = numpy.arange(12 * 5 * 4 * 3).reshape(12, 5, 4, 3).astype(numpy.uint8)
    split = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    dataset = load_npz(save(images=images, labels=numpy.array(list("abc") * 4), split=split))
    assert (dataset.shape, dataset.max_value, dataset.classes) == ((3, 5, 4), 255, ("a", "b", "c"))
    assert (dataset.test.images == images[9:].transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64, numpy.int16])
def test_targets_are_for_regression(save, dtype):
    targets = numpy.arange(12).astype(dtype)
    dataset = load_npz(save(inputs=X, targets=targets))
    assert (dataset.task, dataset.train.targets.dtype.kind) == ("regression", "f")
    assert sorted(numpy.concatenate([p.targets for p in dataset.parts.values()])) == targets.tolist()


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": X, "y": LABELS}, "neither inputs nor images: .*It holds x, y"),
        ({}, "neither inputs nor images: .*It holds no arrays"),
        ({"inputs": X}, "neither labels nor targets: .*It holds inputs"),
        ({"inputs": X, "images": X, "labels": LABELS}, "both inputs and images"),
        ({"inputs": X, "labels": LABELS, "targets": X}, "both labels and targets"),
        ({"inputs": X, "labels": LABELS * 1.0}, "labels must be integers or strings, got float64"),
        ({"inputs": X, "targets": numpy.array(["a"] * 12)}, "targets must be numbers, for regression"),
        ({"inputs": X.astype(object), "labels": LABELS}, "holds Python objects, which are not loaded"),
        ({"inputs": X, "labels": LABELS[:5]}, "data.npz: 12 inputs with 5 targets"),
        ({"inputs": X.astype(str), "labels": LABELS}, "data.npz: inputs: expected an array of integers"),
    ],
)
def test_arrays_that_do_not_fit_raise(save, arrays, match):
    with pytest.raises(ValueError, match=match):
        load_npz(save(**arrays))


def test_files_that_cannot_be_read_raise(tmp_path, save):
    with pytest.raises(ValueError, match=r"there is no file .*nowhere"):
        load_npz(tmp_path / "nowhere.npz")
    path = tmp_path / "broken.npz"
    whole = save(inputs=X, labels=LABELS).read_bytes()
    for content in (b"", b"PK\3\4 not a zip", b"text", whole[:100], whole.replace(b"NUMPY", b"NYMPU")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.* is not a readable"):
            load_npz(path)
    for content in (b"", b"x", b"text of several words\n", b"\x80\x04]\x94."):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"is not a readable .npz file: it is no zip file, as numpy.savez"
        ):
            load_npz(path)
    with path.open("wb") as file:
        numpy.save(file, X)
    with pytest.raises(ValueError, match="one array without a name"):
        load_npz(path)


def test_a_member_that_is_not_an_array_raises(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("inputs.npy", b"text")
        file.writestr("labels.npy", b"text")
    for read in (load, lambda path: load_inputs(path, (4,))):
        with pytest.raises(ValueError, match=r"data.npz .*: inputs is not an array"):
            read(path)
