"""Linear: its derivation, fitted to a forward, and its mistakes. The lines are those of linear.py.

The weight may be given as (O, I), y = x·wᵀ + b, or as (I, O), y = x·w + b.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "x_rows": lambda s: s.x.reshape(-1, s.x.shape[-1]),
    "dy_rows": lambda s: s.dy.reshape(-1, s.dy.shape[-1]),
    "dx": lambda s: s.dy @ (s.w if s.transposed else s.w.T),
    "dw": lambda s: s.dy_rows.T @ s.x_rows if s.transposed else s.x_rows.T @ s.dy_rows,
    "db": lambda s: s.dy_rows.sum(0).reshape(s.b_shape),
}


def fit_linear(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = x·wᵀ + b or y = x·w + b, without b if only x and w are given."""
    (x_name, x), *others = arguments.items()
    if not 1 <= len(others) <= 2 or x.ndim < 1 or any(a.dtype.kind != "f" for a in arguments.values()):
        return
    for (w_name, w), *rest in itertools.permutations(others):
        b_name, b = rest[0] if rest else ("", numpy.float64(0.0))
        if w.ndim != 2 or not y.ndim:
            continue
        for transposed in (True, False):
            matrix = w.T if transposed else w
            if (x.shape[-1], y.shape[-1]) != matrix.shape or b.size not in (1, y.shape[-1]):
                continue
            if not fits_output(x @ matrix + b.reshape(-1), y):
                continue
            given = {"x": x, "w": w, "b_shape": b.shape, "transposed": transposed}
            mistakes = tuple(_mistakes(transposed, x[..., 0].size))
            gradients = {x_name: "dx", w_name: "dw"} | ({b_name: "db"} if b_name else {})
            yield Derivation("linear", given, STEPS, gradients, mistakes)
            return


def _mistakes(transposed: bool, n: int) -> Iterator[Mistake]:
    right = {"dx": "dy·w", "dw": "dyᵀ·x", "db": "Σ dy"} if transposed else {}
    right = right or {"dx": "dy·wᵀ", "dw": "xᵀ·dy", "db": "Σ dy"}

    def mistake(name: str, line: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, line, wrong, right[line], {line: step})

    if transposed:
        yield mistake("w is transposed", "dx", "dy·wᵀ", lambda s: s.dy @ s.w.T)
        yield mistake("dy is not transposed", "dw", "dy·x", lambda s: s.dy_rows @ s.x_rows)
        yield mistake("it is transposed", "dw", "xᵀ·dy", lambda s: s.x_rows.T @ s.dy_rows)
    else:
        yield mistake("w is not transposed", "dx", "dy·w", lambda s: s.dy @ s.w)
        yield mistake("x is not transposed", "dw", "x·dy", lambda s: s.x_rows @ s.dy_rows)
        yield mistake("it is transposed", "dw", "dyᵀ·x", lambda s: s.dy_rows.T @ s.x_rows)
    for line, formula in right.items():
        yield mistake("the sign is wrong", line, f"-{formula}", times(STEPS[line], -1))
    for line in ("dw", "db"):
        name = "a mean over the samples stands where their sum belongs"
        yield mistake(name, line, f"{right[line]}/N", times(STEPS[line], 1 / n))
    yield mistake("it is that of the first sample only: sum over all", "db", "dy of the first", _first)
    yield mistake("x is missing", "dw", "Σ dy in every column", _without_x)
    yield mistake(
        "w is missing", "dx", "Σ dy in every entry", lambda s: 0 * s.x + s.dy.sum(-1, keepdims=True)
    )


def _first(s: Any) -> numpy.ndarray:
    return numpy.asarray(s.dy_rows[0].reshape(s.b_shape))


def _without_x(s: Any) -> numpy.ndarray:
    sums = s.dy_rows.sum(0)
    return numpy.asarray(0 * s.w + (sums[:, None] if s.transposed else sums))
