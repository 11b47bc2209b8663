"""The API reference, written into `api/` before the build from the public names of the package.

A page for each section of a module's table of contents, with every name's signature, docstring and source. A
name that a module shares with another is described once; elsewhere it leads there.
"""

import importlib
import inspect
from pathlib import Path

import numpy
from docstrings import as_rst, prose
from public_names import Name, Section, constant_docstring
from reference_names import MODULES, Reference, full_name
from signatures import called, members
from sphinx.application import Sphinx
from sphinx.util import logging

import tinygrad_norm

ON_PAGES_OF_SECTIONS = 60
"""A module with more names than this has a page for each section."""
logger = logging.getLogger(__name__)


def write_pages(app: Sphinx) -> None:
    """Write the pages of all modules, and the index; warn about names without a docstring."""
    folder = Path(app.srcdir, "api")
    folder.mkdir(exist_ok=True)
    reference = Reference.read()
    pages = {"index": _index(reference)}
    for module, found in reference.modules.items():
        pages |= _pages(module, found, reference)
    for file in folder.glob("*.rst"):
        if file.stem not in pages:
            file.unlink()
    for name, lines in pages.items():
        target, text = folder / f"{name}.rst", "\n".join(lines) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def _index(reference: Reference) -> list[str]:
    lines = _title("Reference", "=")
    lines += ["Names, arguments and defaults are those of PyTorch, where it has them.", ""]
    for heading, modules in MODULES.items():
        lines += [*_title(heading, "-"), ".. list-table::", "   :widths: 30 70", ""]
        for module in modules:
            count = sum(len(section.names) for section in reference.modules[module])
            lines.append(f"   * - :doc:`{_shown(module)} <{_page(module)}>`")
            lines.append(f"     - {_summary(module)} ({count} names)")
        lines += ["", *_toctree([f"{_shown(module)} <{_page(module)}>" for module in modules])]
    return lines


def _summary(module: str) -> str:
    text = inspect.getdoc(importlib.import_module(full_name(module))) or ""
    return prose(text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip("."))


def _pages(module: str, found: list[Section], reference: Reference) -> dict[str, list[str]]:
    """Return the pages of a module: one, or for a large module also one for each section."""
    loaded = importlib.import_module(full_name(module))
    top = [*_title(_shown(module), "="), f".. py:module:: {full_name(module)}", ""]
    top += as_rst(inspect.getdoc(loaded) or "", reference.resolve)
    if sum(len(section.names) for section in found) <= ON_PAGES_OF_SECTIONS:
        for section in found:
            top += _title(section.heading, "-") if section.heading and len(found) > 1 else []
            for name in section.names:
                top += _described(name, reference)
        return {_page(module): top}
    pages = {}
    for section in found:
        heading = section.heading
        page = f"{_page(module)}-{section.slug}"
        title = f"{_shown(module)}: {heading[0].lower()}{heading[1:]}"
        pages[page] = [*_title(title, "="), f".. py:currentmodule:: {full_name(module)}", ""]
        for name in section.names:
            pages[page] += _described(name, reference)
        top += [*_title(heading, "-"), ".. list-table::", "   :widths: 30 70", "   :class: names", ""]
        for name in section.names:
            first = as_rst(_docstring(name).partition("\n\n")[0].replace("\n", " "), reference.resolve)[0]
            top += [f"   * - :py:obj:`~{name.full}`", f"     - {first}"]
        top.append("")
    short = [f"{section.heading} <{page}>" for section, page in zip(found, pages, strict=True)]
    return {_page(module): [*top, *_toctree(short)], **pages}


def _described(name: Name, reference: Reference) -> list[str]:
    """Return the description of a name, or where it is."""
    value, main = name.value, reference.main(name)
    if not callable(value):
        return _constant(name, reference)
    kind = "class" if inspect.isclass(value) else "function"
    head = f".. py:{kind}:: {name.name}{called(value, reference.described)}"
    if main != name.full:
        return [head, "", f"   The same as :py:obj:`{main}`.", ""]
    docstring = _docstring(name)
    if not docstring:
        logger.warning(f"{name.full} has no docstring: every public name needs one", location=name.origin)
    body = as_rst(docstring, reference.resolving(value))
    if inspect.isclass(value):
        body += _members(value, reference)
    return [head, "", *_indented(body)]


def _members(cls: type, reference: Reference) -> list[str]:
    """Return the descriptions of methods and properties; those that are public functions are only listed."""
    lines: list[str] = []
    elsewhere: list[str] = []
    for name, member in members(cls, reference.described):
        if main := reference.function(name, member):
            elsewhere.append(f":py:obj:`{name} <{main}>`")
            continue
        body = as_rst(inspect.getdoc(member) or "", reference.resolving(member))
        static = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            head = f"property:: {name}"
        elif isinstance(static, classmethod | staticmethod):
            head = f"{type(static).__name__}:: {name}{called(member, reference.described)}"
        else:
            head = f"method:: {name}{called(member, reference.described, bound=True)}"
        lines += [f".. py:{head}", "", *_indented(body), ""]
    if elsewhere and cls is tinygrad_norm.Tensor:
        lines[:0] = ["These functions are methods too: " + ", ".join(elsewhere) + ".", ""]
    return lines


def _constant(name: Name, reference: Reference) -> list[str]:
    value = repr(name.value)
    head = [f".. py:data:: {name.name}"]
    if len(value) < 80:
        head.append(f"   :value: {value}")
    return [*head, "", *_indented(as_rst(_docstring(name), reference.resolve)), ""]


def _docstring(name: Name) -> str:
    value = name.value
    if isinstance(value, numpy.dtype):
        return f"The elements' type {value.name}, NumPy's."
    if inspect.isclass(value):
        return inspect.cleandoc(vars(value).get("__doc__") or "")
    return inspect.getdoc(value) or "" if callable(value) else inspect.cleandoc(constant_docstring(name))


def _title(text: str, line: str) -> list[str]:
    text = prose(text)
    return [text, line * (len(text) + 2), ""]


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}" if line else "" for line in lines]


def _toctree(pages: list[str]) -> list[str]:
    return [".. toctree::", "   :hidden:", "", *(f"   {page}" for page in pages), ""]


def _page(module: str) -> str:
    return module.replace(".", "-").replace("_", "-") or "tn"


def _shown(module: str) -> str:
    return f"tn.{module}" if module else "tn"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
