"""A mutant: one file of the package with one piece of its text replaced."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]


@cache
def text_of(path):
    """The text of a file, by its path from the root of the repository."""
    return (ROOT / path).read_text("utf-8")


@cache
def _bytes_of(path):
    return text_of(path).encode()


@cache
def _lines_of(path):
    return text_of(path).split("\n")


@dataclass(frozen=True)
class Mutant:
    """Bytes `start` to `end` of the text, in UTF-8, become `new`; `operator` names the kind of mistake.

    `number` counts those of one file that read the same.
    """

    path: str
    start: int
    end: int
    new: str
    operator: str
    number: int = 0

    @property
    def text(self):
        """The mutated text."""
        source = _bytes_of(self.path)
        return (source[: self.start] + self.new.encode() + source[self.end :]).decode()

    @property
    def old(self):
        return _bytes_of(self.path)[self.start : self.end].decode()

    @property
    def line(self):
        return _bytes_of(self.path).count(b"\n", 0, self.start) + 1

    @property
    def column(self):
        """Where it begins on its line, in bytes from 0."""
        return self.start - _bytes_of(self.path).rfind(b"\n", 0, self.start) - 1

    @property
    def line_text(self):
        """The line that the replaced text begins on, without indentation."""
        return _lines_of(self.path)[self.line - 1].strip()

    @property
    def key(self):
        """What identifies it, also when other lines of the file change."""
        return f"{self.path}: {self.line_text} [{self.operator}: {self.change}] {self.number}"

    @property
    def change(self):
        """What is replaced by what, on one line."""
        return f"{_one_line(self.old)} → {_one_line(self.new) or 'nothing'}"

    def __str__(self):
        return f"{self.path}:{self.line}: {self.line_text}   [{self.operator}: {self.change}]"


def numbered(mutants):
    """The mutants, each once, with a key of its own."""
    seen, different = Counter(), []
    for mutant in dict.fromkeys(mutants):
        different.append(replace(mutant, number=seen[mutant.key]))
        seen[mutant.key] += 1
    return different


def _one_line(text):
    return " ".join(text.split())
