"""The page of one system."""

import functools
import inspect
import sys
from pathlib import Path

import tinygrad_norm as tn
from tinygrad_norm.learn.ladder import rungs_of
from tinygrad_norm.module import Module
from tinygrad_norm.registry import REGISTRY, Op

from . import markdown
from .advice import advice
from .derivation import Derivation
from .evidence import claims, gradient_words, speed_table
from .excerpts import code_section
from .pictures import graph_part, pool_svg

FAMILIES = ("sample", "batch", "vector", "weight", "graph", "whitening", "block")


@functools.cache
def systems() -> dict[str, Op]:
    """Return the ops that have a page, by name: normalizations by family, then blocks."""
    order = {family: k for k, family in enumerate(FAMILIES)}
    shown = [op for op in REGISTRY.values() if op.kind in ("normalization", "block")]
    return {op.name: op for op in sorted(shown, key=lambda op: (order[op.family], title(op).lower()))}


@functools.cache
def pages_of_files() -> dict[str, str]:
    """Return, by the name of a file that derives a system, the page of its first system."""
    found: dict[str, str] = {}
    for op in systems().values():
        found.setdefault(f"{op.function.__module__.rpartition('.')[2]}.py", f"{op.name}.md")
    return found


def title(op: Op) -> str:
    """Return the name of a system in prose."""
    return op.title or op.name


def derivation_of(op: Op) -> Derivation:
    """Return what the file of an op derives."""
    return Derivation.of(sys.modules[op.function.__module__].__doc__ or "")


def page(op: Op, docs: Path) -> str:
    """Return the page of a system as Markdown."""
    derivation, words = derivation_of(op), advice().get(op.name)
    file = f"{op.function.__module__.rpartition('.')[2]}.py"
    pages = {name: target for name, target in pages_of_files().items() if name != file}
    found = claims(op, docs)
    parts = {
        "": "\n\n".join([markdown.text(derivation.summary), _facts(op)]),
        "Formula": markdown.formulas(derivation.formula) if derivation.formula else "",
        "What shares a statistic": _pool(op),
        "When to use it": markdown.text(words.when) if words else "",
        "What catches people out": markdown.text(words.traps) if words else "",
        "Gradient": _gradient(op, derivation),
        "Derivation": derivation.markdown(pages),
        "Code": code_section(op, docs / "systems"),
        "Graph": graph_part(op),
        "Speed": _speed(op, docs),
        "What papers claim of it": "\n".join(found),
    }
    shown = [f"## {heading}\n\n{part}" if heading else part for heading, part in parts.items() if part]
    return "\n\n".join([f"# {markdown.escaped(title(op))}", *shown]) + "\n"


def _facts(op: Op) -> str:
    facts = {
        "Paper": markdown.text(op.paper),
        "In the package": ", ".join(map(markdown.name, public_names(op))),
        "In PyTorch": f"`{op.torch}`, with the same arguments"
        if isinstance(op.torch, str) and op.torch
        else "",
        "Forms": ", ".join(rungs_of(op.name)),
        "In a terminal": f"`tinygrad-norm explain {op.name}` shows it step by step, with numbers",
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact)


def public_names(op: Op) -> list[str]:
    """Return the public names of an op and of its layers: those of its file, if none is called like it."""
    functions = [
        f"nn.functional.{name}"
        for name, function in vars(tn.nn.functional).items()
        if function is op.function and not name.startswith("_")
    ]
    layers = [
        f"nn.{name}"
        for name, layer in vars(tn.nn).items()
        if inspect.isclass(layer) and issubclass(layer, Module) and layer.__module__ == op.function.__module__
    ]
    spelled = op.name.replace("_", "")
    of_op = [name for name in layers if name.lower().startswith(f"nn.{spelled}")]
    hooks = [f"nn.utils.parametrizations.{op.name}"] if hasattr(tn.nn.utils.parametrizations, op.name) else []
    return functions[:1] + hooks + (of_op or layers)


def _pool(op: Op) -> str:
    if op.kind != "normalization":
        return ""
    words = f"{op.pool[0].upper()}{op.pool[1:]}." if op.pool else ""
    svg = pool_svg(op)
    picture = markdown.html(f'<figure class="pool">{svg}</figure>')
    return "\n\n".join([markdown.text(words), picture, _legend(svg)])


def _legend(svg: str) -> str:
    if 'class="own"' not in svg:
        return "One entry of the result is computed from the blue blocks."
    others = "what else it is computed from is blue" if 'class="in"' in svg else "nothing else enters it"
    return f"The orange block is one entry of the result, and of the input; {others}."


def _gradient(op: Op, derivation: Derivation) -> str:
    parts = []
    if derivation.paths:
        head = ["path", "because", "contribution"]
        rows = [[markdown.text(path), *map(_cell, rest)] for path, *rest in derivation.paths]
        if not any(because for _, because, _ in rows):
            head, rows = [head[0], head[2]], [[path, contribution] for path, _, contribution in rows]
        parts += [
            "The gradient of the input is the sum over the paths on which it reaches the result:",
            markdown.table(head, rows),
        ]
    if any(line.startswith("dx = ") for line in derivation.gradients) or op.kind == "normalization":
        parts.append(markdown.formulas(derivation.gradients))
    if sum(line.startswith("dx = ") for line in derivation.gradients) > 1:
        parts.append("The derivation below says when each line for dx holds.")
    return "\n\n".join([*parts, gradient_words(op)])


def _cell(formula: str) -> str:
    return markdown.inline(formula, display=False) if formula else ""


def _speed(op: Op, docs: Path) -> str:
    table = speed_table(op, docs)
    words = (
        "Forward and backward on a CPU, one thread; the time divided by PyTorch's: below 1, ours is faster. "
        "Inputs are the sizes of the arguments in their order, – for one not given, then the options. "
        "Machine and method are in [performance](../performance.md)."
    )
    return f"{words}\n\n{table}" if table else ""
