"""The table of systems in the README, made from the registry so that it cannot say more than there is.

    python -m tinygrad_norm.learn.systems README.md

rewrites the table between the two marker lines of the file.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from .. import nn  # noqa: F401 (registers every op)
from ..backends import KERNELS
from ..files import replacing
from ..registry import REGISTRY, Op

BEGIN = "<!-- systems: made by python -m tinygrad_norm.learn.systems README.md -->"
END = "<!-- end of systems -->"


def systems_table() -> str:
    """Return the registered normalizations and blocks as a Markdown table."""
    ops = [op for kind in ("normalization", "block") for op in REGISTRY.values() if op.kind == kind]
    ops.sort(key=lambda op: (op.kind == "block", _name(op)))
    header = ("system", "shares one statistic", "composed", "closed form", "CUDA kernel", "paper")
    lines = [_row(header), _row("---" for _ in header)]
    for op in ops:
        ways = ("✓" if way else "–" for way in (op.composed is not None, True, _has_kernel(op)))
        lines.append(_row((_name(op), op.pool or "–", *ways, op.paper or "–")))
    return "\n".join(lines)


def _name(op: Op) -> str:
    return op.title or f"`{op.name}`"


def _has_kernel(op: Op) -> bool:
    forward = KERNELS.get(f"{op.name}_forward")
    return forward is not None and "cuda" in forward.versions


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replace_table(text: str) -> str:
    """Return `text` with the table between the markers made anew.

    Raises:
        ValueError: where a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text needs the marker lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{systems_table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = replace_table(path.read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
