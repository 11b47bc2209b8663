"""Files from outside of `docs/` that are pages of the site: README.md and the notebooks of `examples/`.

They are copied into `copied/` before the build, with their links adapted to where they are now.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

PATTERNS = ("README.md", "examples/*.ipynb")
FOLDER = "copied"


def page_of(docs: Path, target: str) -> str | None:
    """Return the document that is the copy of a file outside of `docs`, given its path without suffix."""
    found = [file for pattern in PATTERNS for file in docs.parent.glob(pattern)]
    for file in found:
        if (docs / target).resolve() == file.with_suffix(""):
            return f"{FOLDER}/{file.stem}"
    return None


def adapted(text: str) -> str:
    """Return Markdown of the repository's root with links that are right two folders below it.

    Paragraphs in HTML around images are left out, for MyST to find the images.
    """
    text = re.sub(r"</?p\b[^>]*>\n", "", text)
    return re.sub(r"(\]\(|src=\")(?!https?:|#|mailto:)", r"\1../../", text)


def copy_pages(app: Sphinx) -> None:
    """Copy the files, if they have changed."""
    docs = Path(app.srcdir)
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    for file in (file for pattern in PATTERNS for file in docs.parent.glob(pattern)):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".md":
            text = adapted(text)
        target = folder / file.name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", copy_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
