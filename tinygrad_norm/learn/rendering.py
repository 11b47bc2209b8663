"""Rendering: Graphviz turns DOT text into a picture, by the program dot or the library inside pygraphviz."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import graphviz

_INSTALL = (
    "Graphviz's program dot is not installed, so only the DOT text is available. Install it with "
    "`pip install 'tinygrad_norm[graph]'`, `apt install graphviz`, `brew install graphviz` or "
    "`conda install graphviz`"
)


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

    try:
        made: Any = pygraphviz.AGraph(string=text).draw(format=kind, prog="dot")
    except Exception as error:
        raise RuntimeError(f"pygraphviz failed: {type(error).__name__}: {error}") from None
    return bytes(made)
