"""The tables that explain an op: titled sections of rows, before they become text or a page."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from ..gradient_check.registered import COMPOSED_TOLERANCE
from .array_summary import columns
from .explained import SUM_TOLERANCE, ExplainedOp, InputGradient
from .steps import Flow, Step

OK, WRONG, UNKNOWN = "✓", "✗", "–"


@dataclass(frozen=True)
class Row:
    """A line of a table: a label, a formula, numbers, and the verdict on them or ""; `brief` in one line."""

    label: str
    formula: str = ""
    array: numpy.ndarray | None = None
    verdict: str = ""
    heading: bool = False
    brief: bool = False


@dataclass(frozen=True)
class Section:
    """A table with a title and a sentence on how to read it."""

    title: str
    note: str
    rows: tuple[Row, ...]


def title_of(found: ExplainedOp) -> str:
    """Return the op as it was called: LayerNorm: layer_norm(…, normalized_shape=(4,))."""
    options = ", ".join(f"{name}={value}" for name, value in found.options.items())
    call = f"{found.op.name}({options})"
    return f"{found.op.title}: {call}" if found.op.title else call


def sections(found: ExplainedOp, brief: bool = False) -> list[Section]:
    """Return the tables of an explanation: forward, backward step by step, and each gradient by its paths.

    In brief, a step has a line for each outgoing gradient, without the incoming and the local one.
    """
    values = (*found.values, *found.outputs)
    forward = tuple(Row(value.name, value.expression, value.array, brief=brief) for value in values)
    tables = [Section("Forward", "", forward)]
    if not found.gradients:
        return tables
    parts = "" if brief else "its incoming gradient, the local derivative, and "
    note = (
        f"L = Σ y·dy. The last step comes first: {parts}the outgoing gradient, which is what the step before "
        "receives. ✓: finite differences of the step agree; ✗: they do not; –: there are none at infinity, "
        "and no single one at a kink."
    )
    steps = [Row(dy.name, dy.expression, dy.array, brief=brief) for dy in found.dys]
    for step in reversed(found.steps):
        steps += _brief_rows(step) if brief else _step_rows(step)
    tables.append(Section("Backward", note, tuple(steps)))
    return tables + [_gradient_table(gradient, found) for gradient in found.gradients]


def _step_rows(step: Step) -> Iterator[Row]:
    call = f"{step.name} = {step.expression}"
    formula = " · ".join(part for part in (step.formula, step.derivative) if part not in ("", call))
    yield Row(call, formula, heading=True)
    yield Row("incoming", f"d{step.name}", step.incoming)
    for flow in step.flows:
        if flow.local is not None:
            yield Row("local", f"∂{step.name}/∂{flow.name}", flow.local)
        yield Row("outgoing", f"to d{flow.name}", flow.outgoing, _verdict(flow))


def _brief_rows(step: Step) -> Iterator[Row]:
    for flow in step.flows:
        yield Row(f"to d{flow.name}", f"from d{step.name}", flow.outgoing, _verdict(flow), brief=True)


def _verdict(flow: Flow) -> str:
    return {True: OK, False: WRONG, None: UNKNOWN}[flow.correct]


def _gradient_table(gradient: InputGradient, found: ExplainedOp) -> Section:
    rows = [Row(path.name, path.formula, path.gradient) for path in gradient.paths]
    several, wrong = len(rows) > 1, UNKNOWN if gradient.at_kink else WRONG
    if several:
        agrees = OK if gradient.error_of(gradient.total) <= SUM_TOLERANCE else WRONG
        rows.append(Row("sum of the paths", f"= the steps' {gradient.name}", gradient.total, agrees))
    if found.op.composed is not None:
        agrees = OK if gradient.error_of(gradient.closed_form) <= COMPOSED_TOLERANCE else wrong
        formula = found.closed_formula if gradient.name == found.gradients[0].name else ""
        rows.append(Row("closed form", formula, gradient.closed_form, agrees))
    verdict = OK if gradient.agrees else wrong
    rows.append(Row("finite difference", "", gradient.finite_difference, verdict))
    title = f"Paths to {gradient.name}" if several else f"Gradient {gradient.name}"
    return Section(title, "", tuple(rows))


def cells(array: numpy.ndarray, most_rows: int, most_columns: int) -> list[list[str]]:
    """Return the numbers as text in lines of at most `most_columns`, their decimal points below each other.

    A last line of one text says how many numbers are left out, if there are more than `most_rows` lines.
    """
    if not array.size:
        return [["(none)"]]
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    lines = [row[k : k + most_columns] for row in rows for k in range(0, max(len(row), 1), most_columns)]
    shown = lines if len(lines) <= most_rows else lines[: most_rows - 1]
    texts = [[_number(value) for value in line] for line in shown]
    left = sum(map(len, lines)) - sum(map(len, shown))
    return [*texts, [f"… {left} more"]] if left else texts


def first_cells(array: numpy.ndarray, most: int) -> list[str]:
    """Return the numbers as text in one line of at most `most` cells; the last says how many are left out."""
    flat = array.reshape(-1)
    if flat.size <= most:
        return [_number(value) for value in flat]
    return [*map(_number, flat[: most - 1]), f"… {flat.size - most + 1} more"]


def _number(value: float) -> str:
    if isinstance(value, bool | numpy.bool_ | int | numpy.integer):
        return f"{value!s}     "
    if not numpy.isfinite(value):
        return f"{value}     "
    if value == round(value) and abs(value) < 1e8:
        return f"{value + 0:.0f}" + ("     " if abs(value) < 1e3 else "")
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:.4f}" if abs(value) < 1e3 else f"{value:.1f}"
    return f"{value:.1e}"


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text; a derivation's symbols are never broken."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def padded(text: str, width: int) -> str:
    """Return a text filled with spaces to `width` columns."""
    return text + " " * (width - columns(text))
