"""Odd options and values, found at random by tests/reliability/test_command_fuzz.py: answered in words."""

import os

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.files import replacing


def run(*arguments):
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("command", ["explain", "draw"])
def test_an_option_of_the_closed_form_only(command):
    result = run(command, "batch_norm", "--option", "momentum=None")
    assert result.exit_code == 2
    assert "the composed form of batch_norm has no option 'momentum'" in result.output


def test_a_seed_of_more_than_64_bits():
    result = run("kernel", "layer_norm", "--seed", 2**64)
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_a_name_that_is_too_long_for_a_file(tmp_path):
    result = run("new", "normalization", "a" * 300, "--out", tmp_path)
    assert result.exit_code == 2
    assert "File name too long" in result.output


def test_a_file_that_is_a_pipe_is_not_replaced(pipe):
    result = run("gradcheck", "exp", "--json", pipe)
    assert result.exit_code == 2
    assert "a device or a pipe" in result.output
    assert pipe.is_fifo()


@pytest.mark.parametrize("command", [("explain", "exp", "--html"), ("bench", "ops", "--json")], ids=" ".join)
def test_a_pipe_is_named_before_the_work(command, pipe):
    result = run(*command, pipe)
    assert result.exit_code == 2
    assert f"{pipe} is a device or a pipe" in result.output


def test_a_device_is_not_replaced(tmp_path):
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    with pytest.raises(OSError, match="a device or a pipe, not a file"), replacing(link):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["null"]
    assert link.is_symlink()


def test_the_confusion_matrix_is_drawn_to_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    for name, expected in (("x.gif", "must end in .png or .svg"), ("matrix", "must end in .png or .svg")):
        result = run("evaluate", tmp_path, "--out", tmp_path / name)
        assert result.exit_code == 2
        assert expected in result.output


@pytest.mark.parametrize(
    "command",
    [
        ("export", "run", "--onnx", "a.onnx", "--onnx", "b.onnx"),
        ("train", "--lr", "1", "--lr", "2"),
        ("exercise", "check", "--seconds", "1", "--seconds", "2"),
    ],
    ids=lambda command: command[0],
)
def test_an_option_that_takes_one_value_is_not_repeated(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*command)
    assert result.exit_code == 2
    assert "more than once: give it once" in result.output


@pytest.mark.parametrize(
    "command",
    [
        ("train", "moons", "--out", ""),
        ("train", "--resume", ""),
        ("runs", ""),
        ("predict", "", "x"),
        ("predict", "x", ""),
    ],
    ids=" ".join,
)
def test_a_path_that_is_an_empty_text_is_not_the_current_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*command)
    assert result.exit_code == 2
    assert "the path is an empty text" in result.output
    assert not list(tmp_path.iterdir())


def test_data_that_are_no_data_are_named_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, message in (("", "unknown dataset ''"), (".", "is not a dataset")):
        result = run("train", source)
        assert result.exit_code == 2
        assert message in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", [(), ("--out", "cat/run")], ids=["new", "out"])
def test_results_do_not_go_into_a_folder_of_images(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    result = run("train", ".", *out)
    assert result.exit_code == 2
    assert "pass a folder outside of it as --out" in result.output
    assert {path.name for path in tmp_path.rglob("*")} == {"cat", "dog"}
