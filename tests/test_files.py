"""Files are written completely or not at all."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tinygrad_norm import files
from tinygrad_norm.files import FolderInUse, check_folder, locked, remove_partial, replacing


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(OSError, match=f"no file can be written in {folder}: (No such file|Not a dir)"):
            check_folder(folder)
    check_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("where", ["write", "rename"])
def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path, monkeypatch, where):
    def full(path, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(path), None, str(target))

    def write():
        with replacing(tmp_path / "a.txt"):
            if where == "write":
                raise OSError(errno.ENOSPC, "No space left on device")

    if where == "rename":
        monkeypatch.setattr(files.Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert str(caught.value) == f"[Errno 28] No space left on device: '{tmp_path / 'a.txt'}'"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in (
        ".a-partial-abcd1234.txt",
        ".a-partial-abcd1234.csv",
        ".b-partial-abcd1234.txt",
        ".a-mine.txt",
    ):
        (tmp_path / name).write_text("")
    remove_partial(tmp_path, ["a.txt"])
    left = {".a-partial-abcd1234.csv", ".b-partial-abcd1234.txt", ".a-mine.txt"}
    assert {path.name for path in tmp_path.iterdir()} == left
    with replacing(tmp_path / "b.txt") as temporary:
        remove_partial(tmp_path, ["b.txt"])
        assert not temporary.exists()
        temporary.write_text("")


class TestLocked:
    def test_by_this_process(self, tmp_path):
        with locked(tmp_path):
            message = (
                f"^{tmp_path} is in use: process {os.getpid()} on .+ writes to it. Wait until it ends, or"
            )
            with pytest.raises(FolderInUse, match=message), locked(tmp_path):
                pass
        assert list(tmp_path.iterdir()) == []
        with locked(tmp_path):
            pass

    def test_by_another_process_until_it_is_killed(self, tmp_path):
        program = (
            "import runpy, sys, time; from pathlib import Path\n"
            "with runpy.run_path(sys.argv[1])['locked'](Path(sys.argv[2])):\n"
            "    print('locked', flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", program, files.__file__, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(FolderInUse, match=f"process {other.pid} on "), locked(tmp_path):
                pass
            other.send_signal(signal.SIGKILL)
            other.wait()
        assert (tmp_path / ".lock").exists()
        with locked(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_a_lock_file_that_its_owner_has_just_removed_is_not_taken(self, tmp_path, monkeypatch):
        lock, calls = files._lock, []

        def slow(descriptor):
            lock(descriptor)
            if not calls:
                (tmp_path / ".lock").unlink()
            calls.append(descriptor)

        monkeypatch.setattr(files, "_lock", slow)
        with locked(tmp_path), pytest.raises(FolderInUse), locked(tmp_path):
            pass
        assert len(calls) == 2

    def test_a_file_system_without_locks(self, tmp_path, monkeypatch):
        def unsupported(descriptor):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(files, "_lock", unsupported)
        with locked(tmp_path), locked(tmp_path):
            pass
