"""Reversible instance normalization, the way back: its derivation, fitted to a forward, and its mistakes.

The lines are those of revin.py, q = w + eps². The first end is an instance normalization, which has its own.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "do": lambda s: s.dy * s.std / s.q,
    "dmean": lambda s: _over_steps(s.dy),
    "dstd": lambda s: _over_steps(s.dy * (s.o - s.b) / s.q),
    "dw": lambda s: -_per_channel(s.dy * s.std * (s.o - s.b) / s.q**2),
    "db": lambda s: -_per_channel(s.dy * s.std / s.q),
}
_ENDS = {
    "do": "dy·σ/q",
    "dmean": "Σ dy",
    "dstd": "Σ dy·(o - b)/q",
    "dw": "-Σ dy·σ·(o - b)/q²",
    "db": "-Σ dy·σ/q",
}


def fit_reversible_denorm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = σ·(o - b)/q + μ; o (N, ..., C), μ and σ (N, 1, C), w or b (C,), or both."""
    if y.ndim < 3 or not y.size or any(a.dtype.kind != "f" for a in arguments.values()):
        return
    per_series = (len(y), *(1,) * (y.ndim - 2), y.shape[-1])
    arrays = [name for name, a in arguments.items() if a.shape == y.shape]
    statistics = [name for name, a in arguments.items() if a.shape == per_series and name not in arrays]
    vectors = [name for name, a in arguments.items() if a.shape == y.shape[-1:]]
    count = len(arrays) + len(statistics) + len(vectors)
    if len(arrays) != 1 or len(statistics) != 2 or not 0 < len(vectors) < 3 or count != len(arguments):
        return
    o = arguments[arrays[0]]
    named = itertools.product(
        (statistics, statistics[::-1]), itertools.permutations(("w", "b"), len(vectors)), (1e-5, 1e-3, 0.0)
    )
    for (mean, std), roles_of_vectors, eps in named:
        of = dict(zip(roles_of_vectors, vectors, strict=True))
        b = arguments[of["b"]] if "b" in of else 0.0
        q = arguments[of["w"]] + eps**2 if "w" in of else 1.0
        sigma = arguments[std]
        if fits_output(sigma * (o - b) / q + arguments[mean], y):
            given = {"o": o, "std": sigma, "q": q, "b": b}
            ends = {arrays[0]: "do", mean: "dmean", std: "dstd"}
            ends |= {name: f"d{role}" for role, name in of.items()}
            steps = math.prod(y.shape[1:-1])
            mistakes = tuple(_mistakes("w" in of, "b" in of, steps))
            yield Derivation("reversible_instance_denorm", given, STEPS, ends, mistakes)
            return


def _over_steps(a: Any) -> Any:
    return a.sum(tuple(range(1, a.ndim - 1)), keepdims=True)


def _per_channel(a: Any) -> Any:
    return a.sum(tuple(range(a.ndim - 1)))


def _mistakes(weight: bool, bias: bool, steps: int) -> Iterator[Mistake]:
    def mistake(line: str, name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, line, wrong, _ENDS[line], {line: step})

    if weight:
        name = "the weight is forgotten at this end: forward divides by q"
        yield mistake("do", name, "dy·σ", lambda s: s.dy * s.std)
        name = "q is a factor, as w is at the first end: here forward divides by it"
        yield mistake("do", name, "dy·σ·q", lambda s: s.dy * s.std * s.q)
        name = "the weight is forgotten: forward divides by q before it multiplies by σ"
        yield mistake("dstd", name, "Σ dy·(o - b)", lambda s: _over_steps(s.dy * (s.o - s.b)))
        name = "q stands where q² belongs: the derivative of 1/q is -1/q²"
        yield mistake("dw", name, "-Σ dy·σ·(o - b)/q", times(STEPS["dw"], lambda s: s.q))
        name = "it is the gradient of the first end, where w is a factor: here forward divides by q"
        first: Step = lambda s: _per_channel(s.dy * (s.o - s.b) / s.q)  # noqa: E731
        yield mistake("dw", name, "Σ dy·(o - b)/q", first)
        yield mistake("dw", "σ is forgotten", "-Σ dy·(o - b)/q²", lambda s: -first(s) / s.q)
        name = "the weight is forgotten: b, too, is divided by q"
        yield mistake("db", name, "-Σ dy·σ", lambda s: -_per_channel(s.dy * s.std))
    if bias:
        name = "the bias is forgotten at this end: forward subtracts it from o"
        yield mistake("dstd", name, "Σ dy·o/q", lambda s: _over_steps(s.dy * s.o / s.q))
        wrong = "-Σ dy·σ·o/q²"
        yield mistake("dw", name, wrong, lambda s: -_per_channel(s.dy * s.std * s.o / s.q**2))
        name = "it is the gradient of the first end, where b is added: here forward subtracts it"
        yield mistake("db", name, "Σ dy", lambda s: _per_channel(s.dy))
        name = "σ is forgotten: b is subtracted before the scale comes back"
        yield mistake("db", name, "-Σ dy/q", lambda s: -_per_channel(s.dy / s.q))
    yield mistake("do", "σ is forgotten", "dy/q", lambda s: s.dy / s.q)
    name = "σ is divided by, as at the first end: here forward multiplies by it"
    yield mistake("do", name, "dy/(σ·q)", lambda s: s.dy / s.std / s.q)
    for line in ("dmean", "dstd"):
        name = "it is a mean, but every step has it: it is a sum"
        yield mistake(line, name, _ENDS[line].replace("Σ", "mean of"), times(STEPS[line], 1 / steps))
    for line, end in _ENDS.items():
        wrong = end[1:] if end[0] == "-" else f"-{end}"
        yield mistake(line, "the sign is wrong", wrong, times(STEPS[line], -1))
