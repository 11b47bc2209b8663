"""One step of an LSTM: its derivation, fitted to a forward, and its mistakes. The lines are those of lstm.py.

y is h⁺, or h⁺ and c⁺ side by side.
"""

from collections.abc import Iterator

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

NAMES = ("x", "h", "c", "w_ih", "w_hh", "b")
GATES = ("i", "f", "g", "o")


def fit_lstm_cell(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of an LSTM cell of x, h, c, w_ih, w_hh and b, given in this order."""
    if len(arguments) != len(NAMES):
        return
    x, h, c, w_ih, w_hh, b = given = tuple(arguments.values())
    H = c.shape[-1] if c.ndim else 0
    N, D = x.shape if x.ndim == 2 else (0, 0)
    shapes = (N, D), (N, H), (N, H), (4 * H, D), (4 * H, H), (4 * H,)
    if not N * H or any(
        a.shape != shape or a.dtype.kind != "f" for a, shape in zip(given, shapes, strict=True)
    ):
        return
    gates = numpy.split(x @ w_ih.T + h @ w_hh.T + b, 4, axis=1)
    i, f, g, o = (
        numpy.tanh(a) if gate == "g" else 1 / (1 + numpy.exp(-a))
        for a, gate in zip(gates, GATES, strict=True)
    )
    after = f * c + i * g
    tanh_c = numpy.tanh(after)
    both = numpy.concatenate([o * tanh_c, after], axis=1)
    if not fits_output(both, y) and not fits_output(both[:, :H], y):
        return
    values = dict(zip(NAMES, given, strict=True)) | {"i": i, "f": f, "g": g, "o": o, "tanh_c": tanh_c, "H": H}
    gradients = {name: f"d{own}" for name, own in zip(arguments, NAMES, strict=True)}
    yield Derivation("lstm_cell", values, STEPS, gradients, tuple(_mistakes()))


STEPS: Steps = {
    "dh_next": lambda s: s.dy[:, : s.H],
    "dc_direct": lambda s: s.dy[:, s.H :] if s.dy.shape[1] > s.H else 0 * s.c,
    "do": lambda s: s.dh_next * s.tanh_c,
    "dc_through_h": lambda s: s.dh_next * s.o * (1 - s.tanh_c**2),
    "dc_next": lambda s: s.dc_direct + s.dc_through_h,
    "di": lambda s: s.dc_next * s.g,
    "df": lambda s: s.dc_next * s.c,
    "dg": lambda s: s.dc_next * s.i,
    "dc": lambda s: s.dc_next * s.f,
    "da_i": lambda s: s.di * s.i * (1 - s.i),
    "da_f": lambda s: s.df * s.f * (1 - s.f),
    "da_g": lambda s: s.dg * (1 - s.g**2),
    "da_o": lambda s: s.do * s.o * (1 - s.o),
    "da": lambda s: numpy.concatenate([s.da_i, s.da_f, s.da_g, s.da_o], axis=1),
    "dx": lambda s: s.da @ s.w_ih,
    "dh": lambda s: s.da @ s.w_hh,
    "dw_ih": lambda s: s.da.T @ s.x,
    "dw_hh": lambda s: s.da.T @ s.h,
    "db": lambda s: s.da.sum(axis=0),
}

_THROUGH_H = "dh⁺·o·(1 - tanh²(c⁺))"
_RIGHT = {"di": "dc⁺·g", "df": "dc⁺·c", "dg": "dc⁺·i", "dc": "dc⁺·f", "do": "dh⁺·tanh(c⁺)"}


def _mistakes() -> Iterator[Mistake]:
    def to_c(name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, "through h⁺ to c⁺", wrong, _THROUGH_H, {"dc_through_h": step})

    yield to_c("the path through h⁺ to c⁺ is dropped", "0", lambda s: 0 * s.c)
    yield to_c(
        "the derivative of tanh(c⁺) is forgotten in the path through h⁺", "dh⁺·o", lambda s: s.dh_next * s.o
    )
    yield to_c(
        "o is forgotten in the path through h⁺ to c⁺",
        "dh⁺·(1 - tanh²(c⁺))",
        lambda s: s.dh_next * (1 - s.tanh_c**2),
    )
    yield to_c(
        "the derivative of tanh is 1 - tanh², not 1 - tanh, in the path through h⁺",
        "dh⁺·o·(1 - tanh(c⁺))",
        lambda s: s.dh_next * s.o * (1 - s.tanh_c),
    )
    name = "the direct path to c⁺ is dropped: c⁺ is an output too"
    yield Mistake(
        name, "dc⁺", "dh⁺·o·(1 - tanh²(c⁺))", f"dc⁺ + {_THROUGH_H}", {"dc_direct": lambda s: 0 * s.c}
    )
    for gate in GATES:
        yield from _of_gate(gate)
    for step, factors in {"di": "cif", "df": "gif", "dg": "gcf", "dc": "gci"}.items():
        for factor in factors:
            right = _RIGHT[step]
            name = f"{factor} stands where {right[-1]} belongs"
            yield Mistake(name, step, f"dc⁺·{factor}", right, {step: _dc_times(factor)})
        name = f"{_RIGHT[step][-1]} is forgotten"
        yield Mistake(name, step, "dc⁺", _RIGHT[step], {step: lambda s: s.dc_next})
    name = "tanh is forgotten: h⁺ has tanh(c⁺), not c⁺"
    wrong_do: Step = lambda s: s.dh_next * (s.f * s.c + s.i * s.g)  # noqa: E731
    yield Mistake(name, "do", "dh⁺·c⁺", _RIGHT["do"], {"do": wrong_do})
    name = "dc uses dc⁺ as it was given, without the part that comes through h⁺"
    yield Mistake(
        name, "dc", "dc⁺·f, without the path through h⁺", "dc⁺·f", {"dc": lambda s: s.dc_direct * s.f}
    )
    for a, b in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        order = [0, 1, 2, 3]
        order[a], order[b] = order[b], order[a]
        wrong = ", ".join(f"da_{GATES[k]}" for k in order)
        name = f"da_{GATES[a]} and da_{GATES[b]} are exchanged: the gates are side by side as i, f, g, o"
        yield Mistake(name, "da", wrong, "da_i, da_f, da_g, da_o", {"da": _in_order(order)})
    yield Mistake("db is a mean: it is a sum", "db", "mean(da)", "Σ da", {"db": lambda s: s.da.mean(axis=0)})


def _of_gate(gate: str) -> Iterator[Mistake]:
    """Yield mistakes in the derivative of a gate's squashing function."""
    line, step, before = f"da_{gate}", STEPS[f"da_{gate}"], f"d{gate}"
    value: Step = lambda s: getattr(s, gate)  # noqa: E731
    incoming: Step = lambda s: getattr(s, before)  # noqa: E731
    sigmoid, tanh = f"{before}·{gate}·(1 - {gate})", f"{before}·(1 - {gate}²)"
    right = tanh if gate == "g" else sigmoid

    def mistake(name: str, wrong: str, changed: Step) -> Mistake:
        return Mistake(name, line, wrong, right, {line: changed})

    kind = "tanh" if gate == "g" else "σ"
    yield mistake(f"the derivative of {kind} is forgotten", before, incoming)
    yield mistake("the sign is wrong", f"-{right}", times(step, -1))
    if gate == "g":
        name = "the derivative of σ stands where that of tanh belongs"
        yield mistake(name, sigmoid, lambda s: incoming(s) * value(s) * (1 - value(s)))
        name = "the derivative of tanh is 1 - tanh², not 1 - tanh"
        yield mistake(name, f"{before}·(1 - {gate})", lambda s: incoming(s) * (1 - value(s)))
        return
    yield mistake(f"1 - {gate} is forgotten", f"{before}·{gate}", lambda s: incoming(s) * value(s))
    yield mistake(f"{gate} is forgotten", f"{before}·(1 - {gate})", lambda s: incoming(s) * (1 - value(s)))
    name = "the derivative of tanh stands where that of σ belongs"
    yield mistake(name, tanh, lambda s: incoming(s) * (1 - value(s) ** 2))


def _dc_times(factor: str) -> Step:
    return lambda s: s.dc_next * getattr(s, factor)


def _in_order(order: list[int]) -> Step:
    def da(s: object) -> numpy.ndarray:
        return numpy.concatenate([getattr(s, f"da_{GATES[k]}") for k in order], axis=1)

    return da
