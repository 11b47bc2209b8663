"""Draw the computation of a tensor as a picture.

    x = tn.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    y = (x - x.mean()).square().sum()
    tn.draw(y)                  # a notebook shows the picture; every "grad" says: not computed
    y.backward(retain_graph=True)
    tn.draw(y).save("y.svg")    # now the leaves have gradients
    tn.draw(y, dy=1.0)          # all gradients, and what each arrow brings

dot.py describes what a node shows, subgraph.py which part of a large graph is drawn.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..autograd.tensor import Tensor
from ..backends import asarray
from ..files import replacing
from ..module import Module
from .dot import Panel, build
from .flows import Flows, flows_of
from .formulas import argument_names
from .graphfolding import folded_or_cut
from .rendering import render
from .subgraph import find_subgraph
from .tracing import traced

MAX_NODES = 200
"""Functions and tensors in one picture; a larger picture is hard to read."""

_NO_NAMES: Mapping[str, Tensor] = {}
_FORMATS = {".svg": "svg", ".png": "png", ".pdf": "pdf", ".dot": "dot", ".gv": "dot"}


def draw(
    outputs: Tensor | Sequence[Tensor],
    names: Module | Mapping[str, Tensor] = _NO_NAMES,
    *,
    dy: Any = None,
    max_nodes: int = MAX_NODES,
) -> Drawing:
    """Draw the computation of `outputs`, with the current values and gradients.

    Gradients are those that a backward has left in `.grad`: those of leaves, and of results on which
    `retain_grad` was called. With `dy` they are computed for the picture, each of them.

    Args:
        outputs: a tensor, or several.
        names: names to show, as a mapping from name to tensor; a module gives the names of its parameters
            and buffers. To add more, merge: `dict(model.named_parameters()) | {"x": x}`. Parameters are
            coloured, with or without a name.
        dy: dL/d(output), or one for each of several outputs. The picture then shows the gradient of every
            tensor, and which part of it each arrow brings back where several add up. No `.grad` changes.
        max_nodes: maximum number of functions and tensors; those farthest from `outputs` are left out,
            and the picture shows how many.

    Raises:
        TypeError: if an output or a named value is not a Tensor.
        ValueError: if there is no output, or `max_nodes` is below 1.
        RuntimeError: if a backward without retain_graph has freed the graph of an output, or `dy` is not of
            its shape.
    """
    roots: list[Any] = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    if not roots:
        raise ValueError("draw needs at least one tensor, got none")
    if isinstance(names, Module):
        names = dict(names.named_parameters()) | dict(names.named_buffers())
    if isinstance(names, str | os.PathLike):
        raise TypeError(
            f"names must be a Module or a mapping, got {names!r}: to write a file, use .save({str(names)!r})"
        )
    if not isinstance(names, Mapping):
        raise TypeError(
            f"names must be a Module or a mapping of names to Tensors, got {type(names).__name__}"
        )
    for what, x in [*(("the output", x) for x in roots), *((repr(name), x) for name, x in names.items())]:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"draw needs Tensors, but {what} is a {type(x).__name__}: wrap it with tn.tensor(...)"
            )
    if any(x.creator is not None and x.creator.freed for x in roots):
        raise RuntimeError(
            "backward has freed the graph: draw before it, or call backward(retain_graph=True)"
        )
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be at least 1, got {max_nodes}")
    flows = None if dy is None else _flows(roots, dy if isinstance(outputs, list | tuple) else [dy])
    known = {id(x): str(name) for name, x in names.items()}
    return Drawing([Panel(find_subgraph(roots, max_nodes), known, flows=flows)])


def draw_model(model: Module, *inputs: Any, dy: Any = None, max_nodes: int = MAX_NODES) -> Drawing:
    """Run `model` on `inputs` and draw the computation, folded by layers if it is large.

    As much detail as can be read is shown; layers that repeat become one box with a count. The model runs
    once, so in training it updates its running statistics.

    Args:
        model: a module that returns a tensor, or several.
        inputs: what it is called with.
        dy: dL/d(result), as for `draw`; 1 by default if the result is a single number.
        max_nodes: maximum number of boxes and tensors, as for `draw`.

    Raises:
        TypeError: if the model is not a Module, or its result is not a tensor or a sequence of tensors.
    """
    if not isinstance(model, Module):
        raise TypeError(f"draw_model needs a Module and its inputs, got {type(model).__name__}")
    with traced(model) as trace:
        result = model(*inputs)
    results = list(result) if isinstance(result, list | tuple) else [result]
    if not results or not all(isinstance(y, Tensor) for y in results):
        raise TypeError(f"the model must return a Tensor or several, got {type(result).__name__}")
    if dy is None and len(results) == 1 and results[0].numel() == 1 and results[0].requires_grad:
        dy = 1.0
    flows = None if dy is None else _flows(results, dy if isinstance(result, list | tuple) else [dy])
    names = dict(model.named_parameters()) | dict(model.named_buffers())
    arguments = zip(argument_names(model.forward, len(inputs)), inputs, strict=True)
    known = {id(x): name for name, x in (*names.items(), *arguments)}
    scopes = {
        call.node: (*call.scopes[:1], *(scope for scope in call.scopes if scope.place))
        for call in trace.calls
    }
    return Drawing([Panel(folded_or_cut(results, scopes, max_nodes), known, flows=flows)])


def _flows(outputs: Sequence[Tensor], dys: Sequence[Any]) -> Flows:
    arrays = [asarray(dy.array if isinstance(dy, Tensor) else dy) for dy in dys]
    if len(arrays) != len(outputs):
        raise ValueError(f"dy must have one gradient for each of {len(outputs)} outputs, got {len(arrays)}")
    pairs = list(zip(outputs, arrays, strict=True))
    fitting = [dy.reshape(y.shape) if dy.size == y.numel() == 1 else dy for y, dy in pairs]
    return flows_of(outputs, [dy.astype(y.array.dtype) for y, dy in zip(outputs, fitting, strict=True)])


class Drawing:
    """A picture of a computation: `save(path)` writes it, notebooks show it, `dot` is its DOT text.

    `omitted` is the number of functions that are not drawn.
    """

    def __init__(self, panels: Sequence[Panel], title: str = "") -> None:
        self._picture = build(panels, title)
        self._functions = sum(len(panel.graph.functions) for panel in panels)
        self.omitted = sum(panel.graph.omitted for panel in panels)
        self._tensors = sum(len(panel.graph.tensors) for panel in panels)

    @property
    def dot(self) -> str:
        """The picture as DOT text, Graphviz's language."""
        return self._picture.source

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write SVG, PNG, PDF or DOT text, chosen by the suffix of `path`; return the path written.

        If Graphviz cannot draw the picture, the DOT text is saved with the suffix .dot instead, and a
        warning says what to install. A file is never left half-written.

        Raises:
            ValueError: if the suffix is not supported.
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
                warnings.warn(f"{error}. The DOT text is saved as {path}", stacklevel=2)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return path

    def svg(self) -> str:
        """Return the picture as SVG text.

        Raises:
            RuntimeError: if Graphviz is missing or fails.
        """
        return self._render("svg").decode()

    def _render(self, kind: str) -> bytes:
        picture = self._picture.copy()
        if kind == "png":
            picture.attr(dpi="144")
        return render(picture, kind)

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
