"""`tinygrad-norm train PATH`: recognized for what it is, trained on, and named in errors."""

import json

import numpy
import pytest
from train_runs import assert_same_numbers, invoke, metrics

from tinygrad_norm.training import Config

rng = numpy.random.default_rng(0)
LABELS = numpy.arange(90) % 3
FEATURES = (LABELS[:, None] + 0.1 * rng.standard_normal((90, 2))) * (1, 1000)
PIXELS = (LABELS[:, None, None, None] * 80 + rng.integers(0, 20, (90, 6, 6, 3))).astype(numpy.uint8)


def images(folder):
    image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        (folder / f"pets/{'abc'[label]}").mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(folder / f"pets/{'abc'[label]}/{i}.png")
    return "pets"


def idx(folder):
    (folder / "mnist").mkdir()
    for name, array in (
        ("train-images-idx4-ubyte", PIXELS[:60]),
        ("train-labels-idx1-ubyte", LABELS[:60].astype(numpy.uint8)),
        ("t10k-images-idx4-ubyte", PIXELS[60:]),
        ("t10k-labels-idx1-ubyte", LABELS[60:].astype(numpy.uint8)),
    ):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / "mnist" / name).write_bytes(header + array.tobytes())
    return "mnist"


def npz(folder):
    numpy.savez(folder / "data.v2.npz", images=PIXELS, labels=LABELS)
    return "data.v2.npz"


def table(folder):
    lines = ["small,large,kind", *(f"{a},{b},{'xyz'[c]}" for (a, b), c in zip(FEATURES, LABELS, strict=True))]
    (folder / "table.csv").write_text("\n".join(lines))
    return "table.csv"


def text(folder):
    (folder / "book.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 40)
    return "book.txt"


@pytest.mark.parametrize(
    ("make", "options", "folder", "described"),
    [
        (images, ["--model", "cnn"], "pets-cnn-batch", "60 training images 3×6×6 of pets/, 3 classes"),
        (idx, [], "mnist-mlp-batch", "54 training images 3×6×6 of mnist/, 3 classes"),
        (npz, ["--scale", "none"], "data.v2-mlp-batch", "training images 3×6×6 of data.v2.npz"),
        (
            table,
            ["--label", "kind"],
            "table-mlp-batch",
            "training samples of 2 features of table.csv, 3 classes",
        ),
        (text, ["--model", "lstm"], "book-lstm-layer", "characters of book.txt"),
    ],
    ids=["images", "idx", "npz", "table", "text"],
)
def test_a_path_is_trained_on_for_what_it_is(tmp_path, monkeypatch, make, options, folder, described):
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    result = invoke(path, *options, "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert described in " ".join(result.output.split())
    run = tmp_path / "runs" / folder
    assert len(metrics(run)) == 2
    result = invoke(path, "--resume", run)  # finished: nothing more is trained
    assert result.exit_code == 0, result.output
    assert "already finished" in result.output
    assert invoke(path, *options, "--epochs", 2, "--out", "again").exit_code == 0
    assert_same_numbers(run, tmp_path / "again")
    result = invoke("digits", "--resume", run)
    assert result.exit_code == 2
    assert "cannot continue with digits" in " ".join(result.output.split())


def test_a_column_of_numbers_is_regressed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path)
    (tmp_path / path).write_text((tmp_path / path).read_text().translate(str.maketrans("xyz", "012")))
    result = invoke(path, "--target", "large", "--epochs", 30)
    assert result.exit_code == 0, result.output
    assert "1 target value" in " ".join(result.output.split())
    assert float(metrics(tmp_path / "runs/table-mlp-layer")[-1]["validation_r2"]) > 0.9


def test_names_come_before_paths_and_the_config_of_a_run_needs_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "text", "pets", "own"):
        (tmp_path / name).mkdir()
    assert [Config(name).dataset for name in ("digits", "text", "pets", "./digits", "pets/")] == [
        "digits",
        "text",
        "pets/",
        "./digits",
        "pets/",
    ]
    assert (Config("b.txt").dataset, Config("b.txt").file, Config("b.txt").model) == (
        "text",
        "b.txt",
        "transformer",
    )
    names = [Config(path).data_name for path in ("pets", "./digits", "/a/b.csv", "b.txt", "moons", ".")]
    assert names == ["pets", "digits", "b", "b", "moons", tmp_path.name]
    for config in (Config("pets"), Config("b.txt"), Config("x.npz", size=None), Config("own", model="own")):
        (tmp_path / "config.json").write_text(config.to_json())
        (tmp_path / "pets").rename(tmp_path / "gone")
        assert Config.load(tmp_path / "config.json") == config
        (tmp_path / "gone").rename(tmp_path / "pets")
    old = json.loads(Config("digits").to_json())
    (tmp_path / "config.json").write_text(
        json.dumps(
            {name: value for name, value in old.items() if name not in ("scale", "label", "target", "size")}
        )
    )
    assert Config.load(tmp_path / "config.json") == Config("digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/"], "there is no file or folder nowhere/"),
        (["nowhere.npz"], "there is no file or folder nowhere.npz"),
        (["nowhere.txt"], "there is no file nowhere.txt"),
        (["digitz"], "(did you mean 'digits'?), or the path of a file or folder"),
        (["empty"], "empty/ is not a dataset: expected a folder of images by class"),
        (["photo.png"], "photo.png is not a dataset: expected a file with one of the endings .npz, .csv"),
        (["table.csv"], "table.csv: no column is called label or class (classes), or target or y"),
        (["table.csv", "--label", "knd"], "unknown column 'knd': choose one of small, large, kind (did you"),
        (["table.csv", "--label", "kind", "--model", "cnn"], "the cnn is for images (C, H, W)"),
        (["table.csv", "--label", "kind", "--scale", "image"], "use standard, minmax or none"),
        (["table.csv", "--label", "kind", "--scale", "max"], "unknown scale 'max': choose one of minmax"),
        (["table.csv", "--label", "kind", "--size", "8"], "size is for folders of images"),
        (["moons", "--label", "kind"], "columns of a table (.csv), but the dataset is moons"),
        (["book.txt", "--label", "kind"], "label is not for text"),
        (["book.txt", "--file", "other.txt"], "the dataset is the text book.txt, but file is other.txt"),
        (["book.txt", "--model", "cnn"], "cnn is for images, not text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.png").write_bytes(b"")
    table(tmp_path)
    text(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "runs").exists()
