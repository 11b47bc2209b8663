"""SeeDNorm: its derivation, fitted to a forward, and its mistakes. The lines are those of seednorm.py."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "g": lambda s: (s.t * s.alpha + s.w) * s.dy,
    "along": lambda s: _sum(s, s.dy * s.alpha * s.x_hat),
    "slope": lambda s: 1 - s.t**2,
    "q": lambda s: s.slope * s.along,
    "straight": lambda s: s.r * s.g,
    "through_r": lambda s: -s.r * s.x_hat * _sum(s, s.g * s.x_hat) / s.size,
    "through_t": lambda s: s.beta * s.q,
    "dx": lambda s: s.straight + s.through_r + s.through_t,
    "dalpha": lambda s: _over_rows(s, s.t * s.dy * s.x_hat),
    "dbeta": lambda s: _over_rows(s, s.q * s.x),
    "dw": lambda s: _over_rows(s, s.dy * s.x_hat),
}
_ROLES = ("alpha", "beta", "w")


def fit_seed_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = (tanh(Σ x·β)·α + w)·x̂; x (..., *shape), α, β and w of that shape."""
    arrays = [name for name, a in arguments.items() if a.shape == y.shape]
    vectors = [name for name in arguments if name not in arrays]
    if len(arrays) != 1 or not 2 <= len(vectors) <= 3 or not y.size:
        return
    shape = arguments[vectors[0]].shape
    fit = 0 < len(shape) < y.ndim and shape == y.shape[-len(shape) :]
    if not fit or any(a.dtype.kind != "f" for a in arguments.values()):
        return
    if any(arguments[name].shape != shape for name in vectors):
        return
    x, axes = arguments[arrays[0]], tuple(range(-len(shape), 0))
    squares = (x * x).mean(axes, keepdims=True)
    for named in itertools.permutations(_ROLES, len(vectors)):
        if "alpha" not in named or "beta" not in named:
            continue
        names = dict(zip(named, vectors, strict=True))
        alpha, beta, w = (arguments[names[role]] if role in names else 1.0 for role in _ROLES)
        t = numpy.tanh((x * beta).sum(axes, keepdims=True))
        for eps in (1e-6, 1e-5, 0.0, 1e-8):
            r = (squares + eps) ** -0.5
            if fits_output((t * alpha + w) * x * r, y):
                given = {"x": x, "x_hat": x * r, "r": r, "t": t, "alpha": alpha, "beta": beta, "w": w}
                given |= {"axes": axes, "size": numpy.size(alpha)}
                ends = {arrays[0]: "dx"} | {name: f"d{role}" for role, name in names.items()}
                yield Derivation("seed_norm", given, STEPS, ends, tuple(_mistakes()))
                return


def _sum(s: Any, a: Any) -> Any:
    return a.sum(s.axes, keepdims=True)


def _over_rows(s: Any, a: Any) -> Any:
    return a.sum(tuple(range(a.ndim - len(s.axes))))


def _mistakes() -> Iterator[Mistake]:
    q = "(1 - t²)·Σ dy·α·x̂"
    right = "r·(g - x̂·mean(g·x̂)) + β·q"

    def of_q(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "q", wrong, q, steps)

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    name = "the path through t is dropped: the scale depends on x, too"
    yield of_dx(name, "r·(g - x̂·mean(g·x̂))", through_t=lambda s: 0 * s.dy)
    yield of_q("the slope 1 - t² of tanh is forgotten", "Σ dy·α·x̂", slope=lambda s: 1.0)
    name = "the slope of tanh is 1 - t², not 1 - t"
    yield of_q(name, "(1 - t)·Σ dy·α·x̂", slope=lambda s: 1 - s.t)
    name = "t stands where the slope 1 - t² of tanh belongs"
    yield of_q(name, "t·Σ dy·α·x̂", slope=lambda s: s.t)
    name = "α is forgotten: t reaches y as t·α·x̂"
    yield of_q(name, "(1 - t²)·Σ dy·x̂", along=lambda s: _sum(s, s.dy * s.x_hat))
    name = "the whole scale t·α + w stands where α belongs: only t·α depends on t"
    yield of_q(name, "(1 - t²)·Σ g·x̂", along=lambda s: _sum(s, s.g * s.x_hat))
    name = "x stands where x̂ belongs"
    yield of_q(name, "(1 - t²)·Σ dy·α·x", along=lambda s: _sum(s, s.dy * s.alpha * s.x))
    name = "a mean stands where the sum belongs: t is one number, and every entry of the row has it"
    yield of_q(name, "(1 - t²)·mean(dy·α·x̂)", along=times(STEPS["along"], lambda s: 1 / s.size))
    name = "the row is not summed: t is one number, and every entry of the row has it"
    yield of_q(name, "(1 - t²)·dy·α·x̂", along=lambda s: s.dy * s.alpha * s.x_hat)
    name = "β is forgotten where the gradient goes through t"
    yield of_dx(name, f"{right.replace('β·q', 'q')}", through_t=lambda s: s.q + 0 * s.dy)
    name = "r is a factor of the path through t: t sees x, not x̂"
    yield of_dx(name, f"{right}·r", through_t=lambda s: s.r * s.beta * s.q)
    name = "the sign of the path through t is wrong"
    yield of_dx(name, right.replace("+", "-"), through_t=times(STEPS["through_t"], -1))
    name = "the scale is w only: t·α is forgotten in g"
    yield of_dx(name, "g = w·dy", g=lambda s: s.w * s.dy)
    yield of_dx("the path through r is dropped", "r·g + β·q", through_r=lambda s: 0 * s.dy)
    name = "the sign of the path through r is wrong"
    yield of_dx(name, "r·(g + x̂·mean(g·x̂)) + β·q", through_r=times(STEPS["through_r"], -1))
    ends = {"dalpha": "Σ t·dy·x̂", "dbeta": "Σ q·x", "dw": "Σ dy·x̂"}
    name, wrong = "t is forgotten", "Σ dy·x̂"
    yield Mistake(name, "dalpha", wrong, ends["dalpha"], {"dalpha": lambda s: STEPS["dw"](s)})
    name, wrong = "x̂ stands where x belongs: t sees x", "Σ q·x̂"
    over = {"dbeta": lambda s: _over_rows(s, s.q * s.x_hat)}
    yield Mistake(name, "dbeta", wrong, ends["dbeta"], over)
    for line, end in ends.items():
        yield Mistake("the sign is wrong", line, f"-{end}", end, {line: times(STEPS[line], -1)})
