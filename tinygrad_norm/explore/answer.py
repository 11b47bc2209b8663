"""What the page shows, as data for JSON: everything is computed here, by the library."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy

from ..learn.draw_op import draw_op
from ..learn.explained import ExplainedOp, InputGradient
from ..learn.explanation import explain_given
from ..learn.given import Given, names_of_arguments
from ..learn.poolpicture import axes_of, blocks_picture, title
from ..learn.sharing import first_of, pools_of
from ..learn.steps import Flow, Step, Value, modules_of
from ..normalization.core.summary import formula_lines, gradient_lines
from ..registry import Op
from .broken import broken
from .question import norms, read

_TEMPORARY = re.compile(r"\bt[₀₁₂₃₄₅₆₇₈₉]+")
_LONGEST = 40
"""Letters of an expression in which temporary results are replaced by what they are."""


def list_of_norms() -> list[dict[str, str]]:
    """Return the normalizations that can be picked."""
    return [
        {"name": op.name, "title": op.title or op.name, "family": op.family, "pool": op.pool}
        for op in norms()
    ]


def answer(question: Any) -> dict[str, Any]:
    """Return the steps, paths, finite differences, pools and mistakes of the op that is asked about.

    Raises:
        ValueError: if the question cannot be answered; it says why.
    """
    op, given = read(question)
    x = first_of(given)
    found = explain_given(op, given)
    pools = pools_of(op, given)
    derivation = sys.modules[modules_of(op)[0]].__doc__ or ""
    return {
        "op": op.name,
        "title": op.title or op.name,
        "paper": op.paper,
        "pool": op.pool,
        "shape": list(x.shape),
        "seed": given.seed,
        "options": {name: _text(value) for name, value in given.options.items()},
        "formulas": [line.strip() for line in formula_lines(derivation)],
        "derivatives": [line.strip() for line in gradient_lines(derivation)],
        "axes": list(axes_of(op, len(x.shape))),
        "inputs": _inputs(op, given, found),
        "results": _results(found),
        "values": [_value(value) for value in found.values],
        "dys": [_value(value) for value in found.dys],
        "steps": [_step(step) for step in found.steps],
        "gradients": [_gradient(gradient) for gradient in found.gradients],
        "correct": found.correct,
        "pools": [row.nonzero()[0].tolist() for row in pools],
        "picture": blocks_picture(
            x.shape, numpy.zeros(x.numel(), bool), None, axes_of(op, x.ndim), title(op)
        ),
        "mistakes": [
            {
                "name": mistake.name,
                "line": mistake.line,
                "wrong_formula": mistake.wrong_formula,
                "right_formula": mistake.right_formula,
                "input": mistake.input,
                "gradient": _array(mistake.gradient),
                "wrong": mistake.wrong.reshape(-1).nonzero()[0].tolist(),
            }
            for mistake in broken(found)
        ],
    }


def graph(question: Any) -> dict[str, str]:
    """Return the graph of the composed form beside the closed form as SVG, or why there is none.

    Raises:
        ValueError: if the question cannot be answered.
    """
    op, given = read(question)
    try:
        return {"svg": _drawn(op, given), "problem": ""}
    except RuntimeError as error:
        missing, _, install = str(error).partition(". ")
        words = f"The picture needs Graphviz, which is not installed here. {install}."
        return {"svg": "", "problem": words if "not installed" in missing else str(error)}


def _drawn(op: Op, given: Given) -> str:
    forms = ("closed",) if op.composed is None else ("composed", "closed")
    return draw_op(op, forms=forms, given=given).svg()


def _inputs(op: Op, given: Given, found: ExplainedOp) -> list[dict[str, Any]]:
    """Return the inputs: the argument's name beside the derivation's, and whether its numbers are whole."""
    named = zip(names_of_arguments(op, len(given.inputs)), given.inputs, strict=True)
    present = [(argument, x) for argument, x in named if x is not None]
    values = [value for value in found.values if not value.expression]
    return [
        _value(value) | {"argument": argument, "whole": value.array.dtype.kind not in "fc"}
        for (argument, _), value in zip(present, values, strict=True)
    ]


def _results(found: ExplainedOp) -> list[dict[str, Any]]:
    """Return the results, y or y₁, y₂, …: one that a step names is among the values."""
    named = {value.name: value for value in (*found.values, *found.outputs)}
    results = [value for name, value in named.items() if name.rstrip("₀₁₂₃₄₅₆₇₈₉") == "y"]
    steps = {step.name: step.expression for step in found.steps}
    return [
        _value(value) | {"expression": _spelled_out(value.expression, steps)}
        for value in sorted(results, key=lambda value: value.name)
    ]


def _spelled_out(expression: str, steps: Mapping[str, str]) -> str:
    """Return x̂·w + b of t₃ + b, with t₃ = x̂·w; if that is too long, say where the temporary results are."""

    def meaning(name: re.Match[str]) -> str:
        inner = re.sub(r"^reshape\(([^(),]+)\)$", r"\1", steps[name[0]])
        before, after = name.string[: name.start()], name.string[name.end() :]
        is_alone = re.search(r"(^|\(|, )$", before) and re.match(r"$|\)|,", after)
        is_atom = re.fullmatch(r"\w+\u0302?|\w+\([^()]*\)", inner)
        is_product = re.fullmatch(r"[^\s/*@(),]+", inner) and before[-1:] != "/" and after[:3] != " **"
        return inner if is_alone or is_atom or is_product else f"({inner})"

    spelled = expression
    while _TEMPORARY.search(spelled) and len(spelled) <= _LONGEST:
        spelled = _TEMPORARY.sub(meaning, spelled)
    if len(spelled) <= _LONGEST:
        return spelled
    names = ", ".join(dict.fromkeys(_TEMPORARY.findall(expression)))
    return f"{expression}   ({names}: see the steps)"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _array(array: numpy.ndarray) -> dict[str, Any]:
    """Return shape and numbers; JSON has no NaN and no infinity: null."""
    values = [float(v) if numpy.isfinite(v) else None for v in array.reshape(-1).tolist()]
    return {"shape": list(array.shape), "values": values}


def _value(value: Value) -> dict[str, Any]:
    return {"name": value.name, "expression": value.expression, "array": _array(value.array)}


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "expression": step.expression,
        "formula": step.formula,
        "derivative": step.derivative,
        "array": _array(step.array),
        "incoming": _array(step.incoming),
        "flows": [_flow(flow) for flow in step.flows],
    }


def _flow(flow: Flow) -> dict[str, Any]:
    return {"name": flow.name, "outgoing": _array(flow.outgoing), "correct": flow.correct}


def _gradient(gradient: InputGradient) -> dict[str, Any]:
    return {
        "name": gradient.name,
        "paths": [
            {"name": path.name, "formula": path.formula, "gradient": _array(path.gradient)}
            for path in gradient.paths
        ],
        "total": _array(gradient.total),
        "tape": _array(gradient.tape),
        "closed_form": _array(gradient.closed_form),
        "finite_difference": _array(gradient.finite_difference),
        "correct": gradient.correct,
        "at_kink": gradient.at_kink,
    }
