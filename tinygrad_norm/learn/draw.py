"""Draw: the computation that led to a tensor, as a picture.

    x = tn.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    y = (x - x.mean()).square().sum()
    tn.draw(y)                  # shows itself in a notebook; every "grad" says: not computed
    y.backward()
    tn.draw(y).save("y.svg")    # the leaves have their gradients now

What a node shows is described in dot.py, which part of the graph is drawn in subgraph.py.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..autograd.tensor import Tensor
from ..files import replacing
from ..module import Module
from .dot import Panel, build
from .subgraph import find_subgraph

MAX_NODES = 200
"""Functions and tensors in one picture: a larger one is too big to read."""

_NO_NAMES: Mapping[str, Tensor] = {}
_FORMATS = {".svg": "svg", ".png": "png", ".pdf": "pdf", ".dot": "dot", ".gv": "dot"}
_INSTALL = (
    "Graphviz's program dot is not installed, so there is no picture, only its text. Install it with "
    "`apt install graphviz`, `brew install graphviz` or `conda install graphviz`"
)


def draw(
    outputs: Tensor | Sequence[Tensor],
    names: Module | Mapping[str, Tensor] = _NO_NAMES,
    *,
    max_nodes: int = MAX_NODES,
) -> Drawing:
    """Draw the computation that led to `outputs`, with the values and gradients as they are now.

    Args:
        outputs: a tensor, or several.
        names: what to call which tensor; a module stands for its parameters and buffers. For more, merge:
            `dict(model.named_parameters()) | {"x": x}`. Parameters are coloured, named or not.
        max_nodes: functions and tensors to draw at most; those farthest from `outputs` are left out,
            and the picture says how many.

    Raises:
        TypeError: for outputs or named things that are no Tensors.
        ValueError: for no outputs, or `max_nodes` below 1.
    """
    roots: list[Any] = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    if not roots:
        raise ValueError("draw needs at least one tensor, got none")
    if isinstance(names, Module):
        names = dict(names.named_parameters()) | dict(names.named_buffers())
    if isinstance(names, str | os.PathLike):
        raise TypeError(
            f"names must be a Module or a mapping, got {names!r}: a file is written with "
            f".save({str(names)!r})"
        )
    if not isinstance(names, Mapping):
        raise TypeError(
            f"names must be a Module or a mapping of names to Tensors, got {type(names).__name__}"
        )
    for what, x in [*(("the output", x) for x in roots), *((repr(name), x) for name, x in names.items())]:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"draw shows Tensors, but {what} is a {type(x).__name__}: wrap it with tn.tensor(...)"
            )
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be at least 1, got {max_nodes}")
    return Drawing([Panel(find_subgraph(roots, max_nodes), {id(x): str(name) for name, x in names.items()})])


class Drawing:
    """A picture of a computation: `save(path)` writes it, a notebook shows it, `dot` is its text."""

    def __init__(self, panels: Sequence[Panel], title: str = "") -> None:
        self._picture = build(panels, title)
        self._functions = sum(len(panel.graph.functions) for panel in panels)
        self._tensors = sum(len(panel.graph.tensors) for panel in panels)

    @property
    def dot(self) -> str:
        """The picture in Graphviz's language."""
        return self._picture.source

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as SVG, PNG, PDF or DOT text, by the suffix of `path`; return the path written.

        Where Graphviz cannot draw it, the DOT text is saved beside, under the suffix .dot, with a
        warning that says what to install. A file is there whole or not at all.

        Raises:
            ValueError: for another suffix.
        """
        path = Path(path)
        kind = _FORMATS.get(path.suffix.lower())
        if kind is None:
            raise ValueError(
                f"cannot tell the format of {str(path)!r} from its suffix {path.suffix!r}: "
                f"use one of {', '.join(_FORMATS)}"
            )
        content = self.dot.encode()
        if kind != "dot":
            try:
                content = self._render(kind)
            except RuntimeError as error:
                path = path.with_suffix(".dot")
                warnings.warn(f"{error}. The text is saved as {path}", stacklevel=2)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return path

    def _render(self, kind: str) -> bytes:
        import graphviz

        picture = self._picture.copy()
        if kind == "png":
            picture.attr(dpi="144")
        try:
            return picture.pipe(kind, quiet=True)
        except graphviz.ExecutableNotFound:
            raise RuntimeError(_INSTALL) from None
        except graphviz.CalledProcessError as error:
            said = (
                error.stderr.decode(errors="replace").strip()
                if error.stderr
                else f"exit status {error.returncode}"
            )
            raise RuntimeError(f"Graphviz's program dot failed: {said}") from None

    def _repr_svg_(self) -> str | None:
        try:
            return self._render("svg").decode()
        except RuntimeError:
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        try:
            return {"image/svg+xml": self._render("svg").decode(), "text/plain": repr(self)}
        except RuntimeError as error:
            return {"text/plain": f"{error}.\n\n{self.dot}"}

    def __repr__(self) -> str:
        content = f"{self._functions} functions, {self._tensors} tensors"
        return f"<Drawing of {content}: .save('picture.svg') writes it>"
