"""Explain an op with numbers: every step forward and backward, and the paths that add up to the gradient.

    print(tn.learn.explain("layer_norm", [1, 2, 3, 6], dy=[1, 0, 0, 0]))

The steps are the calls that the composed form makes, their formulas the docstrings of these primitives. The
names of the values are those of the code, or the derivation's symbols for them; the paths are those that
the derivation lists (`tracing.py`, `derivation.py`). Without such a list, a path is one use of the input.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..files import replacing
from ..gradient_check.check import jacobians
from ..gradient_check.failure_report import disagreement
from ..gradient_check.registered import NUMERIC_TOLERANCE, cotangent
from ..ops.arguments import as_size
from ..registry import REGISTRY, Op
from ..suggestions import did_you_mean
from .dot import argument_names, formula_of
from .explain_page import as_fragment, as_page
from .explain_text import as_text
from .explained import ExplainedOp, InputGradient, PathGradient
from .pathways import gradients_of_paths
from .smallinputs import MOST_NUMBERS, README_DY, README_X, case_for, smallest_case
from .steps import Explained, explain_calls
from .tracing import Trace, traced


class Explanation(ExplainedOp):
    """An explained op: `print` shows its tables, and so does a notebook; `save` writes them as a page."""

    def __str__(self) -> str:
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
        ValueError: if no op has this name, the op cannot take `x`, there are more than 400 numbers, one of
            them is NaN or infinite, or `dy` is of another size than y.
    """
    op = _find(op) if isinstance(op, str) else op
    if not isinstance(op, Op):
        raise TypeError(f"explain takes the name of a registered op, such as 'layer_norm', got {op!r}")
    if shape is not None and not isinstance(shape, Sequence):
        raise TypeError(f"shape must be a sequence of sizes, such as (2, 4), got {shape!r}")
    as_size(seed, "seed", 0)
    rng = numpy.random.default_rng(seed)
    if x is not None and shape is not None:
        raise ValueError("pass x or shape, not both")
    if shape is not None:
        x = _drawn(tuple(shape), rng)
    if x is not None:
        inputs, chosen = case_for(op, _checked(x, "x"), options, seed)
    else:
        return _default(op, dy, options, seed)
    return _explained(op, inputs, chosen, dy, seed)


def _find(name: str) -> Op:
    if name not in REGISTRY:
        close = did_you_mean(name, REGISTRY)
        raise ValueError(f"no registered op is called {name!r}{close}; `tinygrad-norm gradcheck` lists all")
    return REGISTRY[name]


def _drawn(shape: tuple[int, ...], rng: numpy.random.Generator) -> numpy.ndarray:
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape needs sizes of at least 1, got {shape}")
    if numpy.prod(shape, dtype=float) > MOST_NUMBERS:
        raise ValueError(f"explain shows every number: x may have {MOST_NUMBERS}, shape {shape} has more")
    return rng.normal(size=shape).round(2)


def _checked(values: Any, name: str) -> numpy.ndarray:
    try:
        array = numpy.asarray(to_numpy(values.array) if isinstance(values, Tensor) else values)
    except ValueError:
        array = numpy.array("rows of different lengths")
    if array.size and array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers in rows of equal length, got {values!r}")
    if not array.size or array.size > MOST_NUMBERS:
        raise ValueError(f"explain shows every number: {name} may have 1 to {MOST_NUMBERS}, got {array.size}")
    if not numpy.isfinite(array).all():
        raise ValueError(f"{name} must be finite: NaN and infinity have no finite differences")
    return array.astype(numpy.float64)


def _default(op: Op, dy: Any, options: dict[str, Any], seed: int) -> Explanation:
    if op.kind == "normalization":
        try:
            inputs, chosen = case_for(op, numpy.array(README_X), options, seed)
        except ValueError:
            pass
        else:
            found = _explained(op, inputs, chosen, README_DY if dy is None else dy, seed)
            if found.correct:  # a pool of one has a gradient of rounding only
                return found
    inputs, chosen = smallest_case(op, seed)
    return _explained(op, inputs, chosen | options, dy, seed)


def _explained(
    op: Op, inputs: list[Tensor | None], options: dict[str, Any], dy: Any, seed: int
) -> Explanation:
    count = len(inputs)
    arguments = op.inputs[:count] or argument_names(op.function, count)
    with traced() as trace:
        for argument, given in zip(arguments, inputs, strict=True):
            trace.name(given, "x" if argument == "input" and "x" not in arguments else argument)
        result = op.call(inputs, options, op.composed)
    xs = [x for x in inputs if x is not None and x.requires_grad]
    results = [y for y in (result if isinstance(result, tuple) else (result,)) if isinstance(y, Tensor)]
    ys = [y for y in results if y.requires_grad]
    dys = _gradients_of(ys, dy, seed)
    explained = explain_calls(op, trace, inputs, xs, ys or results, dys)
    return Explanation(
        op=op,
        options=options,
        values=explained.values,
        outputs=explained.outputs,
        dys=explained.dys,
        steps=explained.steps,
        gradients=_compared(op, inputs, options, xs, ys, dys, trace, explained) if ys else (),
        closed_formula=_closed_formula(op, inputs, options) if op.composed else "",
    )


def _gradients_of(ys: Sequence[Tensor], dy: Any, seed: int) -> list[numpy.ndarray]:
    if not ys:
        return []
    if dy is None or (dy is README_DY and ys[0].numel() != len(README_DY)):
        return [cotangent(y.shape, k, seed).round(2) for k, y in enumerate(ys)]
    given = _checked(dy, "dy")
    if given.size != ys[0].numel():
        raise ValueError(
            f"dy must have a number for each of y, {ys[0].numel()} ({ys[0].shape}), got {given.size}"
        )
    return [given.reshape(ys[0].shape), *(numpy.zeros(y.shape) for y in ys[1:])]


def _compared(
    op: Op,
    inputs: list[Tensor | None],
    options: dict[str, Any],
    xs: list[Tensor],
    ys: list[Tensor],
    dys: list[numpy.ndarray],
    trace: Trace,
    explained: Explained,
) -> tuple[InputGradient, ...]:
    def loss(*tensors: Any) -> Any:
        result = op.call(tensors, options)
        results = result if isinstance(result, tuple) else (result,)
        made = [y for y in results if isinstance(y, Tensor) and y.is_floating_point()]
        parts = [(y * Tensor(dy)).sum() for y, dy in zip(made, dys, strict=False)]
        return sum(parts[1:], parts[0])

    leaves = [x if x is None else Tensor(x.array.copy(), requires_grad=x.requires_grad) for x in inputs]
    pairs = jacobians(loss, tuple(leaves))
    tape = gradients(ys, xs, dys, retain=True)
    paths = gradients_of_paths(op, trace, xs, ys, dys, explained)
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
            )
        )
    return tuple(found)


def _closed_formula(op: Op, inputs: list[Tensor | None], options: dict[str, Any]) -> str:
    """Return the closed form's derivative, from the docstring of its Function, if it has one of its own."""
    with traced() as trace:
        op.call(inputs, options)
    own = [call.node for call in trace.calls if ".ops." not in type(call.node).__module__]
    return formula_of(type(own[0]))[1] if len(own) == 1 else ""
