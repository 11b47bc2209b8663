"""`load` recognizes names and paths."""

from pathlib import Path

import numpy
import pytest

from tinygrad_norm.data import SOURCES, load


def test_every_name_has_a_description():
    assert {"digits", "idx", "spirals", "moons", "blobs", "sine"} <= set(SOURCES)
    assert all(SOURCES.values())


def test_paths_are_text_or_path_objects_in_any_case(tmp_path):
    numpy.savez(tmp_path / "data.npz", inputs=numpy.zeros((9, 2)), labels=numpy.arange(9) % 3)
    (tmp_path / "data.npz").rename(tmp_path / "DATA.NPZ")
    for path in (tmp_path / "DATA.NPZ", str(tmp_path / "DATA.NPZ")):
        assert load(path).name == str(path)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("nowhere.csv", {}, "there is no file or folder .*nowhere"),
        ("nowhere/", {}, "there is no file or folder .*nowhere"),
        ("text.txt", {}, "is a text: read it with load_text"),
        ("notes.md", {}, "is not a dataset: expected a file with one of the endings .npz, .csv, .tsv, .txt"),
        ("", {}, "is not a dataset: expected a folder of images by class"),
        ("text.txt", {"label": "a"}, "label and target are columns of a table"),
        ("text.txt", {"size": 3}, "size is for folders of images"),
        ("text.txt", {"folder": "x"}, "not read from a folder"),
    ],
)
def test_what_holds_no_dataset_raises(tmp_path, name, options, match):
    for file in ("text.txt", "notes.md"):
        (tmp_path / file).write_text("a text")
    with pytest.raises(ValueError, match=match):
        load(f"{tmp_path}/{name}", **options)


def test_a_name_comes_before_a_path_and_a_bare_name_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("moons").mkdir()
    assert load("moons").name == "moons"
    with pytest.raises(ValueError, match=r"\./moons is not a dataset: expected a folder"):
        load("./moons")
    with pytest.raises(ValueError, match=r"unknown dataset 'pets': .*, or the path of a file or folder"):
        load("pets")
    Path("pets").mkdir()
    with pytest.raises(ValueError, match="pets is not a dataset: expected a folder"):
        load("pets")
