"""Read the results of a folder again: the verdicts, by the rules of today, and a page in Markdown."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .experiment import EXPERIMENTS, Row
from .experimenting import FOLDER, Outcome, judged
from .result_file import Record, read

HEADINGS = ("quantity", "ours", "paper")


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


def markdown(found: Report, beside: str | Path = ".") -> str:
    """Return the page of all outcomes, for the folder `beside`: an overview, then each with its plot.

    A plot that is not there is left out; `save_plot` draws it from the figures.
    """
    lines = ["# What the papers claim, and what we found", ""]
    lines += ["| experiment | verdict | reason |", "| --- | --- | --- |"]
    for one in found.outcomes:
        verdict = one.verdict
        lines.append(
            f"| [{one.experiment.title}](#{_anchor(one)}) | {verdict.state} | {_cell(verdict.reason)} |"
        )
    for one in found.outcomes:
        lines += ["", *_section(one, Path(beside))]
    if found.remarks:
        lines += ["", *(f"- {remark}" for remark in found.remarks)]
    return "\n".join(lines) + "\n"


def _section(one: Outcome, beside: Path) -> list[str]:
    experiment, record = one.experiment, one.record
    versions = {(job.made["version"], job.made["commit"] or "commit unknown") for job in record.jobs}
    made = ", ".join(f"tinygrad_norm {version} ({commit})" for version, commit in sorted(versions))
    plot = Path(os.path.relpath(one.plot, beside)).as_posix()
    lines = [
        f"## {experiment.title}",
        "",
        f"{experiment.claim} ({experiment.source})",
        "",
        f"The paper: {experiment.paper} ({experiment.known}).",
        "",
        *_table(one.rows),
        "",
        f"**{one.verdict.state}**: {one.verdict.reason}",
        "",
        f"Rule: {experiment.rule}",
        "",
        *([f"![{experiment.title}]({plot})", ""] if one.plot.exists() else []),
        f"`tinygrad-norm experiment run {experiment.name}`, {len(record.seeds)} seeds, "
        f"{len(record.jobs)} jobs, {one.seconds:.0f} s of computing; {made}.",
    ]
    if record.tuning:
        best = ", ".join(f"{value:g} for {setting}" for setting, value in record.tuning["chosen"].items())
        tried = ", ".join(next(iter(record.tuning["scores"].values())))
        lines += ["", f"{record.tuning['parameter']} tuned for each setting among {tried}: {best}."]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- | ---: | ---: |"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(one: Outcome) -> str:
    """Return the anchor that GitHub and MyST make of the heading."""
    kept = (c for c in one.experiment.title.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")
