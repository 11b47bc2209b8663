"""Rendering: Graphviz turns DOT text into a picture, by the program dot or the library inside pygraphviz."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import graphviz

_INSTALL = (
    "Graphviz's program dot is not installed, so only the DOT text is available. Install it with "
    "`pip install 'tinygrad_norm[graph]'`, `apt install graphviz`, `brew install graphviz` or "
    "`conda install graphviz`"
)

_ONE_AT_A_TIME = threading.Lock()


def render(picture: graphviz.Digraph, kind: str) -> bytes:
    """Return the picture as "svg", "png" or "pdf".

    Raises:
        RuntimeError: if neither the program nor pygraphviz is installed, or if it fails.
    """
    import graphviz

    try:
        return picture.pipe(kind, quiet=True)
    except graphviz.ExecutableNotFound:
        if importlib.util.find_spec("pygraphviz") is None:
            raise RuntimeError(_INSTALL) from None
    except graphviz.CalledProcessError as error:
        stderr = error.stderr.decode(errors="replace").strip() if error.stderr else ""
        raise RuntimeError(
            f"Graphviz's program dot failed: {stderr or f'exit status {error.returncode}'}"
        ) from None
    return _render_in_process(picture.source, kind)


def _render_in_process(text: str, kind: str) -> bytes:
    import pygraphviz

    with _stderr_kept() as said:
        try:
            made: Any = pygraphviz.AGraph(string=text).draw(format=kind, prog="dot")
        except Exception as error:
            said.seek(0)
            stderr = said.read().decode(errors="replace").strip()
            raise RuntimeError(
                f"pygraphviz failed: {type(error).__name__}: {error}{f'; {stderr}' if stderr else ''}"
            ) from None
    return bytes(made)


@contextmanager
def _stderr_kept() -> Iterator[IO[bytes]]:
    """Send what is written to stderr into a file: Graphviz's libraries print warnings there, past Python."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as said:
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
