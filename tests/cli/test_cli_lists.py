"""`tinygrad-norm datasets`, `models` and `norms`: every name that `train` takes, and what is behind it."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tinygrad_norm.cli import app, tables
from tinygrad_norm.cli import datasets as cli_datasets
from tinygrad_norm.data import load
from tinygrad_norm.training import DATASETS, IMAGE_MODELS, NORMS, TEXT_MODELS
from tinygrad_norm.training.recipes import IMAGES, TEXT


def printed(command):
    """The rows of the Markdown table, by the name in their first cell; and the text below it."""
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 0, result.output
    lines = result.output.strip().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    names = [row[0] for row in rows[2:]]
    assert len(names) == len(set(names))
    return {row[0]: row[1:] for row in rows[2:]}, lines[-1]


def test_datasets_lists_what_train_takes_with_the_shapes_of_what_is_here():
    rows, below = printed("datasets")
    assert list(rows) == list(DATASETS)
    assert all(row[0] for row in rows.values())
    moons = load("moons")
    samples = sum(map(len, moons.parts.values()))
    assert rows["moons"][1:] == ["2", str(samples), f"{len(moons.classes)} classes"]
    assert rows["sine"][1:] == ["1", "1000", "1 value"]
    assert rows["idx"][1:] == rows["text"][1:] == ["–", "–", "–"]
    assert all(ending in below for ending in (".npz", ".csv", ".txt", "folder of images"))


def test_a_dataset_whose_package_is_missing_is_listed_too(monkeypatch):
    def missing(name):
        raise RuntimeError("pip install scikit-learn")

    monkeypatch.setattr(cli_datasets, "load", missing)
    assert printed("datasets")[0]["digits"][1:] == ["–", "–", "–"]


def test_models_lists_builders_and_recipes():
    rows, _ = printed("models")
    assert set(rows) == {*IMAGE_MODELS, *(f"{name} (text)" for name in TEXT_MODELS)}
    for name, row in rows.items():
        recipe = TEXT[name.removesuffix(" (text)")] if name.endswith("(text)") else IMAGES[name]
        assert row[1] == str(recipe)
        assert not row[0].startswith("Return")
        assert not row[0].endswith(".")
    assert rows["cnn"][0].startswith("three 3×3 convolutions")


def test_norms_lists_layers_with_their_papers():
    rows, below = printed("norms")
    assert list(rows) == list(NORMS)
    assert rows["layer"] == [
        "LayerNorm",
        "the last axes of each sample",
        "Ba, Kiros, Hinton 2016, arXiv:1607.06450",
    ]
    assert all("arXiv" in row[2] for name, row in rows.items() if name != "none")
    assert rows["none"] == ["Identity", "–", "–"]
    assert "weight_norm" in below
    assert "layer_norm," not in below.replace("add_layer_norm,", "")


@pytest.mark.parametrize("width", [60, 80])
def test_in_a_terminal_names_never_fold(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    rows = [("a_long_name_of_a_thing", "many words " * 20, "[brackets]")]
    console.print(tables.words_table(console, ("name", "what", "more"), rows))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("a_long_name_of_a_thing" in line for line in lines)
    assert "[brackets]" in console.file.getvalue()
