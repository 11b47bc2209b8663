"""IDX files: reading, folders, and everything that can be wrong with them."""

import gzip

import numpy
import pytest

from tinygrad_norm.data import load_idx, read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx(array):
    """The bytes of an IDX file that holds `array`."""
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def parts():
    rng = numpy.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (40, 5, 6)).astype(numpy.uint8),
        "train_labels": numpy.arange(40).astype(numpy.uint8) % 4,
        "test_images": rng.integers(0, 256, (8, 5, 6)).astype(numpy.uint8),
        "test_labels": numpy.arange(8).astype(numpy.uint8) % 4,
    }


def write(folder, parts, rename=lambda name: name, compress=lambda content: content):
    for part, array in parts.items():
        (folder / rename(NAMES[part])).write_bytes(compress(idx(array)))
    return folder


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4), (0, 28, 28)])
def test_every_type_and_shape_is_read(tmp_path, dtype, shape):
    array = numpy.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    path = tmp_path / "file"
    path.write_bytes(idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.flags.writeable
    assert read.shape == shape
    assert (read == array).all()


def test_the_bytes_of_the_format_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes.fromhex("00000b02 00000002 00000001 0102 fffe"))
    assert read_idx(str(path)).tolist() == [[258], [-2]]


def test_gzip_is_recognized_by_content(tmp_path):
    array = numpy.arange(5, dtype=numpy.uint8)
    for name, content in (("plain.gz", idx(array)), ("packed", gzip.compress(idx(array)))):
        (tmp_path / name).write_bytes(content)
        assert (read_idx(tmp_path / name) == array).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is not an IDX file: it starts with nothing"),
        (b"\x89PNG\r\n", "is not an IDX file: it starts with 89 50 4e 47"),
        (bytes([0, 0, 0x0A, 1, 0, 0, 0, 0]), "is not an IDX file: it starts with 00 00 0a 01"),
        (bytes([0, 0, 8, 0, 5]), "number of axes of at least 1"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 1]), "is truncated: it has 8 bytes, but its header needs 12"),
        (idx(numpy.ones((3, 2), numpy.int16))[:-1], r"is truncated.*\(3, 2\) of int16.*24 bytes.* 23"),
        (idx(numpy.ones((3, 2), numpy.int16)) + b"x", "is damaged.*24 bytes, but it has more"),
        (gzip.compress(idx(numpy.ones(99, numpy.uint8)))[:-9], "truncated or damaged gzip"),
        (gzip.compress(b"")[:2] + b"\xff" * 20, "truncated or damaged gzip"),
        (gzip.compress(b"")[:10] + b"\xff" * 20, "truncated or damaged gzip"),
    ],
    ids=[
        "empty",
        "png",
        "type",
        "no axes",
        "header",
        "truncated",
        "longer",
        "truncated gz",
        "header gz",
        "damaged gz",
    ],
)
def test_a_broken_file_raises(tmp_path, content, match):
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some-file.*{match}"):
        read_idx(path)


BOMBS = {
    "small header": (bytes([0, 0, 8, 1, 0, 0, 0, 1]), "takes 9 bytes, but it has more"),
    "huge header": (bytes([0, 0, 8, 3]) + b"\xff" * 12, "but it has at most"),
    "no IDX file": (b"", "is not an IDX file: it starts with nothing|00 00 00 00"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch, bomb):
    header, message = BOMBS[bomb]
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(header + bytes(2**22)))
    unpacked = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda *a: unpacked.append(len(x := original(*a))) or x)
    with pytest.raises(ValueError, match=f"bomb.gz.*({message})"):
        read_idx(tmp_path / "bomb.gz")
    assert sum(unpacked) < 100


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_is_a_dataset(tmp_path, parts, dotted, packed):
    def rename(name):
        return (name.replace("-idx", ".idx") if dotted else name) + (".gz" if packed else "")

    dataset = load_idx(write(tmp_path, parts, rename, gzip.compress if packed else bytes))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 8)
    assert (dataset.name, dataset.classes, dataset.max_value) == ("idx", tuple("0123"), 255)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.images.shape[1:] == (1, 5, 6)
        assert part.images.dtype == numpy.uint8
        assert part.labels.dtype == numpy.int64
    assert (dataset.test.images[:, 0] == parts["test_images"]).all()
    assert (dataset.test.labels == parts["test_labels"]).all()
    assert sorted(dataset.validation.labels) == [0, 1, 2, 3]


def test_validation_is_cut_from_training_and_keeps_its_labels(tmp_path, parts):
    write(tmp_path, parts)
    first, again, other = load_idx(tmp_path), load_idx(tmp_path), load_idx(tmp_path, seed=1)
    assert (first.validation.images == again.validation.images).all()
    assert (first.validation.images != other.validation.images).any()
    label_of = {
        image.tobytes(): label
        for image, label in zip(parts["train_images"], parts["train_labels"], strict=True)
    }
    seen = [
        (image.tobytes(), label)
        for part in (first.train, first.validation)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert len({image for image, _ in seen}) == 40
    assert all(label_of[image] == label for image, label in seen)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        load_idx(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="file is not a folder"):
        load_idx(tmp_path / "file")


def test_a_folder_without_data_lists_what_was_looked_for(tmp_path, parts):
    with pytest.raises(ValueError, match=r"has no .*\.gz") as error:
        load_idx(tmp_path)
    assert all(name in str(error.value) for name in NAMES.values())
    (write(tmp_path, parts) / NAMES["test_labels"]).unlink()
    with pytest.raises(ValueError, match="has no t10k-labels-idx1-ubyte ") as error:
        load_idx(tmp_path)
    assert "train" not in str(error.value).split(" has no ")[1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"train_labels": numpy.zeros(39, numpy.uint8)},
            "holds 40 images but .*train-labels.* holds 39 labels",
        ),
        (
            {"test_images": numpy.zeros((8, 5, 5), numpy.uint8)},
            r"has training images of \(5, 6\) .* \(5, 5\)",
        ),
        ({"train_images": numpy.zeros((40, 30), numpy.uint8)}, r"train-images.*\(40, 30\), expected uint8"),
        ({"test_labels": numpy.zeros(8, numpy.int32)}, "t10k-labels.* holds int32"),
        (
            {"test_images": numpy.zeros((0, 5, 6), numpy.uint8), "test_labels": numpy.zeros(0, numpy.uint8)},
            "40 training and 0 test images",
        ),
        (
            {
                "train_images": numpy.zeros((1, 5, 6), numpy.uint8),
                "train_labels": numpy.zeros(1, numpy.uint8),
            },
            "1 training and 8 test images",
        ),
    ],
    ids=["counts", "sizes", "axes", "type", "no test", "no validation"],
)
def test_files_that_do_not_match_raise(tmp_path, parts, change, match):
    with pytest.raises(ValueError, match=match):
        load_idx(write(tmp_path, parts | change))
