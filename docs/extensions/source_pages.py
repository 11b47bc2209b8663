"""Links to files of the repository lead to pages of the site: highlighted source, or the file as a page.

    [x.py](../examples/x.py)     source/examples/x.py.html, the file highlighted
    [README](../README.md)      copied/README.html, a page like any other (copied_pages.py)

A page shows a file whole; line 12 is its anchor L-12. Only files that are linked have a page.
"""

import importlib
import inspect
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copied_pages import page_of
from docutils import nodes
from pygments.lexers import find_lexer_class_for_filename
from sphinx.addnodes import desc_signature, download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

LEXERS = {".cu": "cuda", ".cuh": "cuda"}
FOLDER = "source"


def linked_files(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return the files that each document links, as paths in the repository."""
    if not hasattr(env, "linked_files"):
        env.linked_files = {}  # type: ignore[attr-defined]
    return env.linked_files  # type: ignore[attr-defined, no-any-return]


def address(env: BuildEnvironment, file: Path, line: int = 0) -> str:
    """Return the address of the page of a file, from the document that is read; the file gets a page."""
    name = file.resolve().relative_to(Path(env.srcdir).parent).as_posix()
    linked_files(env).setdefault(env.docname, set()).add(name)
    uri = env._app.builder.get_relative_uri(env.docname, f"{FOLDER}/{name}")
    return f"{uri}#L-{line}" if line else uri


def lines_of(thing: Any) -> tuple[Path, int]:
    """Return the file of a Python object and the line where it begins.

    Raises:
        TypeError, OSError: if it has no source.
    """
    thing = inspect.unwrap(thing)
    file = inspect.getsourcefile(thing)
    if file is None:
        raise TypeError(f"{thing} has no source file")
    return Path(file), inspect.getsourcelines(thing)[1] or 1


class SourceLinks(SphinxTransform):
    """Turn links to files into links to their pages, before Sphinx would offer them as downloads."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for link in list(self.document.findall(download_reference)):
            if link.get("reftype") == "myst":
                uri = address(self.env, folder / link["reftarget"])
                link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))
        for link in self.document.findall(pending_xref):
            if link.get("refdomain") == "doc" and (copy := page_of(Path(self.env.srcdir), link["reftarget"])):
                link["reftarget"] = copy


def source_role(
    _name: str, _raw: str, text: str, _line: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Make of the path of a file in the repository a link to its page."""
    env = inliner.document.settings.env
    uri = address(env, Path(env.srcdir).parent / text)
    return [nodes.reference("", "", nodes.literal(text, text), refuri=uri, internal=True)], []


def link_signatures(app: Sphinx, document: nodes.document) -> None:
    """Add to each signature of the reference a link to the line where its source begins."""
    for signature in document.findall(lambda node: isinstance(node, desc_signature) and node.get("module")):
        thing = operator.attrgetter(signature["fullname"])(importlib.import_module(signature["module"]))
        try:
            file, line = lines_of(thing.fget if isinstance(thing, property) else thing)
            uri = address(app.env, file, line)
        except (TypeError, OSError, ValueError):  # a constant, or of another package
            continue
        link = nodes.reference("", "source", refuri=uri, internal=True, classes=["source-link"])
        signature.insert(0, link)


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages of the linked files."""
    root = Path(app.srcdir).parent
    for name in sorted(set().union(*linked_files(app.env).values())):
        text = (root / name).read_text(encoding="utf-8")
        lexer = find_lexer_class_for_filename(name)
        language = LEXERS.get(Path(name).suffix) or (lexer.aliases[0] if lexer else "none")
        code = app.builder.highlighter.highlight_block(  # type: ignore[attr-defined]
            text, language, location=name, linenos="inline", lineanchors="L", anchorlinenos=True
        )
        body = f"<h1>{Path(name).name}</h1>\n<p><code>{name}</code></p>\n{code}"
        yield f"{FOLDER}/{name}", {"title": Path(name).name, "body": body}, "page.html"


def forget(_app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget the links of a document that is read again."""
    linked_files(env).pop(docname, None)


def merge(_app: Sphinx, env: BuildEnvironment, names: list[str], other: BuildEnvironment) -> None:
    """Take over the links that another process found."""
    linked_files(env).update({name: linked_files(other).get(name, set()) for name in names})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_transform(SourceLinks)
    app.add_role("source", source_role)
    app.connect("doctree-read", link_signatures)
    app.connect("html-collect-pages", source_pages)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
