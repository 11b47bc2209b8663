"""A page for each normalization, written into `systems/` before the build from what is registered."""

from pathlib import Path

from sphinx.application import Sphinx

import tinygrad_norm  # noqa: F401  (registers everything)
from tinygrad_norm.registry import REGISTRY


def write_pages(app: Sphinx) -> None:
    """Write the index of the systems."""
    folder = Path(app.srcdir, "systems")
    folder.mkdir(exist_ok=True)
    titles = [op.title or op.name for op in REGISTRY.values() if op.kind == "normalization"]
    text = "# Systems\n\n" + "\n".join(f"- {title}" for title in titles) + "\n"
    target = folder / "index.md"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
