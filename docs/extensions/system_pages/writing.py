"""Writes the pages of all systems, if they have changed."""

from pathlib import Path

import tinygrad_norm  # noqa: F401  (registers everything)

from . import index
from .page import FAMILIES, page, systems
from .pictures import graph_name, graph_svg

FOLDER = "systems"


def files(docs: Path) -> dict[str, str]:
    """Return the texts of all files, by name."""
    found = {"index.md": index.index(), "others.md": index.others()}
    found |= {f"{index.family_page(family)}.md": index.family(family) for family in FAMILIES}
    found |= {f"{op.name}.md": page(op, docs) for op in systems().values()}
    graphs = {graph_name(op): graph_svg(op) for op in systems().values()}
    return found | {name: svg for name, svg in graphs.items() if svg is not None}


def write_all(docs: Path) -> None:
    """Write the files that have changed, and remove those that are no longer made."""
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    made = files(docs)
    for old in set(folder.iterdir()) - {folder / name for name in made}:
        old.unlink()
    for name, text in made.items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
