"""What is often wrong in the backward of a normalization over a pool, as changes of the derivation's steps.

The lines are those of layernorm.py. Its x̂ and its r are what forward made; a mistake in backward's own r does
not change x̂, unless it says so.
"""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy

from ...gradient_check.mistakes.normalization import Pool, pools
from ...ops.broadcast import unbroadcast
from .catalogue import Mistake, Steps

LINES = {
    "g": "w·dy",
    "straight": "r·g",
    "through m": "-r·mean(g)",
    "through r": "-r·x̂·mean(g·x̂)",
    "dx": "r·(g - mean(g) - x̂·mean(g·x̂))",
    "dw": "Σ dy·x̂",
    "db": "Σ dy",
}
"""The lines of the derivation, as in layernorm.py."""

STEPS: Steps = {
    "used": lambda s: s.pool,  # the pool of the means in backward
    "g": lambda s: s.w * s.dy,
    "m": lambda s: s.pool.totals(s.x) / s.n if s.centered else 0 * s.x,
    "c": lambda s: s.x - s.m,
    "v": lambda s: s.pool.totals(s.c * s.c) / s.count,
    "r_of_y": lambda s: 1 / (s.v**0.5 + s.eps) if s.outside else (s.v + s.eps) ** -0.5,
    "r": lambda s: s.r_of_y,
    "x_hat": lambda s: s.c * s.r_of_y,
    "y": lambda s: s.w * s.x_hat + s.b,
    "slope": lambda s: -(s.r**2) / s.v**0.5 if s.outside else -(s.r**3),  # 2·∂r/∂v
    "mean_g": lambda s: s.used.totals(s.g) / s.used.size,
    "mean_gx": lambda s: s.used.totals(s.g * s.x_hat) / s.used.size,
    "straight": lambda s: s.r * s.g,
    "through_m": lambda s: -s.r * s.mean_g if s.centered else 0 * s.x,
    "through_r": lambda s: s.slope / s.r**2 * s.x_hat * s.mean_gx * (s.n / s.count),
    "dx": lambda s: s.straight + s.through_m + s.through_r,
    "dw": lambda s: unbroadcast(s.dy * s.x_hat, s.w_view).reshape(s.w_shape),
    "db": lambda s: unbroadcast(s.dy, s.b_view).reshape(s.b_shape),
}
EVALUATION: Steps = {
    "m": lambda s: s.running_mean,
    "v": lambda s: s.running_var,
    "through_m": lambda s: 0 * s.x,
    "through_r": lambda s: 0 * s.x,
}


def of_evaluation() -> Iterator[Mistake]:
    training = {key: STEPS[key] for key in ("through_m", "through_r")}
    name = "training's backward in evaluation: running statistics are constants, only the straight path is left"
    yield Mistake(name, "dx", LINES["dx"], "r·g", training)
    batch = {key: STEPS[key] for key in ("m", "v")}
    name = "training's backward in evaluation, with the statistics of the batch instead of the running ones"
    yield Mistake(name, "dx", LINES["dx"], "r·g", training | batch)
    name = "the statistics of the batch in evaluation, where the running ones belong"
    yield Mistake(name, "r", "1/√(mean((x - m)²) + eps)", "1/√(running_var + eps)", batch)


def of_dx(given: dict[str, Any]) -> Iterator[Mistake]:
    """Yield what may be wrong in dx, the simplest first."""
    n, centered = given["n"], given["centered"]

    def mistake(name: str, line: str, wrong: str, **steps: Any) -> Mistake:
        if not centered:
            name, wrong = _without_mean(name), _without_mean(wrong)
        return Mistake(name, line, wrong, LINES[line] if centered else _without_mean(LINES[line]), steps)

    def times(step: str, factor: Any) -> Any:
        return lambda s: STEPS[step](s) * (factor(s) if callable(factor) else factor)

    nothing = lambda s: 0 * s.x  # noqa: E731
    if centered:
        yield mistake("the path through the mean is dropped", "through m", "0", through_m=nothing)
        yield mistake("the path through the variance is dropped", "through r", "0", through_r=nothing)
        name = (
            "the paths through the mean and the variance are dropped, as if m and r were constants (as they "
            "are in evaluation)"
        )
        yield mistake(name, "dx", "r·g", through_m=nothing, through_r=nothing)
    else:
        yield mistake("the path through the root mean square is dropped", "through r", "0", through_r=nothing)
        stray = lambda s: -s.r * s.mean_g  # noqa: E731
        name = "there is a path through a mean, which forward does not subtract"
        yield Mistake(name, "dx", LINES["dx"], "r·(g - x̂·mean(g·x̂))", {"through_m": stray})
    yield mistake("the sign is wrong", "dx", "-r·(g - mean(g) - x̂·mean(g·x̂))", dx=times("dx", -1))
    yield mistake("the sign of the straight path is wrong", "straight", "-r·g", straight=times("straight", -1))
    yield mistake("the sign of the path through the mean is wrong", "through m", "+r·mean(g)",
                  through_m=times("through_m", -1))  # fmt: skip
    yield mistake("the sign of the path through the variance is wrong", "through r", "+r·x̂·mean(g·x̂)",
                  through_r=times("through_r", -1))  # fmt: skip
    yield mistake("Σ g stands where mean(g) belongs", "through m", "-r·Σ g", mean_g=times("mean_g", n))
    yield mistake("Σ g·x̂ stands where mean(g·x̂) belongs", "through r", "-r·x̂·Σ g·x̂",
                  mean_gx=times("mean_gx", n))  # fmt: skip
    yield mistake("sums stand where means belong, of g and of g·x̂", "dx", "r·(g - Σ g - x̂·Σ g·x̂)",
                  mean_g=times("mean_g", n), mean_gx=times("mean_gx", n))  # fmt: skip
    if n > 2:
        less = n / (n - 1)
        yield mistake("n - 1 stands where n belongs, in the mean of g", "through m", "-r·Σ g/(n - 1)",
                      mean_g=times("mean_g", less))  # fmt: skip
        yield mistake("n - 1 stands where n belongs, in the mean of g·x̂", "through r",
                      "-r·x̂·Σ g·x̂/(n - 1)", mean_gx=times("mean_gx", less))  # fmt: skip
        yield mistake("n - 1 stands where n belongs, in both means", "dx",
                      "r·(g - Σ g/(n - 1) - x̂·Σ g·x̂/(n - 1))", mean_g=times("mean_g", less),
                      mean_gx=times("mean_gx", less))  # fmt: skip
        if given["count"] == n - 1:
            name = "n stands where n - 1 belongs: forward divides the variance by n - 1"
            yield Mistake(name, "through r", "-r·x̂·Σ g·x̂/n", "-r·x̂·Σ g·x̂/(n - 1)",
                          {"through_r": times("through_r", (n - 1) / n)})  # fmt: skip
    yield from _of_weight(given, mistake)
    yield from _of_powers(mistake, times)
    yield from _of_eps(given)
    yield from _of_factors(mistake)
    yield from _of_pools(given)


def _without_mean(text: str) -> str:
    """Return a formula or a name for a normalization that subtracts no mean."""
    text = re.sub(r" - (mean\(\w+\)|Σ g/\(n - 1\)|Σ g)(?= )", "", text)
    return text.replace("(x - m)", "x").replace("path through the variance", "path through the mean square")


def _of_weight(given: dict[str, Any], mistake: Any) -> Iterator[Mistake]:
    if "w_view" not in given:
        return
    plain = lambda s: s.dy + 0 * s.x  # noqa: E731
    yield mistake("the weight is forgotten", "g", "dy", g=plain)
    yield mistake("the weight is applied twice", "g", "w²·dy", g=lambda s: s.w * s.w * s.dy)
    name = "the weight is applied at the end instead of inside the means: it belongs to g"
    yield mistake(name, "dx", "w·r·(dy - mean(dy) - x̂·mean(dy·x̂))", g=plain,
                  dx=lambda s: s.w * STEPS["dx"](s))  # fmt: skip
    yield mistake("the weight is also applied at the end", "dx", "w·r·(g - mean(g) - x̂·mean(g·x̂))",
                  dx=lambda s: s.w * STEPS["dx"](s))  # fmt: skip
    yield mistake("the weight is a divisor instead of a factor", "g", "dy/w", g=lambda s: s.dy / s.w)
    mean_dy = lambda s: s.used.totals(plain(s)) / s.used.size  # noqa: E731
    mean_dyx = lambda s: s.used.totals(s.dy * s.x_hat) / s.used.size  # noqa: E731
    yield mistake("the weight is forgotten in the mean of g", "through m", "-r·mean(dy)", mean_g=mean_dy)
    yield mistake("the weight is forgotten in the mean of g·x̂", "through r", "-r·x̂·mean(dy·x̂)",
                  mean_gx=mean_dyx)  # fmt: skip
    yield mistake("the weight is forgotten in both means", "dx", "r·(g - mean(dy) - x̂·mean(dy·x̂))",
                  mean_g=mean_dy, mean_gx=mean_dyx)  # fmt: skip
    yield mistake("the weight is forgotten in the straight path", "straight", "r·dy",
                  straight=lambda s: s.r * s.dy)  # fmt: skip


def _of_powers(mistake: Any, times: Any) -> Iterator[Mistake]:
    yield mistake("r is forgotten", "dx", "g - mean(g) - x̂·mean(g·x̂)", dx=times("dx", lambda s: 1 / s.r))
    yield mistake("r is applied twice", "dx", "r²·(g - mean(g) - x̂·mean(g·x̂))", dx=times("dx", lambda s: s.r))
    yield mistake("it is divided by r instead of multiplied", "dx", "(g - mean(g) - x̂·mean(g·x̂))/r",
                  dx=times("dx", lambda s: s.r**-2))  # fmt: skip
    right = "-r³·(x - m)·mean(g·(x - m))"
    for power, wrong in ((-2, "r"), (-1, "r²"), (1, "r⁴"), (2, "r⁵")):
        factor = lambda s, p=power: s.r**p  # noqa: E731
        meaning = {-2: ": x̂ has a factor r, and so has g·x̂", -1: "", 1: ": r·x̂·mean(g·x̂) has r three times", 2: ""}
        yield Mistake(f"{wrong} stands where r³ belongs, in the path through the variance{meaning[power]}",
                      "through r", right.replace("r³", wrong), right,
                      {"through_r": times("through_r", factor)})  # fmt: skip
    for label, step in (("through m", "through_m"), ("straight", "straight")):
        name = {"through m": "the path through the mean", "straight": "the straight path"}[label]
        formula = LINES[label]
        yield mistake(f"r is forgotten in {name}", label, formula.replace("r·", "", 1),
                      **{step: times(step, lambda s: 1 / s.r)})  # fmt: skip
        yield mistake(f"r² stands where r belongs in {name}", label, formula.replace("r·", "r²·", 1),
                      **{step: times(step, lambda s: s.r)})  # fmt: skip
    yield mistake("the path through the variance counts twice: ∂r/∂v is -r³/2, not -r³", "through r",
                  "-2·r·x̂·mean(g·x̂)", through_r=times("through_r", 2))  # fmt: skip
    yield mistake("the path through the variance counts half: ∂v/∂x is (2/n)·(x - m), not (x - m)/n",
                  "through r", "-r·x̂·mean(g·x̂)/2", through_r=times("through_r", 0.5))  # fmt: skip


def _of_eps(given: dict[str, Any]) -> Iterator[Mistake]:
    inside, outside = "1/√(v + eps)", "1/(√v + eps)"
    right = outside if given["outside"] else inside
    ways = (
        ("eps is forgotten in backward", "1/√v", lambda s: s.v**-0.5),
        ("backward adds eps outside the root, forward inside", outside, lambda s: 1 / (s.v**0.5 + s.eps)),
        ("backward adds eps inside the root, forward outside", inside, lambda s: (s.v + s.eps) ** -0.5),
        ("backward adds eps², forward eps", "1/√(v + eps²)", lambda s: (s.v + s.eps**2) ** -0.5),
        ("backward adds eps twice", "1/√(v + 2·eps)", lambda s: (s.v + 2 * s.eps) ** -0.5),
    )
    for name, wrong, r in ways:
        if wrong != right:
            yield Mistake(name, "r", wrong, right, {"r": r})
            yield Mistake(name, "r", wrong, right, {"r": r, "x_hat": lambda s: s.c * s.r})
    if given["outside"]:
        name = "∂r/∂v is that of an eps inside the root, but forward adds it outside"
        yield Mistake(name, "∂r/∂v", "-r³/2", "-r²/(2·√v)", {"slope": lambda s: -(s.r**3)})


def _of_factors(mistake: Any) -> Iterator[Mistake]:
    """Yield what may stand in the place of x̂ or g."""
    ways = (
        ("x", "x", lambda s: s.x),
        ("x - m", "(x - m)", lambda s: s.c),
        ("y", "y", lambda s: s.y),
        ("w·x̂", "w·x̂", lambda s: s.w * s.x_hat),
    )
    for what, symbol, value in ways:
        yield mistake(
            f"{what} stands where x̂ belongs, before the mean of g·x̂", "through r", f"-r·{symbol}·mean(g·x̂)",
            through_r=lambda s, f=value: s.slope / s.r**2 * f(s) * s.mean_gx * (s.n / s.count),
        )  # fmt: skip
        yield mistake(
            f"{what} stands where x̂ belongs, in the mean of g·x̂", "through r", f"-r·x̂·mean(g·{symbol})",
            mean_gx=lambda s, f=value: s.used.totals(s.g * f(s)) / s.used.size,
        )  # fmt: skip
        yield mistake(
            f"{what} stands where x̂ belongs, twice", "through r", f"-r·{symbol}·mean(g·{symbol})",
            through_r=lambda s, f=value: s.slope / s.r**2 * f(s) * s.used.totals(s.g * f(s)) / s.count,
        )  # fmt: skip
    yield mistake("x̂ is forgotten before the mean of g·x̂", "through r", "-r·mean(g·x̂)",
                  through_r=lambda s: s.slope / s.r**2 * s.mean_gx * (s.n / s.count))  # fmt: skip
    yield mistake("x̂ is forgotten in the mean of g·x̂", "through r", "-r·x̂·mean(g)",
                  mean_gx=lambda s: s.used.totals(s.g) / s.used.size)  # fmt: skip
    yield mistake("g is forgotten in the mean of g·x̂", "through r", "-r·x̂·mean(x̂)·…",
                  mean_gx=lambda s: s.used.totals(s.x_hat * s.x_hat) / s.used.size)  # fmt: skip


def _of_pools(given: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the means over every other pool: too many axes leak, too few leave out a share."""
    pool, shape = given["pool"], given["x"].shape
    others = [other for other in pools(shape, least=2) if other != pool]
    for other in others:
        name, kind = _wrong_pool(pool, other), f"mean over the pool {other}"
        right = f"mean over the pool {pool}"
        use = {"used": lambda s, o=other: o}
        yield Mistake(f"{name}: the means of backward are taken {other}", "mean", kind, right, use)
        if given["centered"]:
            yield Mistake(f"{name}: the mean of g is taken {other}", "through m", kind, right,
                          {"mean_g": lambda s, o=other: o.totals(s.g) / o.size})  # fmt: skip
            yield Mistake(f"{name}: the mean of g·x̂ is taken {other}", "through r", kind, right,
                          {"mean_gx": lambda s, o=other: o.totals(s.g * s.x_hat) / o.size})  # fmt: skip
        statistics = use | {
            "m": lambda s, o=other: o.totals(s.x) / o.size if s.centered else 0 * s.x,
            "v": lambda s, o=other: o.totals(s.c * s.c) / o.size,
        }
        yield Mistake(f"{name}: all statistics of backward are taken {other}", "m, v", kind, right, statistics)
        sums = {key: lambda s, o=other, k=key: o.totals(s.g * (s.x_hat if k == "mean_gx" else 1.0)) / s.n
                for key in ("mean_g", "mean_gx")}  # fmt: skip
        if other.size != pool.size:
            yield Mistake(f"{name}: the sums of backward are taken {other}, and divided by {given['n']}",
                          "mean", f"sum over the pool {other}, divided by {given['n']}", right, sums)  # fmt: skip


def _wrong_pool(pool: Pool, other: Pool) -> str:
    """Return what taking means over `other` does: which entries get mixed, or left out."""
    if other.groups == 1 and pool.groups == 1:
        more = sorted(set(other.axes) - set(pool.axes))
        if 0 in more:
            return "statistics leak across samples"
        if more:
            return "statistics leak across channels" if more[0] == 1 else f"statistics leak along axis {more[0]}"
        return "too few axes"
    original = {k - (k > 2) if pool.groups > 1 else k for k in pool.axes}
    if 0 in other.axes and 0 not in original:
        return "statistics leak across samples"
    if pool.groups > 1 and (other.groups == 1 and 1 in other.axes or other.groups < pool.groups):
        return "statistics leak across groups"
    return "wrong groups" if other.groups > 1 or pool.groups > 1 else "wrong axes"


def of_parameters(given: dict[str, Any]) -> Iterator[Mistake]:
    for line, what in (("dw", "w"), ("db", "b")):
        if f"{what}_view" not in given:
            continue
        shape, view = given[f"{what}_shape"], given[f"{what}_view"]
        count = given["x"].size // max(math.prod(shape), 1)

        def reduced(f: Any, v: Any = view, s: Any = shape) -> Any:
            return lambda values: unbroadcast(f(values) + 0 * values.x, v).reshape(s)

        full = {"dw": lambda s: s.dy * s.x_hat, "db": lambda s: s.dy}[line]
        right, gradient = LINES[line], {"dw": "the weight's gradient", "db": "the bias's gradient"}[line]
        ways = [
            (f"the sign of {gradient} is wrong", f"-{right}", lambda s, f=full: -f(s)),
            (f"{gradient} is a mean, but every use of it counts: it is a sum", right.replace("Σ", "mean of"),
             lambda s, f=full: f(s) / count),
            (f"the weight is a factor of {gradient}", right.replace("dy", "w·dy"),
             lambda s, f=full: s.w * f(s)),
        ]  # fmt: skip
        if line == "dw":
            ways += [
                ("the weight's gradient lacks x̂", "Σ dy", lambda s: s.dy),
                ("the weight's gradient has x where x̂ belongs", "Σ dy·x", lambda s: s.dy * s.x),
                ("the weight's gradient has x - m where x̂ belongs", "Σ dy·(x - m)", lambda s: s.dy * s.c),
                ("the weight's gradient has y where x̂ belongs", "Σ dy·y", lambda s: s.dy * s.y),
                ("the weight's gradient has dx's r once more", "Σ dy·x̂·r", lambda s: s.dy * s.x_hat * s.r),
            ]
        else:
            ways += [("the bias's gradient has a factor x̂: it is the weight's", "Σ dy·x̂",
                      lambda s: s.dy * s.x_hat)]  # fmt: skip
        for name, wrong, f in ways:
            yield Mistake(name, line, wrong, right, {line: reduced(f)})
        first = lambda s, f=full: _only_first(f(s) + 0 * s.x, view)  # noqa: E731
        yield Mistake(f"{gradient} is that of the first sample only: sum over all", line,
                      f"{right} of the first sample", right, {line: reduced(first)})  # fmt: skip
        for name, wrong, f in _sums_over_other_axes(full, view, shape, given["x"].shape):
            yield Mistake(f"{gradient} {name}", line, wrong, right, {line: f})


def _only_first(array: numpy.ndarray, view: tuple[int, ...]) -> numpy.ndarray:
    """Return an array with 0 at all but the first index of axis 0, if that is summed over."""
    kept = numpy.zeros_like(array)
    kept[:1] = array[:1]
    return kept


def _sums_over_other_axes(
    full: Any, view: tuple[int, ...], shape: tuple[int, ...], of_x: tuple[int, ...]
) -> Iterator[tuple[str, str, Any]]:
    """Yield sums over other axes of x that also have the parameter's shape."""
    padded = (1,) * (len(of_x) - len(view)) + tuple(view)
    summed = tuple(k for k, n in enumerate(padded) if n == 1 < of_x[k])
    for count in range(1, len(of_x) + 1):
        for axes in itertools.combinations(range(len(of_x)), count):
            left = [n for k, n in enumerate(of_x) if k not in axes]
            if axes != summed and [n for n in left if n > 1] == [n for n in shape if n > 1]:
                yield (
                    f"is summed over axes {axes} of x, not {summed}", f"Σ over axes {axes}",
                    lambda s, a=axes: (full(s) + 0 * s.x).sum(a).reshape(shape),
                )  # fmt: skip
