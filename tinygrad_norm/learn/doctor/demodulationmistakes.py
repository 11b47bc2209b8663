"""Weight demodulation: its derivation, fitted to a forward, and its mistakes.

The lines are those of weightdemodulation.py.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "along": lambda s: (s.dy * s.W).sum(s.axes, keepdims=True),
    "straight": lambda s: s.d * s.dy,
    "through_d": lambda s: -s.d * s.W * s.along,
    "du": lambda s: s.straight + s.through_d,
    "dw": lambda s: (s.s * s.du).sum(0),
    "ds": lambda s: (s.w * s.du).sum(s.others),
}


def fit_weight_demodulation(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of W = u/√(Σ u² + eps), u = s·w; w (O, I, ...) and s (N, I) in either order."""
    if len(arguments) != 2 or any(a.dtype.kind != "f" for a in arguments.values()):
        return
    for (w_name, w), (s_name, s) in itertools.permutations(arguments.items()):
        if (
            w.ndim < 2
            or s.ndim != 2
            or s.shape[1] != w.shape[1]
            or y.shape != (len(s), *w.shape)
            or not y.size
        ):
            continue
        style = s.reshape(len(s), 1, s.shape[1], *(1,) * (w.ndim - 2))
        u, axes = style * w, tuple(range(2, w.ndim + 1))
        squares = (u * u).sum(axes, keepdims=True)
        for eps in (1e-8, 0.0, 1e-5, 1e-6):
            d = (squares + eps) ** -0.5
            if fits_output(u * d, y):
                others = (1, *range(3, w.ndim + 1))
                given = {"s": style, "w": w, "d": d, "W": u * d, "axes": axes, "others": others}
                given["size"] = w[0].size
                mistakes = tuple(_mistakes(given))
                yield Derivation("weight_demodulation", given, STEPS, {w_name: "dw", s_name: "ds"}, mistakes)
                return


def _mistakes(given: dict[str, Any]) -> Iterator[Mistake]:
    right = "d·(dy - W·Σ(dy·W))"

    def of_du(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "du", wrong, right, steps)

    name = (
        "a mean stands where the sum of dy·W belongs: demodulation has the length, not the root mean square"
    )
    yield of_du(name, "d·(dy - W·mean(dy·W))", along=times(STEPS["along"], 1 / given["size"]))
    yield of_du("the path through d is dropped", "d·dy", through_d=lambda s: 0 * s.dy)
    name = "the sign of the path through d is wrong"
    yield of_du(name, "d·(dy + W·Σ(dy·W))", through_d=times(STEPS["through_d"], -1))
    yield of_du("d is forgotten", "dy - W·Σ(dy·W)", du=times(STEPS["du"], lambda s: 1 / s.d))
    name = "u stands where W belongs before the sum"
    yield of_du(name, "d·(dy - u·Σ(dy·W))", through_d=times(STEPS["through_d"], lambda s: 1 / s.d))
    ends = {"dw": "Σ s·du over samples", "ds": "Σ w·du over outputs and the entries of a kernel"}
    name = "the weight has the gradient of one sample only: each has its own style, and all of them add up"
    yield Mistake(name, "dw", "s·du of the first sample", ends["dw"], {"dw": lambda s: (s.s * s.du)[0]})
    yield Mistake("the style is forgotten", "dw", "Σ du", ends["dw"], {"dw": lambda s: s.du.sum(0)})
    name = "the weight is forgotten"
    yield Mistake(name, "ds", "Σ du", ends["ds"], {"ds": lambda s: s.du.sum(s.others)})
    for line, end in ends.items():
        yield Mistake("the sign is wrong", line, f"-{end}", end, {line: times(STEPS[line], -1)})
