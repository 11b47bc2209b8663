"""NormGrid: the same training with several normalizations and seeds, to compare them.

The folder of a grid holds

    grid.json     settings, and the state of every run
    results.csv   one line per finished run
    curves.png    the mean curve of each normalization, with a band of one standard deviation
    batch-0/ …    the folders of the runs, named by normalization and seed

Each run is an ordinary run (run.py). A grid that was interrupted goes on where it was: finished runs are not
repeated.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from .. import data
from ..files import replacing
from ..ops.arguments import as_size
from .bands import save_bands
from .config import Config
from .norm_choices import find_norm, folder_name
from .older_settings import of_today
from .run import Diverged, Run
from .run_folder import GRID_FILES, own_folder
from .run_record import read_metrics
from .task import Figures


class Spread(NamedTuple):
    """The mean over seeds, and the standard deviation (of n − 1); NaN for a single seed."""

    mean: float
    std: float


class Summary(NamedTuple):
    """What one normalization reached over its seeds.

    norm        the normalization
    runs        the number of finished runs
    diverged    the number of runs whose loss became infinite or NaN; they are in no mean
    part        the part of the data of `figures`: "test", for text "validation"
    figures     the figures on that part, by name, the cost first
    best        the lowest validation cost of all epochs
    seconds     the time to train and evaluate a run
    """

    norm: str
    runs: int
    diverged: int
    part: str
    figures: dict[str, Spread]
    best: Spread
    seconds: Spread


class NormGrid:
    """Train `config` with each of `norms` and with `seeds` seeds, from `config.seed` on, in the folder `out`.

    `dataset` is a `tn.data.Dataset` of one's own, `threads` as in `Run`. Runs that are in the folder already
    are not repeated; norms and seeds may be added to a grid.

    Raises:
        ValueError: if there are no norms or seeds, a norm is unknown or not for this model, or the folder has
            runs with other settings.
    """

    def __init__(
        self,
        config: Config,
        norms: Sequence[str],
        seeds: int,
        out: str | Path,
        *,
        dataset: data.Dataset | None = None,
        threads: int = 1,
    ) -> None:
        if seeds < 1 or not norms:
            raise ValueError(
                f"a grid needs at least one norm and one seed, got norms {list(norms)} and {seeds} seeds"
            )
        config = config.with_own(dataset=dataset is not None, model=False)
        self.config, self.norms, self.seeds = config, list(dict.fromkeys(norms)), seeds
        self.out, self.dataset, self.threads = Path(out), dataset, threads
        self.configs: dict[str, Config] = {}
        for seed in range(config.seed, config.seed + seeds):  # all norms with one seed, then the next seed
            for norm in self.norms:
                self.configs[f"{folder_name(norm)}-{seed}"] = dataclasses.replace(
                    config, norm=norm, seed=seed
                )
        for norm in self.norms:
            find_norm(norm)((16, 2, 2) if config.model == "cnn" else (64,))  # raises if it does not fit
        for name, one in self.configs.items():
            path = self.out / name / "config.json"
            if path.exists() and Config.load(path) != one:
                raise ValueError(
                    f"{path.parent} is a run with other settings: choose another folder for these runs"
                )
        path = self.out / "grid.json"
        state = _read_state(path) if path.exists() else {"labels": {}, "runs": {}}
        self.labels: dict[str, str] = state["labels"]
        self.state: dict[str, dict[str, Any]] = {
            name: entry
            for name, entry in state["runs"].items()
            if "diverged" in entry or (self.out / name / "metrics.csv").exists()  # was its folder removed?
        }

    @classmethod
    def load(cls, out: str | Path, threads: int = 1) -> NormGrid:
        """Return the grid in the folder `out`, to continue it or to read its results.

        Raises:
            ValueError: if there is none; if it is damaged; if it has a dataset of a script's own (pass it to
                `NormGrid`).
        """
        path = Path(out) / "grid.json"
        if not path.exists():
            raise ValueError(f"{out} has no grid.json: there is no grid to continue")
        state = _read_state(path)
        return cls(state["config"], state["norms"], state["seeds"], out, threads=threads)

    def train(self, train: Callable[[Run], Any] = lambda run: run.train()) -> None:
        """Train what is not finished, and save after every run. `train` trains one `Run`.

        A run whose loss is not finite counts as diverged, and the next one follows.

        Raises:
            Interrupted: after Ctrl-C, with everything saved.
            ValueError: if the model does not fit the data, or another process trains in the folder.
            OSError: if a folder cannot be created or written to.
        """
        with own_folder(self.out, GRID_FILES):
            self._save()
            for name in self.unfinished:
                self._train_one(name, train)
                self._save()
            self._draw()

    def _draw(self) -> None:
        histories = {
            norm: [read_metrics(self.out / name / "metrics.csv") for name, _ in self._finished(norm)]
            for norm in self.norms
            if any(self._finished(norm))
        }
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        title = f"{self.config.model} on {self.config.data_name}, {seeds}"
        save_bands(self.out / "curves.png", histories, self.labels, title)

    @property
    def unfinished(self) -> list[str]:
        """The names of the runs that are neither finished nor diverged."""
        ended = {"figures", "diverged"}
        return [name for name in self.configs if not ended & self.state.get(name, {}).keys()]

    def summary(self) -> list[Summary]:
        """Return what each normalization with a finished run reached, in the order of `norms`."""
        return [self._summarize(norm) for norm in self.norms if any(self._finished(norm))]

    def diverged(self, norm: str) -> int:
        """Return the number of runs of `norm` whose loss became infinite or NaN."""
        return sum(
            config.norm == norm and "diverged" in self.state.get(name, {})
            for name, config in self.configs.items()
        )

    def _train_one(self, name: str, train: Callable[[Run], Any]) -> None:
        config, folder = self.configs[name], self.out / name
        resume = (folder / "checkpoint.safetensors").exists()
        run = Run(config, folder, resume, dataset=self.dataset, threads=self.threads)
        self.labels = run.task.curves()
        state = self.state.setdefault(name, {"seconds": 0.0})
        started = time.perf_counter()
        try:
            train(run)
            state["figures"] = run.figures()
        except Diverged as error:
            state["diverged"] = str(error)
        finally:  # Ctrl-C too
            state["seconds"] += time.perf_counter() - started
            self._save()

    def _finished(self, norm: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, config in self.configs.items():
            if config.norm == norm and "figures" in self.state.get(name, {}):
                yield name, self.state[name]

    def _summarize(self, norm: str) -> Summary:
        names, states = zip(*self._finished(norm), strict=True)
        part = list(states[0]["figures"])[-1]
        results: list[Figures] = [state["figures"][part] for state in states]
        cost = next(iter(results[0]))
        best = [
            min(row[f"validation_{cost}"] for row in read_metrics(self.out / name / "metrics.csv"))
            for name in names
        ]
        return Summary(
            norm,
            len(states),
            self.diverged(norm),
            part,
            {name: _spread([figures[name] for figures in results]) for name in results[0]},
            _spread(best),
            _spread([state["seconds"] for state in states]),
        )

    def _save(self) -> None:
        state = {
            "config": dataclasses.asdict(self.config),
            "norms": self.norms,
            "seeds": self.seeds,
            "labels": self.labels,
            "runs": self.state,
        }
        with replacing(self.out / "grid.json") as path:
            path.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        rows = [
            {"norm": norm, "seed": self.configs[name].seed, "seconds": f"{state['seconds']:.3f}"}
            | {f"{part}_{key}": v for part, figures in state["figures"].items() for key, v in figures.items()}
            for norm in self.norms
            for name, state in self._finished(norm)
        ]
        with (
            replacing(self.out / "results.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["norm", "seed", "seconds"])
            writer.writeheader()
            writer.writerows(rows)


def _read_state(path: Path) -> dict[str, Any]:
    """Return what grid.json says, with the settings as a Config.

    Raises:
        ValueError: if it was not written by a grid.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        labels, runs = state.get("labels", {}), state.get("runs", {})
        numbers = [entry["seconds"] for entry in runs.values()]
        for entry in runs.values():
            numbers += [value for part in entry.get("figures", {}).values() for value in part.values()]
        math.fsum(numbers)  # raises TypeError if one is not a number
        ",".join([*state["norms"], *labels, *labels.values()])  # and if one is not a text
        config = Config(**of_today(state["config"]))
        return state | {
            "config": config,
            "seeds": as_size(state["seeds"], "seeds"),
            "labels": labels,
            "runs": runs,
        }
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} was edited, or is damaged ({type(error).__name__}: {error}). Remove it, and repeat the "
            f"first command with --out {path.parent}: what is finished is not trained again"
        ) from error


def _spread(values: Sequence[float]) -> Spread:
    std = float(numpy.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Spread(float(numpy.mean(values)), std)
