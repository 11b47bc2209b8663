"""`tinygrad-norm norms`: list the normalizations of `train`."""

from ..registry import REGISTRY
from ..training import NORMS
from .tables import NOTHING, print_line, wide_console, words_table


def norms() -> None:
    """List the normalizations of `train --norm`: what shares one mean and variance, and the paper."""
    console = wide_console()
    rows = [(name, *_facts(name)) for name in NORMS]
    console.print(words_table(console, ("norm", "layer", "shares its statistics", "paper"), rows))
    others = [
        op.name
        for op in REGISTRY.values()
        if op.kind == "normalization" and op.name not in map(_op_name, NORMS)
    ]
    print_line(console, f"Other normalizations of this package: {', '.join(others)}.")


def _op_name(norm: str) -> str:
    return f"{norm}_norm"


def _facts(norm: str) -> tuple[str, str, str]:
    op = REGISTRY.get(_op_name(norm))
    return (op.title, op.pool, op.paper) if op else ("Identity", NOTHING, NOTHING)
