"""RunRecord: the settings and figures of a run, as its folder holds them; and how runs differ."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import replacing
from .config import Config

HIGHER_IS_BETTER = ("accuracy", "r2")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """The settings and figures of a run; `read_record` reads it.

    folder     the folder of the run
    config     the settings
    metrics    one dict per epoch, as in metrics.csv
    results    the figures of every part after the last epoch; {} if the run did not finish
    """

    folder: Path
    config: Config
    metrics: list[dict[str, float]]
    results: dict[str, dict[str, float]]

    @property
    def figure_names(self) -> list[str]:
        """The names of the figures, the cost first; [] before the first epoch ends."""
        first = self.metrics[0] if self.metrics else {}
        return [name.removeprefix("validation_") for name in first if name.startswith("validation_")]

    @property
    def main_figure(self) -> str | None:
        """The figure by which a run is judged: accuracy, R², bits per character, or the cost."""
        names = self.figure_names
        if not names or names[0] == "bits_per_character":
            return names[0] if names else None
        return next((name for name in names if name in HIGHER_IS_BETTER), names[0])

    def best_validation(self) -> tuple[float, int] | None:
        """Return the best validation value of the main figure, and its epoch; None before the first ends."""
        name = self.main_figure
        if name is None:
            return None
        best = max if name in HIGHER_IS_BETTER else min
        row = best(self.metrics, key=lambda row: row[f"validation_{name}"])
        return row[f"validation_{name}"], int(row["epoch"])


def read_record(folder: str | Path) -> RunRecord:
    """Return the settings and figures of the run in `folder`.

    Raises:
        ValueError: if the folder has no run, or a file was edited badly.
    """
    folder = Path(folder).expanduser()
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            if inner := find_runs(folder):
                names = ", ".join(path.name for path in inner[:5]) + (", …" if len(inner) > 5 else "")
                raise ValueError(f"{folder} holds several runs, {names}: pass the folder of one of them")
            raise ValueError(f"{folder} has no {name}: it is not the folder of a run")
    try:
        metrics, results = list(_metrics(folder)), _results(folder)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: metrics.csv or results.json was edited badly: {error}") from error
    return RunRecord(folder, Config.load(folder / "config.json"), metrics, results)


def save_metrics(path: Path, columns: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> None:
    """Write the figures of every epoch to a CSV file."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(metrics)


def find_runs(folder: Path) -> list[Path]:
    """Return the folders of runs in `folder`, at any depth, sorted by name."""
    return sorted(
        path.parent for path in folder.rglob("config.json") if (path.parent / "model.safetensors").exists()
    )


def differing_settings(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return the settings in which the configs of `runs` differ, by name: the value of each run as text."""
    configs = [dataclasses.asdict(run.config) for run in runs]
    differing = {}
    for name in configs[0] if configs else ():
        values = [config[name] for config in configs]
        if any(value != values[0] for value in values):
            differing[name] = [_text(value) for value in values]
    return differing


def _metrics(folder: Path) -> Iterator[dict[str, float]]:
    path = folder / "metrics.csv"
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield {name: int(text) if name == "epoch" else float(text) for name, text in row.items()}


def _results(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)
