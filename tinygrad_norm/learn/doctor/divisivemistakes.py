"""GDN: its derivation, fitted to a forward, and its mistakes. The lines are those of gdn.py."""

from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "straight": lambda s: s.dy.reshape(s.x.shape) * (s.d if s.inverse else 1 / s.d),
    "u": lambda s: (1 if s.inverse else -1) * s.dy.reshape(s.x.shape) * s.y / (s.p * s.z),
    "through_z": lambda s: s.slope * (s.gamma.T @ s.u),
    "dx": lambda s: (s.straight + s.through_z).reshape(s.dy.shape),
    "dbeta": lambda s: s.u.sum((0, 2)),
    "dgamma": lambda s: (s.u @ s.a.swapaxes(1, 2)).sum(0),
}


def fit_gdn(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = x/√(β + γ·x²), its inverse or GDN1; x (N, C, ...), β (C,), γ (C, C)."""
    if len(arguments) != 3 or any(a.dtype.kind != "f" for a in arguments.values()) or y.ndim < 2:
        return
    C = y.shape[1]
    found = {
        role: [name for name, a in arguments.items() if a.shape == shape]
        for role, shape in (("x", y.shape), ("beta", (C,)), ("gamma", (C, C)))
    }
    if y.shape == (C, C):  # the first of two is x
        found = {**found, "x": found["x"][:1], "gamma": found["gamma"][1:]}
    if any(len(names) != 1 for names in found.values()) or not y.size:
        return
    names = {role: one[0] for role, one in found.items()}
    x, beta, gamma = (arguments[name] for name in names.values())
    x = x.reshape(len(x), C, -1)
    for p in (2, 1):
        a = x * x if p == 2 else abs(x)
        z = beta[:, None] + gamma @ a
        d = z ** (1 / p)
        for inverse in (False, True):
            output = x * d if inverse else x / d
            if fits_output(output.reshape(y.shape), y):
                given = {"x": x, "y": output, "z": z, "d": d, "a": a, "gamma": gamma, "p": p}
                given |= {"inverse": inverse, "slope": 2 * x if p == 2 else numpy.sign(x)}
                ends = {name: f"d{role}" for role, name in names.items()}
                yield Derivation("gdn", given, STEPS, ends, tuple(_mistakes(given)))
                return


def _mistakes(given: dict[str, Any]) -> Iterator[Mistake]:
    p, inverse = given["p"], given["inverse"]
    slope, straight = ("2x" if p == 2 else "sign(x)"), ("dy·d" if inverse else "dy/d")
    right = f"{straight} + {slope}·(γᵀu)"

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    name = "γ is not transposed: channel i collects from all that it divides, γ_ki, not γ_ik"
    yield of_dx(name, f"{straight} + {slope}·(γ·u)", through_z=lambda s: s.slope * (s.gamma @ s.u))
    yield of_dx("the path through z is dropped", straight, through_z=lambda s: 0 * s.x)
    name = "the sign of the path through z is wrong"
    yield of_dx(name, f"{straight} - {slope}·(γᵀu)", through_z=times(STEPS["through_z"], -1))
    if p == 2:
        name = "the factor 2 of the derivative of x² is forgotten"
        yield of_dx(name, f"{straight} + x·(γᵀu)", through_z=times(STEPS["through_z"], 0.5))
        name = "the root's factor 1/2 is forgotten in u"
        yield of_dx(name, f"{straight} + 4x·(γᵀu)", through_z=times(STEPS["through_z"], 2))
    name = "only the channel itself is followed through z"
    own = {"through_z": lambda s: s.slope * numpy.diag(s.gamma)[:, None] * s.u}
    yield of_dx(name, f"{straight} + {slope}·γ_ii·u", **own)
    ends = {"dbeta": "Σ u", "dgamma": "Σ u⊗a"}
    name = "it is transposed: row i belongs to the channel that is divided"
    turned = {"dgamma": lambda s: STEPS["dgamma"](s).T}
    yield Mistake(name, "dgamma", "Σ a⊗u", ends["dgamma"], turned)
    for line, end in ends.items():
        yield Mistake("the sign is wrong", line, f"-{end}", end, {line: times(STEPS[line], -1)})
