"""The outcomes as a page in Markdown, and their words for the terminal."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from .experiment import Row
from .experimenting import Outcome
from .reporting import Report

HEADINGS = ("quantity", "ours", "paper")
KINDS = {
    "exact": "follow from a formula, or hold in the limit",
    "statistical": "are decided by training, over several seeds",
}
INTRODUCTION = """Each claim is measured with at least three seeds, by `tinygrad-norm experiment run NAME`,
and judged by a rule that was written before. "Paper" are the figures of the paper; "ours" are measured here,
on small networks and data; "±" is the standard deviation over the seeds. Where they differ, the paper may
still be right at its own scale.
`tinygrad-norm experiment report` writes this page from the figures beside it."""


def markdown(found: Report, beside: str | Path = ".", pictures: bool = True) -> str:
    """Return the page of all outcomes, for the folder `beside`: an overview, then each with its plot.

    Without `pictures`, plots are left out; `save_plot` draws them from the figures.
    """
    lines = ["# What the papers claim, and what we found", "", *INTRODUCTION.splitlines()]
    for kind, outcomes in groupby(found.outcomes, lambda one: one.experiment.kind):
        lines += ["", f"Claims that {KINDS[kind]}:", ""] if kind in KINDS else [""]
        lines += ["| claim | verdict | reason |", "| --- | --- | --- |"]
        for one in outcomes:
            link = f"[{one.experiment.title}](#{anchor(one.experiment.title)})"
            lines.append(f"| {link} | {one.verdict.state} | {_cell(one.verdict.reason)} |")
    for one in found.outcomes:
        lines += ["", *_section(one, Path(beside), pictures)]
    if found.remarks:
        lines += ["", *(f"- {remark}" for remark in found.remarks)]
    return "\n".join(lines) + "\n"


def tuned_words(outcome: Outcome) -> str:
    """Return in words what was tuned, and how it came out; "" if nothing was."""
    tuning, results = outcome.record.tuning, outcome.results
    if tuning is None:
        return ""
    tried = ", ".join(f"{value:g}" for value in results.scores[results.settings[0]])
    best = [
        f"{value:g} for {setting}{' (an end of the range)' if results.at_an_end(setting) else ''}"
        for setting, value in results.chosen.items()
    ]
    parameter = tuning["parameter"]
    return f"Tuned for each setting, with other seeds: {parameter} among {tried}. Best: {'; '.join(best)}."


def _section(one: Outcome, beside: Path, pictures: bool) -> list[str]:
    experiment, record = one.experiment, one.record
    versions = {(job.made["version"], job.made["commit"] or "commit unknown") for job in record.jobs}
    made = ", ".join(f"tinygrad_norm {version} ({commit})" for version, commit in sorted(versions))
    plot = Path(os.path.relpath(one.plot, beside)).as_posix()
    tuned = tuned_words(one)
    return [
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
        *([f"![{experiment.title}]({plot})", ""] if pictures else []),
        *([tuned, ""] if tuned else []),
        f"`tinygrad-norm experiment run {experiment.name}`: {len(record.seeds)} seeds, "
        f"{len(record.jobs)} jobs, {one.seconds:.0f} s of computing; {made}.",
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- | ---: | ---: |"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def anchor(title: str) -> str:
    """Return the anchor that GitHub and MyST make of a heading."""
    kept = (c for c in title.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")
