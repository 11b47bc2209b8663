"""Read the results of a folder again: the verdicts, by the rules of today."""

from dataclasses import dataclass
from pathlib import Path

from .experiment import EXPERIMENTS
from .experimenting import FOLDER, Outcome, judged
from .result_file import Record, read


@dataclass(frozen=True)
class Report:
    """The outcomes of a folder; what else it has, in words."""

    outcomes: list[Outcome]
    remarks: list[str]


def report(folder: str | Path = FOLDER) -> Report:
    """Return the outcomes of the experiments in a folder, in the order of the list.

    Raises:
        ValueError: if there is no such folder, it has no results, or one is damaged or of another version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder}: run an experiment first, or pass the folder of results"
        )
    records = {path.stem: read(path) for path in sorted(folder.glob("*.json"))}
    if not records:
        raise ValueError(f"{folder} holds no results: run an experiment first, or pass another folder")
    remarks = [f"left out: {name} is no experiment here" for name in records if name not in EXPERIMENTS]
    outcomes = []
    for name, experiment in EXPERIMENTS.items():
        if name not in records:
            continue
        record = records[name]
        if record.verdict is None:
            command = f"tinygrad-norm experiment run {name} --out {folder}"
            remarks.append(f"not finished: {name}, {record.unfinished} jobs are left: {command}")
            continue
        outcomes.append(outcome := judged(experiment, record, folder))
        remarks += _changes(outcome, record)
    return Report(outcomes, remarks)


def _changes(outcome: Outcome, record: Record) -> list[str]:
    """Return in words what differs from the day of the run."""
    name, found = outcome.experiment.name, []
    if record.facts["rule"] != outcome.experiment.rule:
        found.append(f"{name}: its rule was changed after the run")
    if record.verdict != outcome.verdict.state:
        found.append(f"{name}: the verdict was {record.verdict!r} when it was run")
    return found
