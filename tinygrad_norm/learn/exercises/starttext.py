"""The two texts made from an exercise's file: what the learner starts from, and the solution to read.

A line `# begin solution: write dx` begins what the learner writes, `# end solution` ends it (`//` in
CUDA). If a line `# begin bug` is between them, the lines after it are wrong, as comments: the learner
gets these in place of the right ones, without a mark, and `# begin solution` says nothing.
"""

import ast
import re
from collections.abc import Iterator

_MARK = re.compile(r"( *)(#|//) (begin solution|begin bug|end solution)(?:: (.*))?")


def start_text(source: str, name: str) -> str:
    """Return the text of the file that the learner gets."""
    lines = [text for place, text in _parts(source) if place != "solution"]
    return _joined([*lines, "", "", f"# Check it: tinygrad-norm exercise check {name}"])


def solution_text(source: str) -> str:
    """Return the text of the solution, without marks."""
    return _joined([text for place, text in _parts(source) if place in ("", "solution")])


def todo_lines(source: str) -> list[str]:
    """Return the lines of the learner's file that they must replace by their own."""
    return [text.strip() for place, text in _parts(source) if place == "todo"]


def has_bug(source: str) -> bool:
    """Return whether the learner gets a file with a mistake to find."""
    return any(place == "bug" for place, _ in _parts(source))


def writes_forward(source: str) -> bool:
    """Return whether the learner writes forward, or a kernel that it runs."""
    places = [k for k, line in enumerate(source.splitlines()) if _MARK.fullmatch(line)]
    backward = [k for k, line in enumerate(source.splitlines()) if line.startswith("def backward(")]
    return not backward or places[0] < backward[0]


def _joined(lines: list[str]) -> str:
    """Return lines as a text, with at most two empty lines together."""
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip() + "\n"


def _parts(source: str) -> Iterator[tuple[str, str]]:
    """Yield the lines without EXERCISE, each with its place: "", "solution", "bug" or "todo"."""
    left_out = _lines_of_description(source)
    kept = [line for number, line in enumerate(source.splitlines(), 1) if number not in left_out]
    place = ""
    for line in "\n".join(kept).rstrip().splitlines():
        mark = _MARK.fullmatch(line)
        if mark is None:
            yield place, re.sub(r"(#|//) ?", "", line, count=1) if place == "bug" else line
        elif mark[3] == "begin solution":
            place = "solution"
            if mark[4]:
                stop = f"#error {mark[4]}" if mark[2] == "//" else f'raise NotImplementedError("{mark[4]}")'
                yield "todo", mark[1] + stop
        else:
            place = "bug" if mark[3] == "begin bug" else ""


def _lines_of_description(source: str) -> set[int]:
    """Return the numbers of the lines of EXERCISE = Exercise(…), of its import and of private functions."""
    found: set[int] = set()
    for node in ast.parse(source).body:
        imports = isinstance(node, ast.ImportFrom) and node.module == "exercise"
        assigns = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXERCISE"
        helps = isinstance(node, ast.FunctionDef) and node.name.startswith("_")
        if imports or assigns or helps:
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found
