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
from dataclasses import dataclass, replace
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
            encoding="utf-8",
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
                "joints": tuple((ranks, seconds) for ranks, seconds in found["joints"]),
            }
        )
        for found in read["profiles"]
    ]
    times = [(ranks, size, seconds) for ranks, size, seconds in read["all_reduces"]]
    return Measured(read["ranks"], steps, profiles, times)


@dataclass(frozen=True)
class Row:
    """A step over all rounds: its times in seconds are medians of the rounds, except the fastest.

    low, high            the round with the lowest median, and with the highest
    efficiency           the time that the processors would take at best / what they take; None without the
                         time of one process
    fastest_efficiency   the same of the fastest steps
    predicted            by the α-β model fitted to this machine; None for one process and strong scaling
    """

    step: Step
    low: float
    high: float
    efficiency: float | None
    fastest_efficiency: float | None
    predicted: float | None = None


def summary(rounds: Iterable[Measured]) -> list[Row]:
    """Return a row for each model, scaling and number of processes."""
    found: dict[tuple[str, str, int], list[Step]] = defaultdict(list)
    for measured in rounds:
        for step in measured.steps:
            found[step.model, step.scaling, step.ranks].append(step)
    steps = {key: _over_rounds(of_rounds) for key, of_rounds in found.items()}
    rows = []
    for (model, scaling, ranks), step in steps.items():
        times = [one.seconds for one in found[model, scaling, ranks]]
        single, shared = steps.get((model, scaling, 1)), ranks if scaling == "strong" else 1
        efficiencies = (
            (None, None)
            if single is None
            else (single.seconds / shared / step.seconds, single.fastest / shared / step.fastest)
        )
        rows.append(Row(step, min(times), max(times), *efficiencies))
    models = list(dict.fromkeys(row.step.model for row in rows))
    return sorted(rows, key=lambda row: (models.index(row.step.model), row.step.scaling, row.step.ranks))


def _over_rounds(steps: Sequence[Step]) -> Step:
    fastest = min(steps, key=lambda step: step.fastest)
    return replace(
        fastest,
        seconds=statistics.median(step.seconds for step in steps),
        waiting=statistics.median(step.waiting for step in steps),
        alone=min(step.alone for step in steps),
    )


def fastest_profiles(rounds: Iterable[Measured]) -> list[Profile]:
    """Return the profile of each model whose step was the fastest, with the fastest of the other steps."""
    found: dict[str, list[Profile]] = defaultdict(list)
    for measured in rounds:
        for profile in measured.profiles:
            found[profile.model].append(profile)
    return [
        replace(
            min(profiles, key=lambda p: p.whole),
            plain=min(p.plain for p in profiles),
            bucketed=min(p.bucketed for p in profiles),
            joints=tuple(min(times) for times in zip(*(p.joints for p in profiles), strict=True)),
        )
        for profiles in found.values()
    ]


def fastest_all_reduces(rounds: Iterable[Measured]) -> list[tuple[int, int, float]]:
    """Return (ranks, bytes, fastest seconds)."""
    found: dict[tuple[int, int], float] = {}
    for measured in rounds:
        for ranks, nbytes, seconds in measured.all_reduces:
            found[ranks, nbytes] = min(seconds, found.get((ranks, nbytes), seconds))
    return [(*key, seconds) for key, seconds in found.items()]
