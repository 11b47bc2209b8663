"""`tinygrad-norm pool`: its picture and its errors."""

import xml.etree.ElementTree as ElementTree

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.cli.pool import GREY


def run(*arguments):
    return CliRunner().invoke(app, ["pool", *map(str, arguments)])


def shaded(path):
    groups = ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}g")
    return [group.get("class") for group in groups]


def test_the_pool_of_a_normalization_is_drawn_into_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("GroupNorm")
    assert result.exit_code == 0
    assert "the pool of group_norm drawn to group_norm_pool.svg" in result.output
    assert f'color="{GREY}"' in (tmp_path / "group_norm_pool.svg").read_text(encoding="utf-8")


def test_a_shape_is_taken(tmp_path):
    path = tmp_path / "a.svg"
    assert run("layer_norm", "--shape", "3x2", "--out", path).exit_code == 0
    assert sorted(shaded(path)) == ["in", "out", "out", "out", "out", "own"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grup_norm"], "Did you mean group_norm"),
        (["matmul"], "matmul is not a normalization"),
        (["layer_norm", "--out", "a.png"], "must end in .svg"),
        (["layer_norm", "--out", "nowhere/a.svg"], "nowhere is not a folder"),
        (["group_norm", "--shape", "0x3"], "sizes of at least 1"),
    ],
    ids=["unknown", "no-normalization", "png", "no-folder", "shape"],
)
def test_bad_input_is_refused_in_words(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
