"""Datasets of image files in folders, and every way in which a file is stored."""

import sys
import warnings

import numpy
import pytest

from tinygrad_norm.data import load, load_image, load_images

Image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")
rng = numpy.random.default_rng(0)


def pixels(*shape):
    return rng.integers(0, 256, shape).astype(numpy.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def fill(folder, count=6, classes=("cat", "dog"), shape=(4, 5, 3)):
    return {
        f"{name}/{i:02}.png": save(folder / name / f"{i:02}.png", pixels(*shape))
        for name in classes
        for i in range(count)
    }


def test_folders_are_classes_and_files_come_back(tmp_path):
    files = fill(tmp_path / "pets")
    dataset = load(tmp_path / "pets")
    assert (dataset.classes, dataset.shape, dataset.max_value) == (("cat", "dog"), (3, 4, 5), 255)
    assert dataset.name == str(tmp_path / "pets")
    assert [len(part) for part in dataset.parts.values()] == [8, 2, 2]
    of_class = {image.tobytes(): name.split("/")[0] for name, image in files.items()}
    seen = set()
    for part in dataset.parts.values():
        assert numpy.unique(part.labels).tolist() == [0, 1]
        for image, label in zip(part.images, part.labels, strict=True):
            bytes_ = image.transpose(1, 2, 0).tobytes()
            assert of_class[bytes_] == dataset.classes[label]
            seen.add(bytes_)
    assert len(seen) == 12
    assert (load_images(tmp_path / "pets").test.images == dataset.test.images).all()
    assert (load_images(tmp_path / "pets", seed=1).train.images != dataset.train.images).any()


def test_the_split_depends_on_names_alone(tmp_path):
    files = fill(tmp_path / "a")
    for name, image in reversed(files.items()):
        save(tmp_path / "b" / name, image)
    for name in ("a/readme.txt", "a/.hidden/x.png", "a/cat/.hidden.png", "a/cat/Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    a, b = load_images(tmp_path / "a"), load_images(tmp_path / "b")
    assert (a.train.images == b.train.images).all()
    assert (a.test.labels == b.test.labels).all()


@pytest.mark.parametrize(
    ("parts", "counts"),
    [
        (("train", "val", "test"), [12, 12, 12]),
        (("Train", "Validation", "TEST"), [12, 12, 12]),
        (("train", "test"), [10, 2, 12]),
        (("train", "validation"), [10, 12, 2]),
        (("train",), [8, 2, 2]),
    ],
)
def test_folders_may_split_the_images(tmp_path, parts, counts):
    files = {part: fill(tmp_path / part) for part in parts}
    dataset = load_images(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert [len(part) for part in dataset.parts.values()] == counts
    if "val" in parts:
        expected = [image.transpose(2, 0, 1) for image in files["val"].values()]
        assert (dataset.validation.images == numpy.stack(expected)).all()


def test_classes_may_be_called_train_and_test_if_there_are_others(tmp_path):
    fill(tmp_path, classes=("train", "bus"))
    assert load_images(tmp_path).classes == ("bus", "train")


GREY, RGB, ALPHA = pixels(4, 5), pixels(4, 5, 3), numpy.array([[0, 255], [128, 255]], numpy.uint8)


def palette(colors=(200, 30, 10, 0, 0, 255)):
    image = Image.fromarray(numpy.array([[0, 1], [1, 0]], numpy.uint8), "P")
    image.putpalette(list(colors))
    return image


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "suffix", "expected"),
    [
        (lambda: Image.fromarray(GREY), ".png", GREY[None]),
        (lambda: Image.fromarray(GREY), ".BMP", GREY[None]),
        (lambda: Image.fromarray(RGB), ".png", RGB.transpose(2, 0, 1)),
        (
            lambda: Image.fromarray(numpy.array([[0, 65535], [256, 32768]], numpy.uint16)),
            ".png",
            [[[0, 255], [1, 128]]],
        ),
        (lambda: Image.fromarray(numpy.array([[True, False]])), ".png", [[[255, 0]]]),
        (palette, ".png", [[[200, 0], [0, 200]], [[30, 0], [0, 30]], [[10, 255], [255, 10]]]),
        (
            lambda: Image.fromarray(numpy.dstack([0 * ALPHA, ALPHA])),
            ".png",
            [[[255, 0], [127, 0]]],
        ),
        (
            lambda: Image.fromarray(numpy.dstack([0 * ALPHA] * 3 + [ALPHA])),
            ".png",
            [[[255, 0], [127, 0]]] * 3,
        ),
    ],
    ids=["grey", "bitmap", "rgb", "16 bits", "1 bit", "palette", "grey with alpha", "rgb with alpha"],
)
def test_every_way_of_storing_pixels_is_read(tmp_path, make, suffix, expected):
    path = tmp_path / f"image{suffix}"
    make().save(path)
    image = load_image(path)
    assert image.dtype == numpy.uint8
    assert image.tolist() == numpy.asarray(expected).tolist()


def test_jpegs_are_read_upright(tmp_path):
    array = numpy.zeros((16, 32, 3), numpy.uint8)
    array[:, :16] = 255  # the left half is white
    save(tmp_path / "plain.JPG", array, quality=95)
    assert load_image(tmp_path / "plain.JPG").shape == (3, 16, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise
    save(tmp_path / "turned.jpeg", array, quality=95, exif=exif)
    image = load_image(tmp_path / "turned.jpeg")
    assert image.shape == (3, 32, 16)
    assert image[:, :14].min() > 200
    assert image[:, 18:].max() < 50
    save(tmp_path / "grey.jpg", array[..., 0])
    assert load_image(tmp_path / "grey.jpg").shape == (1, 16, 32)
    assert load_image(tmp_path / "grey.jpg", channels=3).shape == (3, 16, 32)
    assert load_image(tmp_path / "plain.JPG", channels=1).shape == (1, 16, 32)
    Image.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    assert load_image(tmp_path / "print.jpg").shape == (3, 4, 4)


def test_all_grey_gives_one_channel_and_one_color_gives_three(tmp_path):
    files = fill(tmp_path, shape=(4, 5))
    assert load_images(tmp_path).shape == (1, 4, 5)
    save(tmp_path / "cat" / "color.png", RGB)
    dataset = load_images(tmp_path)
    assert dataset.shape == (3, 4, 5)
    images = numpy.concatenate([part.images for part in dataset.parts.values()])
    grey = {image[0].tobytes() for image in images if (image == image[:1]).all()}
    assert grey == {image.tobytes() for image in files.values()}


def test_size_scales_all_images_and_keeps_the_middle(tmp_path):
    array = numpy.zeros((10, 30), numpy.uint8)
    array[:, 10:20] = 200
    for name in ("a", "b", "c"):
        save(tmp_path / "x" / f"{name}.png", array)
        save(tmp_path / "y" / f"{name}.png", pixels(7, 9))
    dataset = load_images(tmp_path, size=10)
    assert dataset.shape == (1, 10, 10)
    for part in dataset.parts.values():
        assert (part.images[part.labels == 0] == 200).all()
    assert load(tmp_path, size=4).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: save(f / "dog" / "x.png", pixels(7, 9, 3)), r"cat.00.png has 5×4 pixels, .*x.png has 9×7"),
        (lambda f: (f / "cat" / "b.png").write_bytes(b"text"), "b.png is not an image, or is damaged"),
        (lambda f: (f / "cat" / "b.png").write_bytes(b""), "b.png is not an image, or is damaged"),
        (lambda f: cut(f / "cat" / "01.png"), "01.png is (not an image, or is damaged|a damaged image)"),
        (lambda f: save(f / "bird" / "1.png", RGB), "class 'bird' has 1 sample: at least 3"),
        (lambda f: (f / "bird").mkdir(), "the class .*bird has no images: expected files .png, .jpg"),
    ],
    ids=["sizes", "text", "empty", "truncated", "one image", "no image"],
)
def test_what_is_wrong_is_named(tmp_path, change, match):
    fill(tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=match):
        load_images(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("part", ["", "train"])
def test_images_in_formats_that_are_not_read_are_counted_in_one_warning(tmp_path, part):
    fill(tmp_path / part)
    for name in ("cat/a.tif", "cat/b.TIF", "dog/in/c.heic", "dog/.d.tif", "dog/notes.txt", "dog/Thumbs.db"):
        (tmp_path / part / name).parent.mkdir(exist_ok=True)
        (tmp_path / part / name).write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(tmp_path)
    assert [len(p) for p in dataset.parts.values()] == [8, 2, 2]
    (warning,) = caught
    assert warning.category is UserWarning
    assert "has images that are not read: 3 (.heic, .tif). Convert them to one of .png, .jpg" in str(
        warning.message
    )


def test_folders_that_hold_no_classes_raise(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        load_images(tmp_path / "nowhere")
    save(tmp_path / "1.png", RGB)
    with pytest.raises(ValueError, match="has no folders: put the images of each class in a folder"):
        load_images(tmp_path)
    fill(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="test has no folders: it must have one for each class"):
        load_images(tmp_path)
    fill(tmp_path / "test", classes=("bird",))
    with pytest.raises(ValueError, match=r"bird is a class without a folder in train/: there are cat, dog"):
        load_images(tmp_path)


def test_single_files_that_are_wrong(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load_image(tmp_path / "x.png")
    save(tmp_path / "x.png", RGB)
    with pytest.raises(ValueError, match="channels must be 1"):
        load_image(tmp_path / "x.png", channels=2)
    with pytest.raises(TypeError, match="size must be an int"):
        load_image(tmp_path / "x.png", size=2.5)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        load_images(tmp_path, size=0)


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError, match=r"pip install 'tinygrad_norm\[images\]'"):
        load(tmp_path)
