"""Ranks are killed at random moments: all end, the rank is named, and the run resumes with others.

By hand: `python3 -m pytest -n 0 -m "" tests/reliability/test_killed_ranks.py --times 50`.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import trained_ranks
from mpi_runs import MISSING, finished, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PROGRAM = sys.executable, trained_ranks.__file__
SOON = 10.0
"""Seconds within which all ranks must have ended."""


def figures(folder):
    """The figures of the epochs that are saved."""
    path = folder / "metrics.csv"
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2) if path.exists() else np.empty((0, 0))


def train(folder, size, victim=None, delay=0.0):
    """Train on `size` ranks, and kill one of them after `delay` seconds.

    Returns what mpiexec returns, the seconds since the ranks began, or since the kill, and whether the victim
    had taken leave of the others by then.
    """
    with started(size, *PROGRAM, str(folder)) as process:
        ranks = dict(map(int, process.stdout.readline().split()) for _ in range(size))
        if victim is not None:
            try:
                process.wait(delay)  # it ends sooner than expected
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.kill(ranks[victim], signal.SIGKILL)
        began = time.monotonic()
        done = finished(process)
        return done, time.monotonic() - began, f"left {ranks.get(victim)}\n" in done.stdout


class Kills:
    """Kills ranks of a run in `folder`, until it ends as the one in `undisturbed`; then of the next run."""

    def __init__(self, folder, undisturbed):
        self.folder, self.undisturbed, self.rng = folder, undisturbed, random.Random(0)
        self.killed, self.slowest, self.runs = Counter(), 0.0, 0
        done, self.longest, _ = train(undisturbed, 2)
        assert done.returncode == 0, done.stderr
        assert len(figures(undisturbed)) == trained_ranks.EPOCHS

    def kill(self):
        size = self.rng.choice((2, 3))
        victim, before = self.rng.randrange(size), len(figures(self.folder))
        delay = self.longest * (1 - before / trained_ranks.EPOCHS) * self.rng.random()
        what = f"rank {victim} of {size}, killed after {delay:.3f} s"
        done, seconds, had_left = train(self.folder, size, victim, delay)
        saved = len(figures(self.folder))
        assert saved >= before, what
        named = re.findall(r"rank (\d of \d) was killed", done.stderr)
        if done.returncode == 0 or (had_left and not named):
            assert saved == trained_ranks.EPOCHS, what
            self.compare(what)
            self.longest *= 0.9
            return
        assert named == [f"{victim} of {size}"], f"{what}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{what}\n{done.stderr}"
        assert seconds < SOON, f"{what}: all ended after {seconds:.1f} s"
        self.killed["before an epoch" if not saved else "later"] += 1
        self.slowest = max(self.slowest, seconds)

    def compare(self, what):
        np.testing.assert_allclose(figures(self.folder), figures(self.undisturbed), rtol=1e-4, err_msg=what)
        assert sorted(os.listdir(self.folder)) == sorted(os.listdir(self.undisturbed)), what
        shutil.rmtree(self.folder)
        self.runs += 1


def test_killed_ranks(tmp_path, times, capsys):
    kills, began, said_at = Kills(tmp_path / "run", tmp_path / "undisturbed"), time.monotonic(), 0.0
    while (killed := kills.killed.total()) < (times or 3):
        kills.kill()
        if times and killed and time.monotonic() - said_at > 10:
            said_at = time.monotonic()
            to_go = (said_at - began) / killed * (times - killed)
            with capsys.disabled():
                print(f"\n{killed} of {times} killed, {to_go:.0f} s to go", end="", flush=True)
    done, _, _ = train(kills.folder, 1)
    assert done.returncode == 0, done.stderr
    kills.compare("the last run")
    if times:
        with capsys.disabled():
            print(
                f"\n{dict(kills.killed)}; all ended within {kills.slowest:.2f} s; {kills.runs} runs compared"
            )
