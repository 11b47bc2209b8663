"""Weight normalization: its derivation, fitted to a forward, and its mistakes. Lines as in weightnorm.py."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times


def fit_weight_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = g·v/‖v‖, with one norm over the axes that give `y`."""
    if len(arguments) != 2:
        return
    for (v_name, v), (g_name, g) in itertools.permutations(arguments.items()):
        if (
            v.shape != y.shape
            or v.ndim < 1
            or v.dtype.kind != "f"
            or g.dtype.kind != "f"
            or g.size == v.size > 1
        ):
            continue
        for count in range(1, v.ndim + 1):
            for axes in itertools.combinations(range(v.ndim), count):
                n = (v * v).sum(axes, keepdims=True) ** 0.5
                view = n.shape if g.size == n.size else None
                if view is None or not fits_output(g.reshape(view) * v / n, y):
                    continue
                given = {"v": v, "g": g.reshape(view), "shape": g.shape, "axes": axes, "n": n, "y": y}
                mistakes = tuple(_of_weight_norm(axes, v.shape))
                notes: tuple[str, ...] = ()
                if numpy.ptp(g) == 0 and abs(g).max() == 1:
                    notes = (f"{g_name} is 1 everywhere: it would not show if it were forgotten",)
                yield Derivation(
                    "weight_norm",
                    given,
                    WEIGHT_NORM,
                    {v_name: "dv", g_name: "dg"},
                    mistakes,
                    notes,
                )


WEIGHT_NORM: Steps = {
    "u": lambda s: s.v / s.n,
    "length": lambda s: s.g,
    "inner": lambda s: (s.dy * s.u).sum(s.axes, keepdims=True),
    "straight": lambda s: s.length * s.dy / s.n,
    "through_n": lambda s: -s.length * s.inner * s.u / s.n,
    "dv": lambda s: s.straight + s.through_n,
    "dg": lambda s: (s.dy * s.u).sum(s.axes, keepdims=True).reshape(s.shape),
}


def _of_weight_norm(axes: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[Mistake]:
    right, norm = "(g/n)·(dw - dg·u)", "-g·dg·u/n"

    def whole(name: str, wrong: str, **steps: Any) -> Mistake:
        return Mistake(name, "dv", wrong, right, steps)

    def path(name: str, wrong: str, step: Any) -> Mistake:
        return Mistake(name, "through n", wrong, norm, {"through_n": step})

    yield path("the path through the norm ‖v‖ is dropped", "0", lambda s: 0 * s.v)
    yield whole("g is forgotten", "(dw - dg·u)/n", length=lambda s: 1.0 + 0 * s.g)
    yield whole("g is applied twice", "(g²/n)·(dw - dg·u)", length=lambda s: s.g * s.g)
    yield path("g is forgotten in the path through the norm", "-dg·u/n", lambda s: -s.inner * s.u / s.n)
    yield path(
        "g is applied twice in the path through the norm: does w = g·u stand where u belongs?",
        "-g²·dg·u/n",
        lambda s: -s.g * s.g * s.inner * s.u / s.n,
    )
    yield Mistake(
        "g is forgotten in the straight path",
        "straight",
        "dw/n",
        "g·dw/n",
        {"straight": lambda s: s.dy / s.n},
    )
    yield path(
        "the sign of the path through the norm is wrong",
        "+g·dg·u/n",
        lambda s: s.length * s.inner * s.u / s.n,
    )
    yield Mistake(
        "the sign of the straight path is wrong",
        "straight",
        "-g·dw/n",
        "g·dw/n",
        {"straight": lambda s: -s.length * s.dy / s.n},
    )
    yield whole("the sign is wrong", "(g/n)·(dg·u - dw)", dv=lambda s: -WEIGHT_NORM["dv"](s))
    yield whole("the division by ‖v‖ is forgotten", "g·(dw - dg·u)", dv=lambda s: s.n * WEIGHT_NORM["dv"](s))
    yield whole("it is divided by ‖v‖ twice", "(g/n²)·(dw - dg·u)", dv=lambda s: WEIGHT_NORM["dv"](s) / s.n)
    for power, wrong in (
        (1, "n² stands where n³ belongs"),
        (2, "n stands where n³ belongs"),
        (-1, "n⁴ stands where n³ belongs"),
    ):
        yield Mistake(
            f"{wrong} in the path through the norm",
            "through n",
            f"-g·v·Σ(dw·v)/{wrong.split()[0]}",
            "-g·v·Σ(dw·v)/n³",
            {"through_n": times(WEIGHT_NORM["through_n"], _power(power))},
        )
    yield path("u is missing", "-g·dg/n", lambda s: -s.length * s.inner / s.n + 0 * s.v)
    yield Mistake(
        "dg has v where u = v/‖v‖ belongs",
        "dg",
        "Σ dw·v",
        "Σ dw·u",
        {"dg": lambda s: (s.dy * s.v).sum(s.axes, keepdims=True).reshape(s.shape)},
    )
    yield Mistake(
        "dg lacks u",
        "dg",
        "Σ dw",
        "Σ dw·u",
        {"dg": lambda s: s.dy.sum(s.axes, keepdims=True).reshape(s.shape)},
    )
    yield Mistake(
        "dg has w where u belongs: g is a factor of it",
        "dg",
        "Σ dw·w",
        "Σ dw·u",
        {"dg": lambda s: (s.dy * s.y).sum(s.axes, keepdims=True).reshape(s.shape)},
    )
    yield Mistake(
        "the sign of dg is wrong", "dg", "-Σ dw·u", "Σ dw·u", {"dg": lambda s: -WEIGHT_NORM["dg"](s)}
    )
    yield Mistake(
        "dg is a mean: it is a sum",
        "dg",
        "mean(dw·u)",
        "Σ dw·u",
        {"dg": lambda s: WEIGHT_NORM["dg"](s) * s.n.size / s.v.size},
    )
    for count in range(1, len(shape) + 1):
        for other in itertools.combinations(range(len(shape)), count):
            if other != axes:
                name = f"the sum of dw·u is taken over axes {other}, but ‖v‖ over axes {axes}"
                yield path(
                    name,
                    f"-g·u·Σ(dw·u)/n over axes {other}",
                    _through_sum_over(other),
                )


def _power(p: int) -> Step:
    return lambda s: s.n**p


def _through_sum_over(axes: tuple[int, ...]) -> Step:
    return lambda s: -s.length * (s.dy * s.u).sum(axes, keepdims=True) * s.u / s.n
