"""A page for each system, written into `systems/` before the build: a Sphinx extension.

Pages are made of what is registered and measured: docstrings, registry, pictures, proofs, `performance.md`,
the experiments. Only the advice of when to use a system and what catches people out is written for them, in
`docs/advice.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_STYLES = Path(__file__).parent / "static"


def write_pages(app: Sphinx) -> None:
    """Write all pages that have changed."""
    from .writing import write_all

    write_all(Path(app.srcdir))
    app.config.html_static_path.append(str(_STYLES))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_css_file("systems.css")
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
