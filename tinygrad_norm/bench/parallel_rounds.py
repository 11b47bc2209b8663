"""Rounds of measurements: each starts every number of processes once, so that all share slow moments."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .parallel_step import Measured, Profile, Step
from .timing import settings


def find_mpiexec() -> str:
    """Return the path of `mpiexec`: the one beside this Python, or the first on PATH.

    Raises:
        RuntimeError: if there is none, or mpi4py is not installed.
    """
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if found is None or find_spec("mpi4py") is None:
        missing = "mpiexec to start processes with" if found is None else "mpi4py to send messages with"
        raise RuntimeError(f"there is no {missing}: pip install 'tinygrad_norm[mpi]' mpich")
    return found


def measure_with(mpiexec: str, ranks: int, command: Sequence[str]) -> Measured:
    """Start `command --json FILE` on so many processes of one thread, and return what it has measured.

    Raises:
        RuntimeError: if it fails; with its messages.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.json"
        done = subprocess.run(
            [mpiexec, "-n", str(ranks), sys.executable, "-m", *command, "--json", str(path)],
            env={**os.environ, **settings()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not path.exists():
            raise RuntimeError(f"mpiexec -n {ranks} has failed:\n{(done.stderr or done.stdout).rstrip()}")
        return from_json(json.loads(path.read_text(encoding="utf-8")))


def from_json(read: dict[str, Any]) -> Measured:
    """Return what a file of `bench distributed` inside mpiexec has."""
    steps = [
        Step(**{**row, "messages": {kind: (count, size) for kind, (count, size) in row["messages"].items()}})
        for row in read["rows"]
    ]
    profiles = [
        Profile(
            **{
                **found,
                "buckets": tuple((moment, size) for moment, size in found["buckets"]),
                "gathers": tuple(found["gathers"]),
                "sums": tuple(found["sums"]),
            }
        )
        for found in read["profiles"]
    ]
    times = [(ranks, size, seconds) for ranks, size, seconds in read["all_reduces"]]
    return Measured(read["ranks"], steps, profiles, times)


@dataclass(frozen=True)
class Row:
    """The median step over rounds, in seconds; `low` and `high` are the fastest and the slowest round.

    efficiency   of one process's time, what this would be at best / what it is; None without one process
    predicted    by the α-β model fitted to this machine; None for one process and for strong scaling
    """

    step: Step
    low: float
    high: float
    efficiency: float | None
    predicted: float | None = None


def summary(rounds: Iterable[Measured]) -> list[Row]:
    """Return a row for each model, scaling and number of processes."""
    found: dict[tuple[str, str, int], list[Step]] = defaultdict(list)
    for measured in rounds:
        for step in measured.steps:
            found[step.model, step.scaling, step.ranks].append(step)
    rows = []
    for (model, scaling, ranks), steps in found.items():
        seconds, waiting, alone = (
            statistics.median(getattr(step, name) for step in steps)
            for name in ("seconds", "waiting", "alone")
        )
        first = steps[0]
        middle = Step(model, scaling, ranks, first.samples, seconds, waiting, alone, first.messages)
        times = [step.seconds for step in steps]
        alone_times = [step.seconds for step in found.get((model, scaling, 1), ())]
        efficiency = None
        if alone_times:
            shared = ranks if scaling == "strong" else 1
            efficiency = statistics.median(alone_times) / shared / seconds
        rows.append(Row(middle, min(times), max(times), efficiency))
    models = list(dict.fromkeys(row.step.model for row in rows))
    return sorted(rows, key=lambda row: (models.index(row.step.model), row.step.scaling, row.step.ranks))


def median_profiles(rounds: Iterable[Measured]) -> list[Profile]:
    """Return of each model the profile of the round whose step took the median time."""
    found: dict[str, list[Profile]] = defaultdict(list)
    for measured in rounds:
        for profile in measured.profiles:
            found[profile.model].append(profile)
    return [sorted(profiles, key=lambda p: p.whole)[(len(profiles) - 1) // 2] for profiles in found.values()]


def median_all_reduces(rounds: Iterable[Measured]) -> list[tuple[int, int, float]]:
    """Return (ranks, bytes, median seconds)."""
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for measured in rounds:
        for ranks, nbytes, seconds in measured.all_reduces:
            found[ranks, nbytes].append(seconds)
    return [(*key, statistics.median(times)) for key, times in found.items()]
