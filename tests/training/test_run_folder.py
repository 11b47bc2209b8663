"""One process at a time trains in a folder, and every killed run can be resumed from the beginning."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from train_runs import assert_same_numbers, invoke

from tinygrad_norm import data, files, nn
from tinygrad_norm.cli.out_folder import folder_for
from tinygrad_norm.files import FolderInUse, locked
from tinygrad_norm.training import Config, NormGrid, Run
from tinygrad_norm.training.run_folder import new_folder

rng = np.random.default_rng(0)
LABELS = np.arange(60) % 3
POINTS = data.from_arrays(LABELS[:, None] + 0.1 * rng.standard_normal((60, 3)), LABELS)
CONFIG = Config(epochs=2, batch_size=16)


def test_a_second_run_into_one_folder_raises_while_the_first_lives(tmp_path):
    seen = []

    def second(run):
        with pytest.raises(FolderInUse, match=f"^{tmp_path} is in use: process .* choose another folder"):
            Run(CONFIG, tmp_path, resume=bool(seen), dataset=POINTS).train()
        seen.append((tmp_path / "config.json").exists())

    Run(CONFIG, tmp_path, dataset=POINTS).train(on_epoch=second)
    assert seen == [True, True]
    assert not (tmp_path / ".lock").exists()
    Run(CONFIG, tmp_path, resume=True, dataset=POINTS).train()


def test_the_command_line_says_so_with_status_2(tmp_path):
    Run(CONFIG, tmp_path / "run", dataset=POINTS).train()
    with locked(tmp_path / "run"):
        for arguments in (["blobs", "--epochs", 1, "--out", tmp_path / "run"],):
            (tmp_path / "run" / "checkpoint.safetensors").unlink()
            result = invoke(*arguments)
            assert result.exit_code == 2
            assert "is in use: process" in " ".join(result.output.split())


LOCKS = """
import importlib.util, os, signal, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("files", sys.argv[1])  # alone: the package takes a second
spec.loader.exec_module(files := importlib.util.module_from_spec(spec))
folder, ends = Path(sys.argv[2]), sys.argv[3]
try:
    with files.locked(folder):
        child = os.fork()
        if not child and ends == "parent":
            print(os.getpid(), flush=True)
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if child:
            os.waitpid(child, 0)
            try:
                with files.locked(folder):
                    print("free")
            except files.FolderInUse:
                print("in use")
finally:
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are Unix")
@pytest.mark.parametrize("ends", ["parent", "child"])
def test_a_forked_child_has_no_part_in_the_lock(tmp_path, ends):
    """The lock ends with the parent, though the child lives; not with the child."""
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-c", LOCKS, files.__file__, str(folder), ends]
    with (tmp_path / "said").open("w+") as said:  # a pipe would wait for the child
        subprocess.run(command, stdout=said, timeout=60)
        said.seek(0)
        answer = said.read().strip()
    if ends == "child":
        assert answer == "in use"
        return
    try:
        with locked(folder):
            pass
    finally:
        os.kill(int(answer), signal.SIGKILL)


def test_a_second_grid_into_one_folder_raises(tmp_path):
    with locked(tmp_path), pytest.raises(FolderInUse):
        NormGrid(CONFIG, ["batch"], 1, tmp_path, dataset=POINTS).train()


def test_runs_that_start_at_the_same_time_get_different_folders(tmp_path):
    barrier = Barrier(8)

    def start(_):
        barrier.wait()
        with new_folder(tmp_path / "runs" / "a") as folder:
            return folder.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(start, range(8)))
    assert sorted(names) == sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert set(names) == {"a", *(f"a-{n}" for n in range(2, 9))}


def test_the_folder_of_a_run_is_taken_before_it_trains_and_given_back_after_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with folder_for(CONFIG, None) as first, folder_for(CONFIG, None) as second:
        assert (str(first), str(second)) == ("runs/digits-mlp-batch", "runs/digits-mlp-batch-2")

    def fail():
        with folder_for(CONFIG, None):
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=r"^cannot create the folder .*a: Not a directory$"),
        new_folder(tmp_path / "file" / "a"),
    ):
        pass


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    def stop(run):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Run(CONFIG, tmp_path / "a", dataset=POINTS).train(on_step=stop)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["config.json"]
    Run(CONFIG, tmp_path / "a", resume=True, dataset=POINTS).train()
    Run(CONFIG, tmp_path / "b", dataset=POINTS).train()
    assert_same_numbers(tmp_path / "a", tmp_path / "b")


def test_a_checkpoint_that_was_removed_or_is_another_file_raises(tmp_path):
    Run(CONFIG, tmp_path, dataset=POINTS).train()
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes((tmp_path / "scaler.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is damaged, or of another version: 'data'"):
        Run(CONFIG, tmp_path, resume=True, dataset=POINTS)
    path.write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(
        ValueError, match=r"checkpoint.safetensors is damaged, or of another version: 'structure'"
    ):
        Run(CONFIG, tmp_path, resume=True, dataset=POINTS)
    path.unlink()
    with pytest.raises(ValueError, match=r"^there is no file .*checkpoint.safetensors. The run cannot be"):
        Run(CONFIG, tmp_path, resume=True, dataset=POINTS)


def test_a_checkpoint_of_another_own_model_raises(tmp_path):
    Run(CONFIG, tmp_path, dataset=POINTS, model=nn.Linear(3, 3)).train()
    with pytest.raises(ValueError, match="is a checkpoint of another architecture"):
        Run(CONFIG, tmp_path, resume=True, dataset=POINTS, model=nn.Sequential(nn.Linear(3, 3)))
