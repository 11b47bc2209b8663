"""A fingerprint of the code that measures: figures of other code are not taken over."""

import ast
import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

WITHOUT_FIGURES = ("judge", "tabulate", "draw")
"""Functions that work on figures which are there: to change them is no reason to measure anew."""


@cache
def fingerprint(measure: Callable[..., Any]) -> str:
    """Return a hash of the file of `measure`, without comments, docstrings and what works on its figures.

    Files that it imports have no part in it. Without a file, as in an interactive session, it is "", and no
    figures are taken over.
    """
    try:
        path = inspect.getsourcefile(measure)
        tree = ast.parse(Path(path or "").read_text(encoding="utf-8"))
    except (OSError, TypeError, SyntaxError):
        return ""
    kept = [node for node in tree.body if not _works_on_figures(node)]
    for node in ast.walk(ast.Module(kept, [])):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    text = "\n".join(ast.unparse(node) for node in kept if not isinstance(node, ast.Expr))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _works_on_figures(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in WITHOUT_FIGURES
