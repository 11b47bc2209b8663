"""The public names of the package, by sections: what its tables of contents import, under their comments.

    # Pools.                                             a section, "Pools"
    from .pooling.maxpool import MaxPool1d, MaxPool2d    two of its names
    from ..normalization.layers import *                 the names of that table, by folder: families

A module that is no table of contents has one section: the functions and classes that it defines, and what
it imports under the same name (`import x as x`).
"""

import ast
import functools
import importlib
import itertools
import re
from dataclasses import dataclass, field
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_norm.learn.systems import families


@dataclass(frozen=True)
class Name:
    """A public name: where it can be imported from, what it is, and the module that defines it."""

    module: str
    name: str
    value: Any
    origin: str

    @property
    def full(self) -> str:
        """The name with its module."""
        return f"{self.module}.{self.name}"


@dataclass
class Section:
    """Names under a heading, which is empty in a module without headings."""

    heading: str
    names: list[Name] = field(default_factory=list)
    family: str = ""

    @property
    def slug(self) -> str:
        """The heading as a part of a file's name."""
        words = re.split("[:;,]", self.heading)[0].lower()
        return f"normalizations-{self.family}" if self.family else re.sub("[^a-z]+", "-", words)


def sections(module: str) -> list[Section]:
    """Return the public names of a module, in the order of its file."""
    return [section for section in _Reader(module).sections if section.names]


def constant_docstring(name: Name) -> str:
    """Return the text under the line that defines a constant, or ""."""
    body = _statements(name.origin)
    for line, below in itertools.pairwise(body):
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if any(isinstance(one, ast.Name) and one.id == name.name for one in targets):
            said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            return str(below.value.value) if said else ""  # type: ignore[attr-defined]
    return ""


class _Reader:
    """Reads one module's file, statement by statement."""

    def __init__(self, module: str) -> None:
        self.module, self.loaded = module, importlib.import_module(module)
        self.seen: set[str] = set()
        self.sections = [Section("")]
        self.lines, body = _text(module).splitlines(), _statements(module)
        self.is_table = not any(
            isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name != "__getattr__" for one in body
        )
        for statement in body:
            self.read(statement)
        for name in getattr(self.loaded, "__all__", ()):
            self.add(name, self.module)
        if chosen := getattr(self.loaded, "__all__", None):
            for section in self.sections:
                section.names = [one for one in section.names if one.name in chosen]

    def read(self, statement: ast.stmt) -> None:
        """Take the names that a statement makes public."""
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            self.add(statement.name, self.module)
        elif isinstance(statement, ast.ImportFrom) and statement.level:
            self.begin(statement.lineno)
            origin = resolve_name("." * statement.level + (statement.module or ""), self.package)
            for alias in statement.names:
                if alias.name == "*":
                    self.take_all(origin)
                elif self.is_table or alias.asname == alias.name:
                    self.add(alias.asname or alias.name, origin)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.loaded.__spec__.parent or ""  # type: ignore[union-attr]

    def begin(self, line: int) -> None:
        """Begin a section, if the comment above a line is its heading."""
        above = self.lines[line - 2] if line > 1 else ""
        if self.is_table and (found := re.fullmatch(r"# ([A-Z].*)\.", above)):
            self.sections.append(Section(found[1]))

    def take_all(self, origin: str) -> None:
        """Take the names of another table, in a section for each folder that they come from."""
        heading = self.sections[-1].heading
        for name in (name for section in sections(origin) for name in section.names):
            family = name.origin.rsplit(".", 2)[-2]
            title = families().get(family, heading)
            if title != self.sections[-1].heading:
                self.sections.append(Section(title, family=family if family in families() else ""))
            self.add(name.name, name.origin)
        self.sections.append(Section(heading))

    def add(self, name: str, origin: str) -> None:
        """Add a name to the section that is begun; modules and names with an underscore are none."""
        value = getattr(self.loaded, name, None)
        if name.startswith("_") or name in self.seen or value is None or isinstance(value, ModuleType):
            return
        self.seen.add(name)
        self.sections[-1].names.append(Name(self.module, name, value, _defining(origin, name)))


def _defining(module: str, name: str) -> str:
    """Follow the imports of a name to the module that defines it."""
    for statement in _statements(module):
        if isinstance(statement, ast.ImportFrom) and statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    package = importlib.import_module(module).__spec__.parent  # type: ignore[union-attr]
                    origin = resolve_name("." * statement.level + (statement.module or ""), package or "")
                    return _defining(origin, alias.name)
    return module


@functools.cache
def _text(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    return Path(spec.origin).read_text(encoding="utf-8")


@functools.cache
def _statements(module: str) -> list[ast.stmt]:
    return ast.parse(_text(module)).body
