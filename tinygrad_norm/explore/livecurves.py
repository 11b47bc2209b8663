"""The curves of a training for the page: filled by the run that trains, read by the thread of the server.

    curves = TrainingCurves("mlp on digits, batch normalization", "runs/digits-mlp-batch")
    with curves.following(run) as (on_step, on_epoch):
        run.train(on_step, on_epoch)

A training curve has up to `POINTS` points per run. Each is the figure over the steps since the point before
it, a difference of sums that the run keeps anyway: what is trained does not change.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy

from ..training import Config, Diverged, Interrupted, Run
from ..training.early_stopping import EarlyStopping
from ..training.task import Sums

POINTS = 400
"""Points of the training curve of a run, at most; and one more per epoch."""

Step = Callable[[Run], None]


@dataclass
class Curve:
    """The figures of one run so far: rows with "epoch", where it was measured, and the figures by name.

    `state` is "waiting", "training", "finished", "diverged" or "stopped"; `words` say why it ended early.
    `training` has figures over a few batches; `trained` those of whole epochs, as in metrics.csv; `kept` is
    the epoch whose figures results.json has, 0 before the run is finished.
    """

    norm: str
    seed: int
    epochs: int
    state: str = "waiting"
    words: str = ""
    done: float = 0.0
    training: list[dict[str, float]] = field(default_factory=list)
    trained: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    kept: int = 0
    version: int = 0

    def history(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Add epochs that were trained before, rows as in metrics.csv."""
        for row in rows:
            self.training.append(_part(row, "train") | {"epoch": row["epoch"] - 0.5})
            self.epoch(row)
            self.done = row["epoch"]

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add the figures of an epoch that is finished, a row as in metrics.csv."""
        self.trained.append(_part(row, "train") | {"epoch": row["epoch"]})
        self.validation.append(_part(row, "validation") | {"epoch": row["epoch"]})


class TrainingCurves:
    """The curves of one run, or of several that are trained one after the other.

    Args:
        title: what is trained.
        folder: where the results are written.
    """

    def __init__(self, title: str, folder: str) -> None:
        self.title, self.folder = title, folder
        self.labels: dict[str, str] = {}
        self.state = "training"
        self._runs: dict[str, Curve] = {}
        self._version = 0
        self._lock = threading.Lock()

    @property
    def is_training(self) -> bool:
        """Whether the process still trains: then nothing else may be computed in it."""
        return self.state == "training"

    @property
    def diverged(self) -> bool:
        """Whether the loss of a run became infinite or NaN."""
        return any(curve.state == "diverged" for curve in self._runs.values())

    def expect(self, name: str, config: Config, rows: Sequence[Mapping[str, float]] = (), **now: Any) -> None:
        """Add a run that comes later, or that was trained before: with its `rows`, `state` and `words`."""
        with self._changing(Curve(str(config.norm), config.seed, config.epochs or 0, **now), name) as curve:
            curve.history(rows)
            if curve.state == "finished" and rows:
                cost = next(column for column in rows[0] if column.startswith("validation_"))
                curve.kept = EarlyStopping(config.early_stop, cost).best_epoch(rows) + 1

    @contextmanager
    def following(self, run: Run) -> Iterator[tuple[Step, Step]]:
        """Yield what is to be called after each step and after each epoch of `run`."""
        name, steps = run.out.name, len(run.loader)
        curve = Curve(str(run.config.norm), run.config.seed, run.config.epochs or 0, "training")
        curve.history(run.progress.history)
        self.labels = run.task.curves()
        with self._changing(curve, name):
            pass
        read, first = run.progress.sums.read(), run.progress.step
        part = -1

        def on_step(run: Run) -> None:
            nonlocal read, first, part
            step, epoch = run.progress.step, run.progress.epoch
            now = (epoch * steps + step) * POINTS // (curve.epochs * steps)
            if now == part and step != steps:
                return
            sums, part = run.progress.sums.read(), now
            with numpy.errstate(all="ignore"):
                figures = run.task.figures(sums - read)
            with self._changing(curve):
                curve.training.append(_numbers(figures) | {"epoch": epoch + (first + step) / 2 / steps})
                curve.done = epoch + step / steps
            read, first = (Sums(), 0) if step == steps else (sums, step)

        def on_epoch(run: Run) -> None:
            with self._changing(curve):
                curve.epoch(run.progress.history[-1])

        try:
            yield on_step, on_epoch
        except BaseException as error:
            with self._changing(curve):
                curve.state = "diverged" if isinstance(error, Diverged) else "stopped"
                by_hand = isinstance(error, Interrupted | KeyboardInterrupt)
                curve.words = "stopped by Ctrl-C" if by_hand else str(error)
            raise
        with self._changing(curve):
            curve.state, curve.kept = "finished", run.kept_epoch

    def end(self, state: str = "finished") -> None:
        """Say that nothing more is trained: it is finished, or it was "stopped"."""
        with self._lock:
            self._version += 1
            self.state = state

    def since(self, version: int = 0) -> dict[str, Any]:
        """Return the state and the runs that changed after `version`, as data for JSON."""
        with self._lock:
            return {
                "version": self._version,
                "title": self.title,
                "folder": self.folder,
                "state": self.state,
                "labels": dict(self.labels),
                "runs": [
                    {**vars(curve), "name": name}
                    | {part: list(getattr(curve, part)) for part in ("training", "trained", "validation")}
                    for name, curve in self._runs.items()
                    if curve.version > version
                ],
            }

    @contextmanager
    def _changing(self, curve: Curve, name: str | None = None) -> Iterator[Curve]:
        with self._lock:
            yield curve
            self._version += 1
            curve.version = self._version
            if name is not None:
                self._runs[name] = curve


def _part(row: Mapping[str, float], part: str) -> dict[str, Any]:
    start = f"{part}_"
    return _numbers({name.removeprefix(start): v for name, v in row.items() if name.startswith(start)})


def _numbers(figures: Mapping[str, float]) -> dict[str, Any]:
    """Return Python numbers; JSON has no NaN and no infinity: None."""
    return {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}
