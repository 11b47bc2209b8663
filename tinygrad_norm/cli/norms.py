"""`tinygrad-norm norms`: list all normalizations, or show one: its formula, its derivation, how to use it."""

import inspect
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .. import nn, normalization
from ..learn.ladder import kernels_of, rungs_of
from ..learn.systems import families
from ..registry import REGISTRY, Op
from ..training import NORMS
from ..training.norm_choices import fits
from .op_names import find_op
from .tables import NOTHING, print_line, wide_console, words_table

HEADINGS = ("norm", "shares one statistic", "parameters", "rungs", "paper")


def norms(
    name: Annotated[
        str | None, typer.Argument(help="Show this one: its formula, derivation and use.", show_default=False)
    ] = None,
) -> None:
    """List the normalizations: what shares one statistic, the parameters, the rungs and the paper.

    `train --norm` takes those that are marked with a star.
    """
    console = wide_console()
    if name is None:
        _list(console)
    else:
        _show(console, name)


def _list(console: Console) -> None:
    ops = _normalizations()
    for family, title in families().items():
        rows = [_row(op) for op in ops.values() if op.family == family]
        if rows:
            print_line(console, f"\n{title}")
            console.print(_table(console, rows))
    print_line(
        console,
        "\n* train --norm takes this name, and `none`. tinygrad-norm norms NAME shows one: its formula, its "
        "derivation and its use.",
    )


def _table(console: Console, rows: list[tuple[str, ...]]) -> Table:
    """Return the table of a family; in a terminal, a norm's properties are lines below each other."""
    if not console.is_terminal:
        return words_table(console, HEADINGS, rows)
    lines = [
        (name, f"{pool}\n{parameters}\n{rungs}\n{paper}\n") for name, pool, parameters, rungs, paper in rows
    ]
    return words_table(console, (HEADINGS[0], ", ".join(HEADINGS[1:])), lines)


def _normalizations() -> dict[str, Op]:
    """Return the registered normalizations, by the name for `train` or else by that of the op."""
    names = {choice.op: name for name, choice in NORMS.items()}
    ops = (op for op in REGISTRY.values() if op.kind == "normalization")
    return {names.get(op.name, op.name): op for op in ops}


def _row(op: Op) -> tuple[str, ...]:
    name = next((f"{name} *" for name, choice in NORMS.items() if choice.op == op.name), op.name)
    parameters = ", ".join(_parameters(_use_of(op)))
    return name, op.pool or NOTHING, parameters, ", ".join(rungs_of(op.name)), op.paper or NOTHING


def _show(console: Console, name: str) -> None:
    ops = _normalizations()
    op = find_op(name, list(dict.fromkeys([*ops, *(op.name for op in ops.values())])))
    choice = next((name for name, choice in NORMS.items() if choice.op == op.name), None)
    module = sys.modules[getattr(op.function, "__module__", "")]
    print_line(console, inspect.getdoc(module) or op.name)
    print_line(console, f"\nRungs: {', '.join(rungs_of(op.name))}")
    print_line(console, f"Kernels: {', '.join(kernels_of(op.name)) or NOTHING}")
    print_line(console, "Use:")
    for line in _uses(op, choice):
        print_line(console, f"    {line}")


def _uses(op: Op, choice: str | None) -> list[str]:
    uses = [_signature(_use_of(op)), _signature(op.function), f"tinygrad-norm gradcheck {op.name}"]
    if choice is not None:
        options = ", ".join(_without_annotation(p) for p in NORMS[choice].options.values())
        model = "cnn" if fits(choice, (16, 8, 8)) else "mlp"
        uses.append(f"tinygrad-norm train digits --model {model} --norm {choice}")
        uses[-1] += f"    with options, as in {_example(choice)}: {options}" if options else ""
    return list(dict.fromkeys(uses))


def _example(choice: str) -> str:
    """Return the choice with its last option that has a default to be typed."""
    given = {name: p.default for name, p in NORMS[choice].options.items() if p.default is not None}
    name, default = list(given.items())[-1] if given else ("eps", 1e-3)
    return f"{choice}:{name}={str(default).lower() if isinstance(default, bool) else default}"


def _use_of(op: Op) -> Any:
    """Return the layer that runs the op if there is one, the class with its title, else its function."""
    for name in (op.title, f"{op.title}2d", f"{op.title}1d"):
        layer = getattr(nn, name, None) or getattr(normalization, name, None)
        if inspect.isclass(layer):
            return layer
    return op.function


def _signature(use: Any) -> str:
    home = "nn" if inspect.isclass(use) else "nn.functional"
    return f"{home}.{use.__name__}({', '.join(_parameters(use))})"


def _parameters(use: Any) -> list[str]:
    """Return the parameters as in a call, without those whose names are private."""
    parameters = inspect.signature(use).parameters.values()
    return [_without_annotation(p) for p in parameters if not p.name.startswith("_")]


def _without_annotation(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=parameter.empty))
