"""Trainings that are killed again and again until they end: `python killed_runs.py '{"kills": 9, …}'`.

Every training is a child, forked from a process that has imported everything and has no other threads. It is
killed with SIGKILL at one of its file operations (before it is made, or with the file written only in part),
at a random time, or within 30 ms after a Ctrl-C. The next child resumes it, until one ends; then its files
are compared, byte for byte, with those of an undisturbed training. What happens is printed as lines
of JSON. Pictures are written as text, which takes less time to draw.
"""

import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinygrad_norm import data, manual_seed, nn
from tinygrad_norm.files import replacing
from tinygrad_norm.training import Config, Interrupted, NormGrid, Run, load_run
from tinygrad_norm.training import norm_grid as grid_module
from tinygrad_norm.training import run as run_module
from tinygrad_norm.training.checkpoint import load_tree
from tinygrad_norm.training.run_record import find_runs

SHARES = {"file": 0.6, "time": 0.3, "ctrl-c": 0.1}
"""How often a training is killed at a file operation, at a random time, and after a Ctrl-C."""


def draw_text(path, history, *others):
    """Write what a picture would show; in place of the functions that draw with matplotlib."""
    with replacing(path) as temporary:
        temporary.write_text(repr(history), encoding="utf-8")


def mlp():
    """Batch normalization and dropout, on random points; every epoch has eight steps."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 3
    manual_seed(1)
    model = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.Linear(16, 3)
    )
    points = data.from_arrays(labels[:, None] + rng.standard_normal((160, 4)), labels)
    config = Config(epochs=6, batch_size=16, optimizer="adamw", augment="noise", clip_grad=1.0)
    return config, {"dataset": points, "model": model}


def rnn():
    """Early stopping and a schedule in steps, on images whose labels mean nothing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 5, 4), np.uint8)
    config = Config(
        model="rnn",
        epochs=12,
        batch_size=16,
        optimizer="sgd",
        lr=0.05,
        schedule="step",
        warmup=0.1,
        early_stop=3,
    )
    return config, {"dataset": data.from_arrays(images, np.arange(90) % 3)}


def grid():
    """Two norms on the points, one after the other."""
    config, own = mlp()
    config = replace(config, model="mlp", norm="none", epochs=3, augment=())
    return config, {"dataset": own["dataset"]}


TRAININGS = {"mlp": mlp, "rnn": rnn, "grid": grid}


def train(name, folder):
    """Train in `folder`, or resume; what a user does after a kill."""
    config, own = TRAININGS[name]()
    if name == "grid":
        NormGrid(config, ["batch", "layer"], 1, folder, **own).train()
        return
    run = Run(config, folder, resume=(folder / "config.json").exists(), **own)
    run.train()
    run.figures()


def content(folder):
    """Return the bytes of every file by its path, without the seconds that a grid took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name, pattern in (("grid.json", rb'"seconds": [0-9.]+'), ("results.csv", rb"(?<=,[0-9],)[0-9.]+")):
        if name in files:
            files[name] = re.sub(pattern, b"", files[name])
    return files


class FileOperations:
    """Counts the operations on files of `folder` in this process, and kills it at number `last`."""

    def __init__(self, folder, last=None, part=0.0):
        self.folder, self.last, self.part, self.count = str(folder), last, part, 0
        sys.addaudithook(self.audit)
        self.fsync, os.fsync = os.fsync, lambda handle: (self.reached("fsync"), self.fsync(handle))

    def audit(self, event, arguments):
        if event not in ("open", "os.chmod", "os.rename", "os.remove", "os.mkdir", "fcntl.flock"):
            return
        if event == "fcntl.flock" or str(arguments[0]).startswith(self.folder):
            self.reached(event, arguments[0])

    def reached(self, event, path=None):
        self.count += 1
        if self.count == self.last:
            if event == "os.chmod":  # of a file that has just been written
                os.truncate(path, int(self.part * os.path.getsize(path)))
            os.kill(os.getpid(), signal.SIGKILL)


def fork(action):
    """Return the process that runs `action`; it ends with status 0, 130 after a Ctrl-C, or 1."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        action()
        status = 0
    except (Interrupted, KeyboardInterrupt):
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended_by(child, deadline):
    """Wait for a child, at most until `deadline`; return how it ended, None if it did not."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.0005)


class Harness:
    """Trainings of one kind, called `name`, in folders inside `folder`."""

    def __init__(self, name, folder, seed):
        self.name, self.folder, self.random = name, folder, random.Random(f"{name} {seed}")
        self.kills, self.findings = Counter(), []
        self.right = folder / f"{name}-undisturbed"
        train(name, folder / "first")  # what is imported and compiled now is there in every child
        shutil.rmtree(folder / "first")
        assert len(os.listdir("/proc/self/task")) == 1 or sys.platform != "linux", (
            "a thread is alive at a fork"
        )
        gc.freeze()
        reader, writer = os.pipe()

        def count():
            operations = FileOperations(self.right)
            train(name, self.right)
            os.write(writer, str(operations.count).encode())

        started = time.monotonic()
        child = fork(count)
        os.close(writer)
        status, counted = end_of(child), os.read(reader, 99)
        os.close(reader)
        if status:
            raise SystemExit(f"the undisturbed training {name} ended with {status}")
        self.seconds, self.operations = time.monotonic() - started, int(counted)

    def run(self, kills):
        """Kill `kills` times, in as many folders as that takes; yield after every kill."""
        number = 0
        while sum(self.kills.values()) < kills and not self.findings:
            folder = self.folder / f"{self.name}-{number}"
            number += 1
            wanted = min(self.random.randint(1, 15), kills - sum(self.kills.values()))
            while wanted and (killed := self.kill_once(folder)):
                wanted -= 1
                self.check_whole(folder)
                yield killed
            if not self.findings:
                self.finish(folder)
                shutil.rmtree(folder, ignore_errors=True)

    def kill_once(self, folder):
        """Train until a kill; return whether there was one, or the training ended before it."""
        how = self.random.choices(list(SHARES), list(SHARES.values()))[0]
        last, part = self.random.randint(1, self.operations // 2), self.random.random()
        after, then = self.random.uniform(0, 0.5 * self.seconds), self.random.uniform(0, 0.03)

        def action():
            if how == "file":
                FileOperations(folder, last, part)
            train(self.name, folder)

        child, started = fork(action), time.monotonic()
        if how == "file":
            status = end_of(child)
        else:
            status = ended_by(child, started + after)
            if status is None and how == "ctrl-c":
                os.kill(child, signal.SIGINT)
                status = ended_by(child, time.monotonic() + then)
            if status is None:
                os.kill(child, signal.SIGKILL)
                status = end_of(child)
        if status not in (0, 130, -signal.SIGKILL):
            self.findings.append(f"{folder}: a training that resumed ended with {status}")
        self.kills[how] += status == -signal.SIGKILL
        return status == -signal.SIGKILL or status == 130

    def check_whole(self, folder):
        """Every file that is there is complete, and can be read."""
        try:
            for path in folder.rglob("checkpoint.safetensors"):
                load_tree(path)
            for run in find_runs(folder):
                load_run(run, model=TRAININGS[self.name]()[1].get("model"))
        except Exception:
            self.findings.append(f"{folder}: a file is not whole: {traceback.format_exc()}")

    def finish(self, folder):
        """Train to the end, and compare."""
        status = end_of(fork(lambda: train(self.name, folder)))
        if status:
            self.findings.append(f"{folder}: a training that resumed ended with {status}")
            return
        files, right = content(folder), content(self.right)
        if names := files.keys() ^ right.keys():
            self.findings.append(f"{folder}: files that stayed or are missing: {sorted(names)}")
        elif names := [name for name in files if files[name] != right[name]]:
            self.findings.append(f"{folder}: other content than without kills: {sorted(names)}")


def main():
    """Print a line of JSON after every kill, and a last one with what was found."""
    run_module.save_curves = grid_module.save_bands = draw_text
    task = json.loads(sys.argv[1])
    folder, count, seed = Path(task["folder"]), task["kills"], task["seed"]
    kills, findings, operations = Counter(), [], {}
    names = task["trainings"]
    for i, name in enumerate(names):
        harness = Harness(name, folder, seed)
        for _ in harness.run(count // len(names) + (i < count % len(names))):
            print(json.dumps({"kills": sum((kills + harness.kills).values())}), flush=True)
        kills += harness.kills
        findings += harness.findings
        operations[name] = harness.operations
    print(json.dumps({"kills": kills, "findings": findings, "operations": operations}), flush=True)


if __name__ == "__main__":
    main()
