"""Explain an op with numbers: every step forward and backward, and the paths that add up to the gradient.

    print(tn.learn.explain("layer_norm", [1, 2, 3, 6], dy=[1, 0, 0, 0]))

The steps are the calls that the composed form makes, their formulas the docstrings of these primitives. The
names of the values are those of the code, or the derivation's symbols for them; the paths are those that
the derivation lists (`tracing.py`, `derivation.py`). Without such a list, a path is one use of the input.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..files import replacing
from ..gradient_check.check import jacobians
from ..gradient_check.error import GradcheckError
from ..gradient_check.failure_report import disagreement
from ..gradient_check.registered import NUMERIC_TOLERANCE
from ..registry import REGISTRY, Op
from ..suggestions import did_you_mean
from .explain_page import as_fragment, as_page
from .explain_text import MOST_LINES, as_text
from .explained import ExplainedOp, InputGradient, PathGradient
from .formulas import formula_of
from .given import Given, choose, traced_call
from .pathways import gradients_of_paths
from .steps import Explained, explain_calls, is_kinked
from .tracing import Trace


class Explanation(ExplainedOp):
    """An explained op: `print` shows its tables, and so does a notebook; `save` writes them as a page."""

    def __str__(self) -> str:
        return as_text(self, most_lines=MOST_LINES)

    def text(self) -> str:
        """Return the tables with all numbers; `print` shortens the steps if there are very many."""
        return as_text(self)

    def __repr__(self) -> str:
        return f"<explanation of {self.op.name}: print shows it>"

    def _repr_html_(self) -> str:
        return as_fragment(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML page that needs no other file, and return its path.

        Raises:
            OSError: if it cannot be written.
        """
        path = Path(path)
        with replacing(path) as temporary:
            temporary.write_text(as_page(self), encoding="utf-8")
        return path


def explain(
    op: str | Op,
    x: Any = None,
    dy: Any = None,
    *,
    shape: Sequence[int] | None = None,
    seed: int = 0,
    **options: Any,
) -> Explanation:
    """Compute a registered op step by step, forward and backward, on numbers few enough to be read.

    Without `x` and `shape`, a normalization is explained on x = 1, 2, 3, 6 and dy = 1, 0, 0, 0 if it can take
    them, anything else on the smallest of its registered cases.

    Args:
        op: its registered name, such as "layer_norm".
        x: the first input; a list becomes the row or the column that the op needs.
        dy: dL/dy, as many numbers as y has; random if not given.
        shape: of a random x.
        seed: of everything random.
        options: options of the op, such as num_groups=1.

    Raises:
        TypeError: if op is not a name, or shape not a sequence.
        ValueError: if no op has this name, the op cannot take `x` or an option, there are more than 400
            numbers, one of them is NaN or infinite, `dy` is of another size than y, or the op gives another
            result when it is called again, as with a momentum.
    """
    op = _find(op) if isinstance(op, str) else op
    if not isinstance(op, Op):
        raise TypeError(f"explain takes the name of a registered op, such as 'layer_norm', got {op!r}")
    return explain_given(op, choose(op, x, dy, shape=shape, seed=seed, options=options))


def explain_given(op: Op, given: Given) -> Explanation:
    """Compute `op` step by step on inputs that were chosen before.

    Raises:
        ValueError: as `explain`.
    """
    trace, results = traced_call(op, given, op.composed)
    xs = [x for x in given.inputs if x is not None and x.requires_grad]
    ys = [y for y in results if y.requires_grad]
    dys = given.dys(ys)
    explained = explain_calls(op, trace, given.inputs, xs, ys or results, dys)
    return Explanation(
        op=op,
        options=given.options,
        values=explained.values,
        outputs=explained.outputs,
        dys=tuple(replace(dy, expression="random" if given.dy is None else "given") for dy in explained.dys),
        steps=explained.steps,
        gradients=_compared(op, given, xs, ys, dys, trace, explained) if ys else (),
        closed_formula=_closed_formula(op, given) if op.composed else "",
    )


def _find(name: str) -> Op:
    if name not in REGISTRY:
        close = did_you_mean(name, REGISTRY)
        raise ValueError(f"no registered op is called {name!r}{close}; `tinygrad-norm gradcheck` lists all")
    return REGISTRY[name]


def _compared(
    op: Op,
    given: Given,
    xs: list[Tensor],
    ys: list[Tensor],
    dys: list[numpy.ndarray],
    trace: Trace,
    explained: Explained,
) -> tuple[InputGradient, ...]:
    def loss(*tensors: Any) -> Any:
        result = op.call(tensors, given.options)
        results = result if isinstance(result, tuple) else (result,)
        made = [y for y in results if isinstance(y, Tensor) and y.is_floating_point()]
        parts = [(y * Tensor(dy)).sum() for y, dy in zip(made, dys, strict=False)]
        return sum(parts[1:], parts[0])

    leaves = [x if x is None else Tensor(x.array.copy(), requires_grad=x.requires_grad) for x in given.inputs]
    try:
        pairs = jacobians(loss, tuple(leaves))
    except GradcheckError as error:
        raise ValueError(f"{op.name} cannot be compared with finite differences: {error}") from error
    tape = gradients(ys, xs, dys, retain=True)
    paths = gradients_of_paths(op, trace, xs, ys, dys, explained.names)
    found = []
    for k, (x, pair) in enumerate(zip(xs, pairs, strict=True)):
        own = tuple(
            PathGradient(name, text if k == 0 else "", dxs[k])
            for name, text, dxs in paths
            if dxs[k] is not None
        )
        own = own or (PathGradient("no path", "", numpy.zeros(x.shape)),)
        dx = tape[k]
        found.append(
            InputGradient(
                name=f"d{explained.names[id(x)]}",
                paths=own,
                tape=numpy.zeros(x.shape) if dx is None else to_numpy(dx),
                closed_form=pair.analytic.reshape(x.shape),
                finite_difference=pair.numeric.value.reshape(x.shape),
                agrees=disagreement([pair], 0.0, NUMERIC_TOLERANCE) is None,
                at_kink=is_kinked([pair]),
            )
        )
    return tuple(found)


def _closed_formula(op: Op, given: Given) -> str:
    """Return the closed form's derivative, from the docstring of its Function, if it has one of its own."""
    trace, _ = traced_call(op, given, op.function)
    own = [call.node for call in trace.calls if ".ops." not in type(call.node).__module__]
    return formula_of(type(own[0]))[1] if len(own) == 1 else ""
