"""Attention: its derivation, fitted to a forward, and its mistakes. Lines as in scaleddotproduct.py."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy

from ...ops.broadcast import unbroadcast
from .catalogue import Derivation, Mistake, Steps, fits_output, times
from .softmaxmistakes import softmax_of


def fit_attention(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = softmax(z) @ v, z = scale·q @ kᵀ; scale is 1/√d, 1/d or 1.

    If no z fits, a soft cap c·tanh(z/c) of it may, with c found from y.
    """
    names = [name for name, array in arguments.items() if array.dtype.kind == "f"]
    known = [roles.get(role, "") for role in ("query", "key", "value")]
    names = known if all(known) else names[:3]
    if len(names) != 3 or len(arguments) != 3:
        return
    q, k, v = (arguments[name] for name in names)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        return
    d = q.shape[-1]
    for capped, scale in itertools.product((False, True), (d**-0.5, 1.0, 1 / d)):
        try:
            z = scale * q @ k.swapaxes(-1, -2)
            cap = _fitted_cap(z, v, y) if capped else math.inf
            t = numpy.tanh(z / cap)
            p = softmax_of(cap * t if capped else z, -1)
            fitting = fits_output(p @ v, y)
        except ValueError:
            return
        if fitting:
            given = {"q": q, "k": k, "v": v, "p": p, "y": y, "scale": scale, "root": d**-0.5, "d": d}
            given |= {"t": t, "cap": cap}
            notes = (
                ()
                if scale == d**-0.5 or d == 1
                else (
                    f"forward multiplies q @ kᵀ by {'1/d' if scale == 1 / d else 'nothing'}; the op has 1/√d",
                )
            )
            yield Derivation(
                "attention",
                given,
                CAPPED if capped else ATTENTION,
                dict(zip(names, ("dq", "dk", "dv"), strict=True)),
                (*_of_attention(given), *(_of_cap() if capped else ())),
                notes,
            )
            return


def _fitted_cap(z: numpy.ndarray, v: numpy.ndarray, y: numpy.ndarray) -> float:
    """Return the c with which softmax(c·tanh(z/c)) @ v is nearest to y."""

    def error(log_c: float) -> float:
        c = math.exp(log_c)
        return float(abs(softmax_of(c * numpy.tanh(z / c), -1) @ v - y).max())

    grid = numpy.linspace(math.log(0.01), math.log(1000), 400)
    best = int(numpy.argmin([error(log_c) for log_c in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(80):
        left, right = low + (high - low) * 0.382, low + (high - low) * 0.618
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return math.exp((low + high) / 2)


def _t(a: numpy.ndarray) -> numpy.ndarray:
    return a.swapaxes(-1, -2)


ATTENTION: Steps = {
    "dp": lambda s: s.dy @ _t(s.v),
    "delta": lambda s: (s.dp * s.p).sum(-1, keepdims=True),
    "ds": lambda s: s.p * (s.dp - s.delta),
    "factor_q": lambda s: s.scale,
    "factor_k": lambda s: s.scale,
    "dz": lambda s: s.ds,
    "dq": lambda s: unbroadcast(s.factor_q * s.dz @ s.k, s.q.shape),
    "dk": lambda s: unbroadcast(s.factor_k * _t(s.dz) @ s.q, s.k.shape),
    "dv": lambda s: unbroadcast(_t(s.p) @ s.dy, s.v.shape),
}


CAPPED: Steps = ATTENTION | {"dz": lambda s: s.ds * (1 - s.t * s.t)}


def _of_cap() -> Iterator[Mistake]:
    slope = "ds∘(1 - t²)"
    for name, wrong, step in (
        ("the slope of the soft cap is missing", "ds", lambda s: s.ds),
        ("t is not squared in the slope of the soft cap", "ds∘(1 - t)", lambda s: s.ds * (1 - s.t)),
        ("the slope of the soft cap has c as a factor", "c·ds∘(1 - t²)", lambda s: s.cap * CAPPED["dz"](s)),
        (
            "the slope of the soft cap has 1/c as a factor",
            "ds∘(1 - t²)/c",
            lambda s: CAPPED["dz"](s) / s.cap,
        ),
        (
            "the slope of the soft cap is taken at the capped scores",
            "ds∘(1 - tanh²(t))",
            lambda s: s.ds * (1 - numpy.tanh(s.t) ** 2),
        ),
    ):
        yield Mistake(name, "dz", wrong, slope, {"dz": step})


def _of_attention(given: dict[str, Any]) -> Iterator[Mistake]:
    softmax = "p∘(dp - Σ dp∘p)"
    yield Mistake("the softmax's sum term is missing", "ds", "p∘dp", softmax, {"ds": lambda s: s.p * s.dp})
    yield Mistake(
        "the softmax's sum term has the wrong sign",
        "ds",
        "p∘(dp + Σ dp∘p)",
        softmax,
        {"ds": lambda s: s.p * (s.dp + s.delta)},
    )
    yield Mistake(
        "only the diagonal of the softmax's Jacobian is used",
        "ds",
        "p∘(1 - p)∘dp",
        softmax,
        {"ds": lambda s: s.p * (1 - s.p) * s.dp},
    )
    yield Mistake("the softmax's backward is left out", "ds", "dp", softmax, {"ds": lambda s: s.dp})
    yield Mistake(
        "p is missing in the softmax's sum term",
        "ds",
        "p∘(dp - Σ dp)",
        softmax,
        {"delta": lambda s: s.dp.sum(-1, keepdims=True)},
    )
    yield Mistake(
        "p is missing before the softmax's bracket",
        "ds",
        "dp - Σ dp∘p",
        softmax,
        {"ds": lambda s: s.dp - s.delta},
    )
    yield Mistake(
        "a mean stands where the softmax's sum belongs",
        "ds",
        "p∘(dp - mean(dp∘p))",
        softmax,
        {"delta": lambda s: (s.dp * s.p).mean(-1, keepdims=True)},
    )
    yield Mistake(
        "the softmax's sum is taken over the queries instead of the keys",
        "ds",
        "p∘(dp - Σ dp∘p) over axis -2",
        softmax,
        {"delta": lambda s: (s.dp * s.p).sum(-2, keepdims=True)},
    )
    yield Mistake(
        "the softmax's sum is taken over queries and keys",
        "ds",
        "p∘(dp - Σ dp∘p) over both axes",
        softmax,
        {"delta": lambda s: (s.dp * s.p).sum((-2, -1), keepdims=True)},
    )
    one, root, d = "1", "1/√d", "1/d"
    formula = {one: lambda s: 1.0, root: lambda s: s.root, d: lambda s: s.root**2}
    scale = given["scale"]
    right = one if scale == 1 else root if scale == given["root"] else d
    for wrong, factor in formula.items():
        if wrong == right or given["d"] == 1:
            continue
        if wrong == one:
            name = f"{right} is forgotten"
        elif right == one:
            name = f"there is a factor {wrong}, which forward does not have"
        else:
            name = f"{wrong} stands where {right} belongs"
        ways = (
            ("dq and dk", "dq, dk", {"factor_q": factor, "factor_k": factor}),
            ("dq", "dq", {"factor_q": factor}),
            ("dk", "dk", {"factor_k": factor}),
        )
        for where, line, steps in ways:
            yield Mistake(f"{name}, in {where}", line, _scaled(line, wrong), _scaled(line, right), steps)
    if right == root:
        up = lambda s: 1 / s.scale  # noqa: E731
        yield Mistake(
            "√d stands where 1/√d belongs, in dq and dk",
            "dq, dk",
            _scaled("dq, dk", "√d"),
            _scaled("dq, dk", root),
            {"factor_q": up, "factor_k": up},
        )
    yield Mistake(
        "ds is not transposed",
        "dk",
        "scale·ds @ q",
        "scale·dsᵀ @ q",
        {"dk": lambda s: s.factor_k * s.dz @ s.q},
    )
    yield Mistake(
        "ds is transposed",
        "dq",
        "scale·dsᵀ @ k",
        "scale·ds @ k",
        {"dq": lambda s: s.factor_q * _t(s.dz) @ s.k},
    )
    yield Mistake(
        "q stands where k belongs",
        "dq",
        "scale·ds @ q",
        "scale·ds @ k",
        {"dq": lambda s: s.factor_q * s.dz @ s.q},
    )
    yield Mistake(
        "k stands where q belongs",
        "dk",
        "scale·dsᵀ @ k",
        "scale·dsᵀ @ q",
        {"dk": lambda s: s.factor_k * _t(s.dz) @ s.k},
    )
    yield Mistake("p is not transposed", "dv", "p @ dy", "pᵀ @ dy", {"dv": lambda s: s.p @ s.dy})
    yield Mistake("v is not transposed", "dp", "dy @ v", "dy @ vᵀ", {"dp": lambda s: s.dy @ s.v})
    for gradient, line, wrong, right in (
        ("dq", "dq", "-scale·ds @ k", "scale·ds @ k"),
        ("dk", "dk", "-scale·dsᵀ @ q", "scale·dsᵀ @ q"),
        ("dv", "dv", "-pᵀ @ dy", "pᵀ @ dy"),
    ):
        yield Mistake(
            f"the sign of {gradient} is wrong",
            line,
            wrong,
            right,
            {gradient: times(ATTENTION[gradient], -1)},
        )


def _scaled(line: str, factor: str) -> str:
    times = "" if factor == "1" else f"{factor}·"
    formulas = {"dq": f"{times}ds @ k", "dk": f"{times}dsᵀ @ q"}
    return formulas.get(line) or f"{formulas['dq']}, {formulas['dk']}"
