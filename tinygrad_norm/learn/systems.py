"""Generate the README's tables of systems from the registry, so that they always match the code.

    python -m tinygrad_norm.learn.systems README.md

rewrites the tables between the two marker lines of the file: one per family of normalizations, and one of
the layers that normalizations are used with.
"""

import pkgutil
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from .. import nn, normalization  # noqa: F401 (nn registers every op)
from ..files import replacing
from ..registry import REGISTRY, Op
from .ladder import RUNGS, rungs_of

BEGIN = "<!-- systems: made by python -m tinygrad_norm.learn.systems README.md -->"
END = "<!-- end of systems -->"


def systems_tables() -> str:
    """Return the registered normalizations, by family, and the blocks as Markdown tables."""
    titles = {**families(), "block": "Layers that normalizations are used with"}
    tables = []
    for family, title in titles.items():
        ops = sorted((op for op in REGISTRY.values() if op.family == family), key=_name)
        if ops:
            tables.append(f"**{title}**\n\n{_table(ops)}")
    return "\n\n".join(tables)


def families() -> dict[str, str]:
    """Return the families of normalizations, each with the first sentence of its package's docstring."""
    packages = [module.name for module in pkgutil.iter_modules(normalization.__path__) if module.ispkg]
    docs = {name: import_module(f"{normalization.__name__}.{name}").__doc__ or name for name in packages}
    return {name: doc.splitlines()[0].removesuffix(".") for name, doc in docs.items()}


def _table(ops: list[Op]) -> str:
    has_pool = any(op.pool for op in ops)
    pool = ("shares one statistic",) if has_pool else ()
    header = ("system", *pool, *RUNGS, "paper")
    lines = [_row(header), _row("---" for _ in header)]
    for op in ops:
        ways = ("✓" if rung in rungs_of(op.name) else "–" for rung in RUNGS)
        pool = (op.pool or "–",) if has_pool else ()
        lines.append(_row((_name(op), *pool, *ways, op.paper or "–")))
    return "\n".join(lines)


def _name(op: Op) -> str:
    return op.title or f"`{op.name}`"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replace_tables(text: str) -> str:
    """Return `text` with new tables between the markers.

    Raises:
        ValueError: if a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text needs the marker lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{systems_tables()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = replace_tables(path.read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
