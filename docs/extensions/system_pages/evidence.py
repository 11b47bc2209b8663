"""What is known of a system: whether its gradient is proved, how fast it is, what experiments found."""

import functools
import json
import re
from pathlib import Path

from tinygrad_norm.experiments.experiment import EXPERIMENTS
from tinygrad_norm.experiments.result_page import anchor
from tinygrad_norm.proof.record import recorded
from tinygrad_norm.registry import Op

from . import markdown

_COLUMNS = {
    "inputs": "inputs",
    "loops µs": "loops, µs",
    "loops to PyTorch": "to PyTorch",
    "NumPy µs": "NumPy, µs",
    "NumPy to PyTorch": "to PyTorch",
}
"""The columns of the table of ops in performance.md, and what they are called here."""


def gradient_words(op: Op) -> str:
    """Return what is known of the gradient."""
    found = recorded()[op.name]
    if found.proved:
        return (
            "**Proved**: composed form and closed form have the same gradient on all registered cases, in "
            "exact numbers and polynomial identities, not only up to rounding. See [proofs](../proof.md)."
        )
    if found.digits is None:
        return f"Nothing to prove: {markdown.text(found.because)}. See [proofs](../proof.md)."
    return (
        f"**{found.digits} digits** agree between the closed form, the composed form and finite differences "
        f"computed with many digits. It is not proved, because of {markdown.text(found.because)}. "
        "See [proofs](../proof.md)."
    )


def speed_table(op: Op, docs: Path) -> str:
    """Return the rows of the op in performance.md as a table; nothing if it was not measured."""
    head, rows = _measured((docs / "performance.md").read_text(encoding="utf-8"))
    own = [dict(zip(head, row, strict=True)) for row in rows if row[0] == op.name]
    if not own:
        return ""
    kept = [[row[column] for column in _COLUMNS] for row in own]
    return markdown.table(list(_COLUMNS.values()), kept, right=range(1, len(_COLUMNS)))


@functools.cache
def _measured(page: str) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of all ops in performance.md.

    Raises:
        ValueError: if the page has no such table.
    """
    table = re.search(r"^\| op \| inputs \| loops µs .*\n\|[ :|-]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    if table is None:
        raise ValueError("performance.md has no table that begins with the columns op, inputs, loops µs")
    head, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in table[0].splitlines()
    )
    return head, rows


def claims(op: Op, docs: Path) -> list[str]:
    """Return a line for each experiment that measures the op: the claim, and what was found."""
    found = []
    for name, experiment in EXPERIMENTS.items():
        file = docs / "experiments" / f"{name}.json"
        if op.name not in experiment.systems or not file.exists():
            continue
        record = json.loads(file.read_text(encoding="utf-8"))
        facts, verdict = record["facts"], record["verdict"]
        claim, reason, title = map(markdown.text, (facts["claim"], record["reason"], facts["title"]))
        link = f"[{title}](../experiments/README.md#{anchor(facts['title'])})"
        found.append(f"- {claim} **{verdict[0].upper()}{verdict[1:]}**: {reason}. {link}")
    return found
