"""The API reference, written into `api/` before the build from the public names of the package."""

from pathlib import Path

from sphinx.application import Sphinx


def write_pages(app: Sphinx) -> None:
    """Write the index of the reference."""
    folder = Path(app.srcdir, "api")
    folder.mkdir(exist_ok=True)
    (folder / "index.md").write_text("# Reference\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
