"""Training is killed with SIGKILL at random moments, and resumes with the numbers of an undisturbed run.

By hand: `python3 -m pytest -n 0 -m "" tests/reliability/test_kills.py -k many --times 1000`.
"""

import json
import os
import subprocess
import sys
import time

import killed_runs
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the trainings are forked")


def kill(folder, kills, seed, trainings, on_kill=lambda count: None):
    """Return the last line of killed_runs.py, a process of its own: one with threads must not fork."""
    task = json.dumps({"folder": str(folder), "kills": kills, "seed": seed, "trainings": trainings})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, killed_runs.__file__, task]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        said = {}
        for line in process.stdout:
            said = json.loads(line)
            on_kill(said["kills"])
        errors = process.stderr.read().decode()
    assert process.returncode == 0, errors
    assert not said["findings"], "\n".join([*said["findings"], errors, f"with {task}"])
    assert sum(said["kills"].values()) == kills
    return said


def test_a_few_kills(tmp_path):
    kill(tmp_path, 10, 0, ["mlp"])


@pytest.mark.slow
def test_many_kills(tmp_path, times, capsys):
    started, said_at = time.monotonic(), 0.0

    def progress(count):
        nonlocal said_at
        if times and isinstance(count, int) and time.monotonic() - said_at > 10:
            said_at = time.monotonic()
            to_go = (said_at - started) / count * (times - count)
            with capsys.disabled():
                print(f"\n{count} of {times} kills, nothing lost, {to_go:.0f} s to go", end="", flush=True)

    said = kill(tmp_path, times or 100, 1, ["mlp", "rnn", "grid"], progress)
    if times:
        with capsys.disabled():
            print(f"\n{times} kills: {said}")
