"""A code cell that was not executed is a warning, with which the build fails."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging


def check_cells(_app: Sphinx, document: nodes.document) -> None:
    """Warn about each code cell of a page without the number that executing gives it."""
    for cell in document.findall(nodes.container):
        if cell.get("nb_element") == "cell_code" and not cell.get("exec_count"):
            message = "this code cell was not executed: give it no tag that skips it"
            logging.getLogger(__name__).warning(message, location=cell)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-read", check_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
