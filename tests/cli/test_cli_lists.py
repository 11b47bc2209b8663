"""`tinygrad-norm datasets`, `models` and `norms`: every name that `train` takes, and what is behind it."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tinygrad_norm.cli import app, tables
from tinygrad_norm.cli import datasets as cli_datasets
from tinygrad_norm.cli import norms as cli_norms
from tinygrad_norm.data import load
from tinygrad_norm.registry import REGISTRY
from tinygrad_norm.training import DATASETS, IMAGE_MODELS, NORMS, TEXT_MODELS
from tinygrad_norm.training.recipes import IMAGES, TEXT


def printed(command):
    """The rows of the Markdown tables, by the name in their first cell; and the text below them."""
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 0, result.output
    lines = result.output.strip().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    headings = [rows[k - 1] for k, row in enumerate(rows) if not row[0].strip("-")]
    rows = [row for row in rows if row not in headings and row[0].strip("-")]
    names = [row[0] for row in rows]
    assert len(names) == len(set(names))
    return {row[0]: row[1:] for row in rows}, lines[-1]


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


def test_norms_lists_every_normalization_by_family():
    rows, below = printed("norms")
    normalizations = [op for op in REGISTRY.values() if op.kind == "normalization"]
    names = {choice.op: f"{name} *" for name, choice in NORMS.items()}
    assert set(rows) == {names.get(op.name, op.name) for op in normalizations}
    assert rows["layer *"] == [
        "the last axes of each sample",
        "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, memory_efficient=False",
        "composed, closed form, loops, CUDA",
        "Ba, Kiros, Hinton 2016, arXiv:1607.06450",
    ]
    assert rows["sync-batch *"][2] == "composed, closed form"
    assert all(cell != "–" for row in rows.values() for cell in row)
    assert "norms NAME" in below


@pytest.mark.parametrize("name", ["group", "group_norm"])
def test_norms_shows_one_with_formula_derivation_and_use(name):
    result = CliRunner().invoke(app, ["norms", name])
    assert result.exit_code == 0, result.output
    for words in (
        "m = mean(x)   v = mean((x - m)²)",
        "dx = r·(g - mean(g) - x̂·mean(g·x̂))",
        "Kernels: group_norm_forward, group_norm_backward",
        "nn.GroupNorm(num_groups, num_channels, eps=1e-05, affine=True, bias=True)",
        "--norm group    with options, as in group:eps=1e-05: groups=None, eps=1e-05",
    ):
        assert words in result.output


def test_every_normalization_can_be_shown():
    for op in REGISTRY.values():
        if op.kind == "normalization":
            result = CliRunner().invoke(app, ["norms", op.name])
            assert result.exit_code == 0, result.output
            assert f"gradcheck {op.name}" in result.output


def test_an_unknown_normalization_gets_a_suggestion():
    result = CliRunner().invoke(app, ["norms", "grup"])
    assert result.exit_code == 2
    assert "Did you mean group" in " ".join(result.output.replace("│", " ").split())


def test_in_a_terminal_of_80_characters_no_word_of_the_norms_is_broken():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    cli_norms._list(console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = set(" ".join(lines).split())
    for op in REGISTRY.values():
        if op.kind == "normalization":
            assert {*op.paper.split(), *op.pool.split()} <= words
    assert {"track_running_stats=True,", "composed,", "batch", "*"} <= words


@pytest.mark.parametrize("width", [60, 80])
def test_in_a_terminal_names_never_fold(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    rows = [("a_long_name_of_a_thing", "many words " * 20, "[brackets]")]
    console.print(tables.words_table(console, ("name", "what", "more"), rows))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("a_long_name_of_a_thing" in line for line in lines)
    assert "[brackets]" in console.file.getvalue()
