"""Ops in a file of your own: importing the file registers them."""

import importlib
import sys
import traceback
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from ..registry import REGISTRY

LOADED: list[str] = []
"""The files loaded so far: a new process must load them to know the same ops."""


def load_ops(path: str | Path) -> None:
    """Import a Python file that registers ops. A file that has been imported already is left alone.

    Its folder is appended to `sys.path`, so it can import the files beside it. A file in a package is
    imported as a module of that package, so its relative imports work.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a Python file, has the name of another module, raises an exception or
            registers no op.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if file.suffix != ".py":
        raise ValueError(f"{path} is not a Python file: its name must end in .py")
    known = dict(REGISTRY)
    try:
        name = importable_name(file)
        if name in sys.modules:
            return
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        REGISTRY.clear()
        REGISTRY.update(known)
        where, kind = line_in(file, error), type(error).__name__
        raise ValueError(f"{path} cannot be loaded{where}: {kind}: {error}") from error
    if len(REGISTRY) == len(known):
        del sys.modules[name]
        raise ValueError(f"{path} registers no op: call tinygrad_norm.registry.register in it")
    LOADED.append(str(file))


def load_all(paths: Iterable[str | Path]) -> None:
    """Load several files, in order."""
    for path in paths:
        load_ops(path)


def importable_name(file: Path) -> str:
    """Return the module name of a file, and make sure that it is this file that the name imports.

    Raises:
        ImportError: if the name imports another file, or nothing.
    """
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    if str(root) not in sys.path:
        sys.path.append(str(root))
    importlib.invalidate_caches()
    name = ".".join(parts)
    spec = find_spec(name)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != file:
        found = "not found" if spec is None else f"{spec.origin}"
        raise ImportError(f"the module {name!r} is {found}: rename the file, or move it")
    return name


def line_in(file: Path, error: BaseException) -> str:
    """Return ", line N" for the last line of the file that ran before the error, or nothing."""
    if isinstance(error, SyntaxError):
        return ""  # its own message has the line
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f", line {lines[-1]}" if lines else ""
