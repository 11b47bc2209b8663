"""A disk that is full, or does not take a file: an error in words, status 2, and every older file stays."""

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from train_runs import invoke

from tinygrad_norm import files
from tinygrad_norm.training import Config, Run


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """In half, a run that was stopped after the first of two epochs; in whole, the same undisturbed."""
    folder = tmp_path_factory.mktemp("made")

    def stop(run):
        raise RuntimeError

    config = Config("blobs", epochs=2)
    with pytest.raises(RuntimeError):
        Run(config, folder / "half").train(on_epoch=stop)
    run = Run(config, folder / "whole")
    run.train()
    run.figures()
    return folder


@pytest.fixture
def half(made, tmp_path):
    """The folders half and whole, copied."""
    return tuple(Path(shutil.copytree(made / name, tmp_path / name)) for name in ("half", "whole"))


@contextmanager
def failing(monkeypatch, name, number):
    """Writing the file `name` fails with this error, after a part of it is written."""
    write = Path.write_bytes

    def fail(path, data):
        if path.name.startswith(f".{name}-partial-"):
            write(path, data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        yield


@contextmanager
def full(monkeypatch, name):
    """The disk is full for the file `name`: the system says so, whatever writes it."""
    if not Path("/dev/full").exists():
        pytest.skip("a full device is a file on Linux")
    new = files._new_partial

    def on_a_full_disk(path):
        temporary, mode = new(path)
        if path.name == name:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
        return temporary, mode

    with monkeypatch.context() as patch:
        patch.setattr(files, "_new_partial", on_a_full_disk)
        yield


@contextmanager
def small_files():
    """The system takes no file above 60 kB from this process."""
    resource = pytest.importorskip("resource", reason="limits of a process are Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


ERRORS = {
    "checkpoint, full": (lambda patch: failing(patch, "checkpoint", errno.ENOSPC), "No space left on device"),
    "checkpoint, quota": (lambda patch: failing(patch, "checkpoint", errno.EDQUOT), "Disk quota exceeded"),
    "checkpoint, limit": (lambda patch: small_files(), "File too large"),
    "model, full": (lambda patch: failing(patch, "model", errno.ENOSPC), "No space left on device"),
    "model, read-only": (lambda patch: failing(patch, "model", errno.EROFS), "Read-only file system"),
    "config, full": (lambda patch: full(patch, "config.json"), "No space left on device"),
    "scaler, full": (lambda patch: full(patch, "scaler.safetensors"), "No space left on device"),
    "metrics, full": (lambda patch: full(patch, "metrics.csv"), "No space left on device"),
    "picture of curves, full": (lambda patch: full(patch, "curves.png"), "No space left on device"),
    "results, full": (lambda patch: full(patch, "results.json"), "No space left on device"),
    "stats, full": (lambda patch: full(patch, "stats.csv"), "No space left on device"),
    "picture of stats, full": (lambda patch: full(patch, "stats.png"), "No space left on device"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_it_is_said_and_no_older_file_is_lost(half, monkeypatch, error):
    folder, whole = half
    if error.startswith("picture"):
        pytest.importorskip("matplotlib", reason="it draws the pictures")
    before = content(folder)
    make, message = ERRORS[error]
    with make(monkeypatch):
        result = invoke("--resume", folder, *(["--watch"] if "stats" in error else ()))
    assert result.exit_code == 2, result.output
    assert f"error: cannot write the results to {folder}: {message}" in " ".join(result.output.split())
    after = content(folder)
    assert after.keys() - {"curves.png", "stats.csv"} == before.keys()  # those were written, and are whole
    if error.startswith("checkpoint"):
        assert after == before
    assert invoke("--resume", folder).exit_code == 0
    (folder / "stats.csv").unlink(missing_ok=True)
    assert content(folder) == content(whole)


def test_the_command_line_names_a_file_that_it_cannot_write(half, monkeypatch):
    whole = half[1]
    pytest.importorskip("matplotlib", reason="the confusion matrix is drawn with matplotlib")
    from typer.testing import CliRunner

    from tinygrad_norm.cli import app

    before = content(whole)

    def full(path, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", full)
    result = CliRunner().invoke(app, ["evaluate", str(whole)])
    assert result.exit_code == 2
    assert f"error: {whole / 'confusion.png'}: No space left on device" in " ".join(result.output.split())
    assert content(whole) == before
