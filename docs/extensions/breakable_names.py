"""Long names, such as FilterResponseNorm, may go on in the next line, where room is scarce."""

from docutils import nodes
from name_pieces import pieces
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def break_in_navigation(_app: Sphinx, env: BuildEnvironment) -> None:
    """Let the names in tables of contents break; those of an earlier build are in pieces already."""
    for contents in env.tocs.values():
        _break(contents)


def break_in_headings(_app: Sphinx, document: nodes.document, _page: str) -> None:
    """Let the names in headings break."""
    for title in list(document.findall(nodes.title)):
        _break(title)


def _break(within: nodes.Element) -> None:
    for text in list(within.findall(nodes.Text)):
        first, *others = pieces(text.astext())
        if others:
            broken: list[nodes.Node] = [nodes.Text(first)]
            for piece in others:
                broken += [nodes.raw("", "<wbr>", format="html"), nodes.Text(piece)]
            text.parent.replace(text, broken)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("env-updated", break_in_navigation)
    app.connect("doctree-resolved", break_in_headings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
