"""Types in signatures and exceptions in lists of errors are plain text, unless they are named in full.

Sphinx would look for a name like each of them: `float` would lead to `tn.float`.
"""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx


def as_text(_app: Sphinx, document: nodes.document) -> None:
    """Replace references that Sphinx made of a signature or a field; those that somebody wrote stay."""
    for link in list(document.findall(pending_xref)):
        made_by_sphinx = link.get("refdomain") == "py" and "refwarn" not in link
        if made_by_sphinx and not link["reftarget"].startswith("tinygrad_norm."):
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-read", as_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
