"""What is often wrong in dx of a normalization over a pool, as changes of the derivation's steps.

The lines are those of layernorm.py. Its x̂ and its r are what forward made; a mistake in backward's own r does
not change x̂, unless it says so.
"""

import re
from collections.abc import Iterator
from typing import Any

from .catalogue import Mistake, Step, times
from .poolsteps import LINES, STEPS
from .wrongpools import of_pools


def of_evaluation() -> Iterator[Mistake]:
    """Yield what may be wrong in evaluation."""
    training = {key: STEPS[key] for key in ("through_m", "through_r")}
    name = "training's backward in evaluation, where m and r are constants and only the straight path is left"
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
    yield mistake("the sign is wrong", "dx", "-r·(g - mean(g) - x̂·mean(g·x̂))", dx=times(STEPS["dx"], -1))
    yield mistake(
        "the sign of the straight path is wrong", "straight", "-r·g", straight=times(STEPS["straight"], -1)
    )
    yield mistake(
        "the sign of the path through the mean is wrong",
        "through m",
        "+r·mean(g)",
        through_m=times(STEPS["through_m"], -1),
    )
    yield mistake(
        "the sign of the path through the variance is wrong",
        "through r",
        "+r·x̂·mean(g·x̂)",
        through_r=times(STEPS["through_r"], -1),
    )
    yield mistake("Σ g stands where mean(g) belongs", "through m", "-r·Σ g", mean_g=times(STEPS["mean_g"], n))
    yield mistake(
        "Σ g·x̂ stands where mean(g·x̂) belongs", "through r", "-r·x̂·Σ g·x̂", mean_gx=times(STEPS["mean_gx"], n)
    )
    yield mistake(
        "sums stand where means belong, of g and of g·x̂",
        "dx",
        "r·(g - Σ g - x̂·Σ g·x̂)",
        mean_g=times(STEPS["mean_g"], n),
        mean_gx=times(STEPS["mean_gx"], n),
    )
    if n > 2:
        less = n / (n - 1)
        yield mistake(
            "n - 1 stands where n belongs, in the mean of g",
            "through m",
            "-r·Σ g/(n - 1)",
            mean_g=times(STEPS["mean_g"], less),
        )
        yield mistake(
            "n - 1 stands where n belongs, in the mean of g·x̂",
            "through r",
            "-r·x̂·Σ g·x̂/(n - 1)",
            mean_gx=times(STEPS["mean_gx"], less),
        )
        yield mistake(
            "n - 1 stands where n belongs, in both means",
            "dx",
            "r·(g - Σ g/(n - 1) - x̂·Σ g·x̂/(n - 1))",
            mean_g=times(STEPS["mean_g"], less),
            mean_gx=times(STEPS["mean_gx"], less),
        )
        if given["count"] == n - 1:
            name = "n stands where n - 1 belongs: forward divides the variance by n - 1"
            yield Mistake(
                name,
                "through r",
                "-r·x̂·Σ g·x̂/n",
                "-r·x̂·Σ g·x̂/(n - 1)",
                {"through_r": times(STEPS["through_r"], (n - 1) / n)},
            )
    yield from _of_weight(given, mistake)
    yield from _of_powers(mistake)
    yield from _of_eps(given)
    yield from _of_factors(mistake)
    yield from of_pools(given)


def _without_mean(text: str) -> str:
    """Return a formula or a name for a normalization that subtracts no mean."""
    text = re.sub(r" - (mean\(\w+\)|Σ g/\(n - 1\)|Σ g)(?= )", "", text)
    return text.replace("(x - m)", "x").replace("path through the variance", "path through the mean square")


def _of_weight(given: dict[str, Any], mistake: Any) -> Iterator[Mistake]:
    if "w_view" not in given:
        return
    plain: Step = lambda s: s.dy + 0 * s.x  # noqa: E731
    yield mistake("the weight is forgotten", "g", "dy", g=plain)
    if given["one"]:
        name = "the 1 is forgotten: forward multiplies by 1 + weight"
        yield Mistake(name, "g", "weight·dy", "(1 + weight)·dy", {"g": lambda s: (s.w - s.one) * s.dy})
    yield mistake("the weight is applied twice", "g", "w²·dy", g=lambda s: s.w * s.w * s.dy)
    name = "the weight is applied at the end instead of inside the means: it belongs to g"
    yield mistake(
        name, "dx", "w·r·(dy - mean(dy) - x̂·mean(dy·x̂))", g=plain, dx=lambda s: s.w * STEPS["dx"](s)
    )
    yield mistake(
        "the weight is also applied at the end",
        "dx",
        "w·r·(g - mean(g) - x̂·mean(g·x̂))",
        dx=lambda s: s.w * STEPS["dx"](s),
    )
    yield mistake("the weight is a divisor instead of a factor", "g", "dy/w", g=lambda s: s.dy / s.w)
    mean_dy = lambda s: s.used.totals(plain(s)) / s.used.size  # noqa: E731
    mean_dyx = lambda s: s.used.totals(s.dy * s.x_hat) / s.used.size  # noqa: E731
    yield mistake("the weight is forgotten in the mean of g", "through m", "-r·mean(dy)", mean_g=mean_dy)
    yield mistake(
        "the weight is forgotten in the mean of g·x̂", "through r", "-r·x̂·mean(dy·x̂)", mean_gx=mean_dyx
    )
    yield mistake(
        "the weight is forgotten in both means",
        "dx",
        "r·(g - mean(dy) - x̂·mean(dy·x̂))",
        mean_g=mean_dy,
        mean_gx=mean_dyx,
    )
    yield mistake(
        "the weight is forgotten in the straight path", "straight", "r·dy", straight=lambda s: s.r * s.dy
    )


def _of_powers(mistake: Any) -> Iterator[Mistake]:
    yield mistake(
        "r is forgotten", "dx", "g - mean(g) - x̂·mean(g·x̂)", dx=times(STEPS["dx"], lambda s: 1 / s.r)
    )
    yield mistake(
        "r is applied twice", "dx", "r²·(g - mean(g) - x̂·mean(g·x̂))", dx=times(STEPS["dx"], lambda s: s.r)
    )
    yield mistake(
        "r³ stands where r belongs",
        "dx",
        "r³·(g - mean(g) - x̂·mean(g·x̂))",
        dx=times(STEPS["dx"], _power(2)),
    )
    yield mistake(
        "it is divided by r instead of multiplied",
        "dx",
        "(g - mean(g) - x̂·mean(g·x̂))/r",
        dx=times(STEPS["dx"], lambda s: s.r**-2),
    )
    right = "-r³·(x - m)·mean(g·(x - m))"
    for power, wrong in ((-2, "r"), (-1, "r²"), (1, "r⁴"), (2, "r⁵")):
        meaning = {
            -2: ": x̂ has a factor r, and so has g·x̂",
            -1: "",
            1: ": r·x̂·mean(g·x̂) has r three times",
            2: "",
        }
        yield Mistake(
            f"{wrong} stands where r³ belongs, in the path through the variance{meaning[power]}",
            "through r",
            right.replace("r³", wrong),
            right,
            {"through_r": times(STEPS["through_r"], _power(power))},
        )
    for label, step in (("through m", "through_m"), ("straight", "straight")):
        name = {"through m": "the path through the mean", "straight": "the straight path"}[label]
        formula = LINES[label]
        yield mistake(
            f"r is forgotten in {name}",
            label,
            formula.replace("r·", "", 1),
            **{step: times(STEPS[step], lambda s: 1 / s.r)},
        )
        for wrong, power in (("r²", 1), ("r³", 2)):
            yield mistake(
                f"{wrong} stands where r belongs in {name}",
                label,
                formula.replace("r·", f"{wrong}·", 1),
                **{step: times(STEPS[step], _power(power))},
            )
    yield mistake(
        "the path through the variance counts twice: ∂r/∂v is -r³/2, not -r³",
        "through r",
        "-2·r·x̂·mean(g·x̂)",
        through_r=times(STEPS["through_r"], 2),
    )
    yield mistake(
        "the path through the variance counts half: ∂v/∂x is (2/n)·(x - m), not (x - m)/n",
        "through r",
        "-r·x̂·mean(g·x̂)/2",
        through_r=times(STEPS["through_r"], 0.5),
    )


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
    """Yield the mistakes in which another value is used for x̂ or g."""
    ways = (
        ("x", "x", lambda s: s.x),
        ("x - m", "(x - m)", lambda s: s.c),
        ("y", "y", lambda s: s.y),
        ("w·x̂", "w·x̂", lambda s: s.w * s.x_hat),
    )
    for what, symbol, value in ways:
        yield mistake(
            f"{what} stands where x̂ belongs, before the mean of g·x̂",
            "through r",
            f"-r·{symbol}·mean(g·x̂)",
            through_r=_through(value),
        )
        yield mistake(
            f"{what} stands where x̂ belongs, in the mean of g·x̂",
            "through r",
            f"-r·x̂·mean(g·{symbol})",
            mean_gx=_mean_with(value),
        )
        yield mistake(
            f"{what} stands where x̂ belongs, twice",
            "through r",
            f"-r·{symbol}·mean(g·{symbol})",
            through_r=_through(value),
            mean_gx=_mean_with(value),
        )
    yield mistake(
        "x̂ is forgotten before the mean of g·x̂",
        "through r",
        "-r·mean(g·x̂)",
        through_r=lambda s: s.slope / s.r**2 * s.mean_gx * (s.n / s.count),
    )
    yield mistake(
        "x̂ is forgotten in the mean of g·x̂",
        "through r",
        "-r·x̂·mean(g)",
        mean_gx=lambda s: s.used.totals(s.g) / s.used.size,
    )
    yield mistake(
        "g is forgotten in the mean of g·x̂",
        "through r",
        "-r·x̂·mean(x̂)·…",
        mean_gx=lambda s: s.used.totals(s.x_hat * s.x_hat) / s.used.size,
    )


def _power(p: int) -> Step:
    return lambda s: s.r**p


def _through(value: Step) -> Step:
    return lambda s: s.slope / s.r**2 * value(s) * s.mean_gx * (s.n / s.count)


def _mean_with(value: Step) -> Step:
    return lambda s: s.used.totals(s.g * value(s)) / s.used.size
