"""Gated RMS normalization: its derivation in both orders, fitted to a forward, and its mistakes.

The lines are those of gatedrmsnorm.py; `first` says whether the norm comes before the gate.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, Values, fits_output, times

STEPS: Steps = {
    "first": lambda s: s.norm_first,
    "u": lambda s: s.x if s.first else s.x * s.silu,
    "r": lambda s: (_mean(s, s.u * s.u) + s.eps) ** -0.5,
    "u_hat": lambda s: s.u * s.r,
    "gate_of_g": lambda s: s.silu if s.first else 1.0,
    "gate_of_dx": lambda s: 1.0 if s.first else s.silu,
    "gate_of_dw": lambda s: s.silu if s.first else 1.0,
    "g": lambda s: s.w * s.dy * s.gate_of_g,
    "straight": lambda s: s.r * s.g,
    "through_r": lambda s: -s.r * s.u_hat * _mean(s, s.g * s.u_hat),
    "du": lambda s: s.straight + s.through_r,
    "dx": lambda s: s.du * s.gate_of_dx,
    "ds": lambda s: s.w * s.dy * s.u_hat if s.first else s.du * s.x,
    "slope": lambda s: s.sigma * (1 + s.z * (1 - s.sigma)),
    "dz": lambda s: s.ds * s.slope,
    "dw": lambda s: (s.dy * s.u_hat * s.gate_of_dw).reshape(-1, s.dy.shape[-1]).sum(0),
}


def fit_gated_rms_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of w·û·silu(z), or of w·û with u = x·silu(z); x and z (..., D), w (D,) or none."""
    arrays = [name for name, a in arguments.items() if a.shape == y.shape]
    vectors = [name for name, a in arguments.items() if a.shape == y.shape[-1:] and name not in arrays]
    fit = len(arrays) == 2 and len(vectors) < 2 and len(arrays) + len(vectors) == len(arguments)
    if not fit or not y.size or not y.ndim or any(a.dtype.kind != "f" for a in arguments.values()):
        return
    D = y.shape[-1]
    sizes = [size for size in range(D, 1, -1) if D % size == 0] or [1]
    w = arguments[vectors[0]] if vectors else 1.0
    orders = itertools.product((arrays, arrays[::-1]), (True, False), sizes, (1e-6, 1e-5, 0.0, 1e-8))
    for names, norm_first, size, eps in orders:
        x, z = (arguments[name] for name in names)
        sigma = 1 / (1 + numpy.exp(-z))
        given = {"x": x, "z": z, "w": w, "eps": eps, "size": size, "norm_first": norm_first}
        given |= {"sigma": sigma, "silu": z * sigma}
        ends = dict(zip((*names, *vectors), ("dx", "dz", "dw"), strict=False))
        found = Derivation("gated_rms_norm", given, STEPS, ends, tuple(_mistakes(norm_first, size < D)))
        if fits_output(_forward(found, y), y):
            yield found
            return


def _forward(found: Derivation, y: numpy.ndarray) -> numpy.ndarray:
    s = Values(found.steps, found.given | {"dy": y})
    result: numpy.ndarray = s.w * s.u_hat * (s.silu if s.first else 1.0)
    return result


def _mean(s: Any, a: Any) -> Any:
    """Return the mean over each group of the last axis, at every entry of the group."""
    groups = a.reshape(-1, s.size)
    return (groups.mean(1, keepdims=True) + 0 * groups).reshape(a.shape)


def _mistakes(norm_first: bool, groups: bool) -> Iterator[Mistake]:
    slope = "σ(z)·(1 + z·(1 - σ(z)))"
    right = "r·(g - û·mean(g·û))" if norm_first else "silu(z)·r·(g - û·mean(g·û))"

    def of_slope(name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, "dz", f"ds·{wrong}", f"ds·{slope}", {"slope": step})

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    name = "silu is z·σ(z), and only its factor z is derived"
    yield of_slope(name, "σ(z)", lambda s: s.sigma)
    name = "silu is z·σ(z), and only its factor σ(z) is derived"
    yield of_slope(name, "z·σ(z)·(1 - σ(z))", lambda s: s.silu * (1 - s.sigma))
    name = "it has the slope of σ, where that of silu belongs"
    yield of_slope(name, "σ(z)·(1 - σ(z))", lambda s: s.sigma * (1 - s.sigma))
    yield of_slope("silu stands where its slope belongs", "silu(z)", lambda s: s.silu)
    yield of_slope("the slope of silu is forgotten", "1", lambda s: 1.0)
    name = "1 - σ(z) is forgotten in the slope of silu"
    yield of_slope(name, "σ(z)·(1 + z)", lambda s: s.sigma * (1 + s.z))
    name = "silu(z) stands where σ(z) belongs in 1 - σ(z)"
    yield of_slope(name, "σ(z)·(1 + z·(1 - silu(z)))", lambda s: s.sigma * (1 + s.z * (1 - s.silu)))
    other = "gate, then norm" if norm_first else "norm, then gate"
    name = f"it is the gradient of the other order: {other}"
    yield of_dx(name, f"that of {other}", first=lambda s: not norm_first)
    if norm_first:
        name = "the gate is forgotten in g: silu(z) multiplies what is normalized"
        yield of_dx(name, "g = w·dy", gate_of_g=lambda s: 1.0)
        name, wrong = "the gate is forgotten in the weight's gradient", "Σ dy·û"
        yield Mistake(name, "dw", wrong, "Σ dy·û·silu(z)", {"gate_of_dw": lambda s: 1.0})
        name = "the weight is forgotten in ds"
        yield Mistake(name, "ds", "dy·û", "w·dy·û", {"ds": lambda s: s.dy * s.u_hat})
        name = "x stands where û belongs in ds"
        yield Mistake(name, "ds", "w·dy·x", "w·dy·û", {"ds": lambda s: s.w * s.dy * s.x})
    else:
        name = "the gate is forgotten at the end: u = x·silu(z)"
        yield of_dx(name, "r·(g - û·mean(g·û))", gate_of_dx=lambda s: 1.0)
        name = "the gate does not go through the norm: ds is made of du"
        yield Mistake(name, "ds", "w·dy·x", "du·x", {"ds": lambda s: s.w * s.dy * s.x})
    yield of_dx("the weight is forgotten in g", "g without w", g=lambda s: s.dy * s.gate_of_g)
    yield of_dx("the path through r is dropped", "r·g", through_r=lambda s: 0 * s.dy)
    name = "the sign of the path through r is wrong"
    yield of_dx(name, "r·(g + û·mean(g·û))", through_r=times(STEPS["through_r"], -1))
    if groups:
        name = "the mean is over the whole row instead of the group"
        whole = lambda s: -s.r * s.u_hat * (s.g * s.u_hat).mean(-1, keepdims=True)  # noqa: E731
        yield of_dx(name, f"{right} over the row", through_r=whole)
    yield Mistake("the sign is wrong", "dz", f"-ds·{slope}", f"ds·{slope}", {"dz": times(STEPS["dz"], -1)})
    yield Mistake("the sign is wrong", "dw", "minus Σ dy·û", "Σ dy·û", {"dw": times(STEPS["dw"], -1)})
