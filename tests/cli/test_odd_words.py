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
