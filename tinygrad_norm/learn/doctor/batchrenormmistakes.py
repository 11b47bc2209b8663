"""Batch Renorm: its derivation, fitted to a forward, and its mistakes. Lines as in batchrenorm.py."""

from collections.abc import Iterator

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

EPS, RMAX, DMAX = 1e-5, 3.0, 5.0
_ROLES = ("x", "running_mean", "running_var", "weight", "bias")


def fit_batch_renorm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of Batch Renorm of x (N, C, ...) in training, with the default eps and limits."""
    names = [roles.get(role, "") for role in _ROLES]
    if len(arguments) != len(names) or not all(names):
        return
    x, *vectors = (arguments[name] for name in names)
    C = x.shape[1] if x.ndim > 1 else 0
    if x.shape != y.shape or not x.size or any(a.size != C for a in vectors):
        return
    axes = (0, *range(2, x.ndim))
    M, V, w, b = (a.reshape(-1, *(1,) * (x.ndim - 2)) for a in vectors)
    m, v = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    running_rstd = (V + EPS) ** -0.5
    r = numpy.clip((v + EPS) ** 0.5 * running_rstd, 1 / RMAX, RMAX)
    d = numpy.clip((m - M) * running_rstd, -DMAX, DMAX)
    rstd = (v + EPS) ** -0.5
    x_hat = (x - m) * rstd
    if not fits_output(w * (x_hat * r + d) + b, y):
        return
    given = {"x_hat": x_hat, "rstd": rstd, "r": r, "d": d, "w": w, "b": b, "axes": axes, "n": x.size // C}
    given |= {"running_rstd": running_rstd, "shape": arguments[names[3]].shape}
    gradients = {names[0]: "dx", names[3]: "dw", names[4]: "db"}
    yield Derivation("batch_renorm", given, STEPS, gradients, tuple(_mistakes()))


STEPS: Steps = {
    "g": lambda s: s.w * s.r * s.dy,
    "mean_g": lambda s: s.g.mean(s.axes, keepdims=True),
    "mean_gx": lambda s: (s.g * s.x_hat).mean(s.axes, keepdims=True),
    "straight": lambda s: s.rstd * s.g,
    "through_m": lambda s: -s.rstd * s.mean_g,
    "through_r": lambda s: -s.rstd * s.x_hat * s.mean_gx,
    "dx": lambda s: s.straight + s.through_m + s.through_r,
    "dw": lambda s: (s.dy * (s.x_hat * s.r + s.d)).sum(s.axes).reshape(s.shape),
    "db": lambda s: s.dy.sum(s.axes).reshape(s.shape),
}
_DX = "1/√(v + eps)·(g - mean(g) - x̂·mean(g·x̂))"
_PATHS = {
    "straight": ("the straight path", "straight", "g/√(v + eps)"),
    "through_m": ("the path through the mean", "through m", "-mean(g)/√(v + eps)"),
    "through_r": ("the path through the variance", "through v", "-x̂·mean(g·x̂)/√(v + eps)"),
}


def _mistakes() -> Iterator[Mistake]:
    def g(name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, "g", wrong, "w·r·dy", {"g": step})

    yield g("r is forgotten in g", "w·dy", lambda s: s.w * s.dy)
    yield g("the weight is forgotten in g", "r·dy", lambda s: s.r * s.dy)
    yield g("weight and r are forgotten in g", "dy", lambda s: s.dy)
    yield g("r is a divisor instead of a factor", "w·dy/r", lambda s: s.w * s.dy / s.r)
    yield g("d is a part of g: it is added, and its derivative is 0", "w·(r + d)·dy", _with_d)
    for step, (name, line, right) in _PATHS.items():
        yield Mistake(f"{name} is dropped", line, "0", right, {step: lambda s: 0 * s.x_hat})
        yield Mistake(f"the sign of {name} is wrong", line, right[1:], right, {step: times(STEPS[step], -1)})
    for step, name, wrong, right in (
        ("mean_g", "a sum stands where the mean of g belongs", "Σ g", "mean(g)"),
        ("mean_gx", "a sum stands where the mean of g·x̂ belongs", "Σ g·x̂", "mean(g·x̂)"),
    ):
        yield Mistake(name, "dx", wrong, right, {step: _sum(step)})
    yield Mistake("the sign is wrong", "dx", f"-{_DX}", _DX, {"dx": times(STEPS["dx"], -1)})
    name = "1/√(v + eps) is forgotten"
    yield Mistake(
        name, "dx", "g - mean(g) - x̂·mean(g·x̂)", _DX, {"dx": times(STEPS["dx"], lambda s: 1 / s.rstd)}
    )
    name = "it is the gradient of evaluation: in training x̂ depends on the batch"
    yield Mistake(name, "dx", "w·dy/s", _DX, {"dx": lambda s: s.w * s.dy * s.running_rstd})
    for name, wrong, factor in (
        ("d is forgotten in dw: w multiplies it too", "Σ dy·x̂·r", lambda s: s.x_hat * s.r),
        ("r is forgotten in dw", "Σ dy·(x̂ + d)", lambda s: s.x_hat + s.d),
        ("r and d are forgotten in dw", "Σ dy·x̂", lambda s: s.x_hat),
        ("dw lacks x̂", "Σ dy", lambda s: 1),
        ("dw has the gradient of the output without d, divided by r", "Σ dy·x̂/r", lambda s: s.x_hat / s.r),
        ("dw has w as a factor", "w·Σ dy·(x̂·r + d)", lambda s: s.w * (s.x_hat * s.r + s.d)),
    ):
        yield Mistake(name, "dw", wrong, "Σ dy·(x̂·r + d)", {"dw": _dw(factor)})
    yield Mistake("db has w as a factor", "db", "w·Σ dy", "Σ dy", {"db": _db(lambda s: s.w)})
    yield Mistake("db has r as a factor", "db", "r·Σ dy", "Σ dy", {"db": _db(lambda s: s.r)})
    yield Mistake("db is a mean: it is a sum", "db", "mean(dy)", "Σ dy", {"db": _db(lambda s: 1 / s.n)})


def _with_d(s: object) -> numpy.ndarray:
    return s.w * (s.r + s.d) * s.dy  # type: ignore[attr-defined]


def _sum(step: str) -> Step:
    return times(STEPS[step], lambda s: s.n)


def _dw(factor: Step) -> Step:
    return lambda s: (s.dy * factor(s)).sum(s.axes).reshape(s.shape)


def _db(factor: Step) -> Step:
    return lambda s: (s.dy * factor(s)).sum(s.axes).reshape(s.shape)
