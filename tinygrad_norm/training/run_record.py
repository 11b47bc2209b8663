"""RunRecord: the settings and figures of a run, as its folder holds them; and how runs differ."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import replacing
from .checkpoint import load_tree, naming
from .config import Config
from .older_settings import of_today

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
    config = read_config(folder)
    return RunRecord(
        folder, config, read_metrics(folder / "metrics.csv"), read_results(folder / "results.json")
    )


def read_config(folder: Path) -> Config:
    """Return the settings of the run in `folder`.

    Raises:
        ValueError: if the folder has no run, or config.json was edited badly.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            if inner := find_runs(folder):
                names = ", ".join(path.name for path in inner[:5]) + (", …" if len(inner) > 5 else "")
                raise ValueError(f"{folder} holds several runs, {names}: pass the folder of one of them")
            if (folder / "checkpoint.safetensors").is_file():
                raise ValueError(
                    f"{folder} has a checkpoint, but no {name}: tinygrad-norm train --resume {folder} "
                    "writes it again"
                )
            raise ValueError(
                f"{folder} has no {name}: it is not the folder of a run. Pass one that train has "
                "written, such as runs/NAME"
            )
    return Config.load(folder / "config.json")


def saved_config(folder: Path) -> Config:
    """Return the config of a run, to resume it; that of its checkpoint if config.json is missing.

    Raises:
        ValueError: if neither can be read.
    """
    path = folder / "checkpoint.safetensors"
    if (folder / "config.json").exists() or not path.is_file():
        return Config.load(folder / "config.json")
    with naming(path):
        return Config(**of_today(load_tree(path)["config"]))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return one dict per epoch of a metrics.csv; [] if there is none.

    Raises:
        ValueError: if it is not one.
    """
    try:
        return list(_rows(path)) if path.exists() else []
    except (ValueError, csv.Error) as error:
        raise _damaged(path, error) from error


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


def _rows(path: Path) -> Iterator[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file, strict=True)
        columns = next(lines, [])
        if columns[:1] != ["epoch"] or len(set(columns)) < len(columns):
            raise ValueError("the first line must have the names of the columns, beginning with epoch")
        train, validation = (
            [name.removeprefix(part) for name in columns if name.startswith(part)]
            for part in ("train_", "validation_")
        )
        if train != validation or len(columns) != 1 + 2 * len(train):
            raise ValueError("the first line must name the same figures for training and validation")
        for epoch, line in enumerate(lines, 1):
            if len(line) != len(columns):
                raise ValueError(f"line {lines.line_num} has {len(line)} cells, not {len(columns)}")
            row = dict(zip(columns, map(float, line), strict=True))
            if row["epoch"] != epoch:
                raise ValueError(f"line {lines.line_num} must be that of epoch {epoch}")
            yield row | {"epoch": epoch}


def read_results(path: Path) -> dict[str, dict[str, float]]:
    """Return the figures in a results.json, by part and name; {} if there is none.

    Raises:
        ValueError: if it is not one.
    """
    if not path.exists():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return {part: {name: value + 0.0 for name, value in row.items()} for part, row in results.items()}
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} was edited, or is damaged ({error}): tinygrad-norm train --resume {path.parent} writes it "
        "again"
    )


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)
