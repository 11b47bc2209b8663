"""Tables that are looked up by class: an embedding, and normalizations with an affine of each class.

    y = w[c]      y = w[c]·x̂ + b[c]      c (N,) labels, w and b (K, C) tables

The lines are those of embedding.py and conditionalbatchnorm.py. What is new beside other parameters is that
labels repeat, and that a batch norm's weight varies inside its pool.
"""

from collections.abc import Iterator
from typing import Any

import numpy

from ...ops.broadcast import unbroadcast
from .catalogue import Derivation, Mistake, Step, Steps, fits_output
from .poolfit import names_of, pooled
from .poolmistakes import of_dx
from .poolsteps import STEPS


def fit_embedding(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = w[c]."""
    tables = {name: a for name, a in arguments.items() if a.dtype.kind == "f" and a.ndim == 2}
    labels = [a for a in arguments.values() if a.dtype.kind in "iu"]
    if len(arguments) != 2 or len(tables) != 1 or len(labels) != 1:
        return
    ((name, w),) = tables.items()
    if not _are_rows(labels[0], w) or not fits_output(w[labels[0]], y):
        return
    given = {"labels": labels[0].reshape(-1), "shape": w.shape}
    steps: Steps = {"dw": lambda s: _added(s, _rows(s))}
    yield Derivation("embedding", given, steps, {name: "dw"}, tuple(_of_table("dw", "dy", _rows)))


def fit_conditional(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = w[c]·x̂ + b[c] over a pool of x (N, C, ...)."""
    labels = [a for a in arguments.values() if a.dtype.kind in "iu"]
    floats = {name: a for name, a in arguments.items() if a.dtype.kind == "f"}
    if len(labels) != 1 or len(floats) != 3 or y.ndim < 2 or labels[0].shape != y.shape[:1]:
        return
    (x_name, x), *others = floats.items()
    (w_name, w), (b_name, b) = others
    if roles.get("weight") == b_name:
        (w_name, w), (b_name, b) = others[::-1]
    if x.shape != y.shape or w.ndim != 2 or w.shape != b.shape or w.shape[1:] != y.shape[1:2]:
        return
    c = labels[0]
    view = (*y.shape[:2], *(1,) * (y.ndim - 2))
    if not _are_rows(c, w) or (w[c] == 0).any():
        return
    rows, shifts = (a[c].reshape(view) for a in (w, b))
    given: dict[str, Any] = {"x": x, "w": rows, "b": shifts, "labels": c, "shape": w.shape}
    given |= {"w_view": view, "w_shape": view, "one": 0}
    full: dict[str, Step] = {"dw": lambda s: s.dy * s.x_hat, "db": lambda s: s.dy + 0 * s.x}
    of_rows = {line: _each_sample(f, view) for line, f in full.items()}
    steps = STEPS | {line: _sum(f) for line, f in of_rows.items()}
    for found in pooled(x, (y - shifts) / rows):
        op = f"conditional_{names_of(given | found)[0]}"
        if op not in ("conditional_batch_norm", "conditional_instance_norm"):
            continue
        mistakes = (
            *of_dx(given | found),
            *_of_table("dw", "dy·x̂", of_rows["dw"]),
            *_of_table("db", "dy", of_rows["db"]),
        )
        gradients = {x_name: "dx", w_name: "dw", b_name: "db"}
        yield Derivation(op, given | found, steps, gradients, mistakes)


def _are_rows(c: numpy.ndarray, w: numpy.ndarray) -> bool:
    return bool(c.size and c.min() >= 0 and c.max() < len(w))


def _rows(s: Any) -> numpy.ndarray:
    return numpy.asarray(s.dy.reshape(len(s.labels), -1))


def _each_sample(full: Step, view: tuple[int, ...]) -> Step:
    return lambda s: unbroadcast(full(s), view).reshape(view[:2])


def _sum(rows: Step) -> Step:
    return lambda s: _added(s, rows(s))


def _added(s: Any, rows: numpy.ndarray) -> numpy.ndarray:
    table = numpy.zeros(s.shape, rows.dtype)
    numpy.add.at(table, s.labels, rows)
    return table


def _of_table(line: str, term: str, rows: Step) -> Iterator[Mistake]:
    right = f"Σ {term} over all samples of a class"

    def mistake(name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, line, wrong, right, {line: step})

    name = "labels that repeat overwrite each other: d[c] += keeps only the last, np.add.at(d, c, …) adds all"
    yield mistake(name, f"{term} of the last sample of a class", lambda s: _last(s, rows(s)))
    name = "it is a mean over the samples of a class: it is a sum"
    yield mistake(name, f"mean of {term} over a class", lambda s: _added(s, rows(s)) / _counts(s))
    yield mistake("the sign is wrong", f"-{right}", lambda s: -_added(s, rows(s)))


def _last(s: Any, rows: numpy.ndarray) -> numpy.ndarray:
    table = numpy.zeros(s.shape, rows.dtype)
    table[s.labels] = rows
    return table


def _counts(s: Any) -> numpy.ndarray:
    return numpy.maximum(numpy.bincount(s.labels, minlength=s.shape[0]), 1)[:, None]
