"""The plot of an experiment, with its verdict above, and what was measured by which version below."""

import textwrap
from pathlib import Path
from typing import Any

from ..files import replacing
from .experiment import Experiment
from .experiment_results import Results
from .result_file import Record


def save_plot(path: Path, experiment: Experiment, results: Results, record: Record) -> None:
    """Draw the plot and write it to `path`, whose suffix is .png or .svg.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained", dpi=120)
    parts: Any = figure.subfigures(2, 1, height_ratios=(13, 1))
    drawn, below = parts
    experiment.draw(results, drawn)
    drawn.suptitle(f"{experiment.title}\nverdict: {experiment.verdict(results).state}", fontsize=11)
    made = f"tinygrad_norm {record.version}{_commit(record)}"
    caption = f"ours, {len(record.seeds)} seeds, {made}. {experiment.source}"
    text = "\n".join(textwrap.wrap(caption, 115))
    below.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, color="0.35")
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _commit(record: Record) -> str:
    commits = {job.made["commit"] for job in record.jobs}
    short = [commit[:10] + "-dirty" * commit.endswith("-dirty") for commit in commits if commit]
    return f" ({', '.join(sorted(short))})" if short else ""
