"""BatchNorm by the standard, the mean or the largest deviation: they train alike.

    z = x - mean(x)   y = w·z/d + b

    L2   d = √mean(z²)          what BatchNorm does
    L1   d = √(π/2)·mean|z|     the same for normally distributed z, without squares
    L∞   d = max|z|             some 3 to 4 times as large, which w can make up for

What BatchNorm does for a training is to make it independent of the scale of the weights, and for that any d
will do that is proportional to the scale of x. So L1 and L∞ are compared with L2, and with a network without
normalization: only if that is worse is there anything to lose.

Four convolutions learn 800 digits, with new noise in each step, so that the training is as much judged as the
generalization. The paper has ResNets on ImageNet, a constant for L∞ too, and a mean of the ten largest |z|.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ...backends.random import manual_seed
from ...module import Module
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below
from ..training_parts import convolutions, evaluate, few_digits, fit, shuffled
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

L2, L1, MAX, NONE = "L2 (BatchNorm)", "L1", "L∞", "no norm"
ALIKE = 0.01
LAYERS = (8, 1), (16, 2), (16, 1), (16, 2)


def _norm(p: float) -> Callable[[int], Module]:
    """Return batch normalization by the deviation p; none for p = 0."""
    if not p:
        return lambda channels: nn.Identity()
    return lambda channels: nn.LpBatchNorm2d(channels, p, gaussian=p == 1)


def measure(seed: int, p: float, lr: float, steps: int, noise: float, train: int) -> dict[str, Any]:
    """Return the test error, the validation loss and the training loss, averaged over 20 parts."""
    manual_seed(seed)
    split, validation, test = few_digits(seed, train, noise)
    model = convolutions(_norm(p), LAYERS)
    losses = fit(model, shuffled(np.random.default_rng(seed), split, 32, noise), steps, lr)
    curve = [round(float(part.mean()), 4) for part in np.array_split(losses, 20) if len(part)]
    return {"error": evaluate(model, test)[1], "validation": evaluate(model, validation)[0], "curve": curve}


def judge(results: Results) -> Verdict:
    """Holds if for L1 and for L∞ the test error is, with the 95 % interval over the seeds, at most 1 point
    above that of L2. Does not hold if for one of them the interval is above 1 point. Cannot be told if an
    interval contains 1 point, or if without norm the error is not, with its interval, more than 1 point above
    that of L2.
    """
    more = {name: results.values(name, "error") - results.values(L2, "error") for name in (L1, MAX, NONE)}
    reason = (
        f"the test error is {spread(results.values(L2, 'error'), percent=True)} with L2, and "
        + ", ".join(
            f"{_points(of)} points above it {'without norm' if name == NONE else f'with {name}'}"
            for name, of in more.items()
        )
    )
    if not interval(more[NONE])[0] > ALIKE:
        return cannot_be_told(f"{reason}: nothing to lose")
    between = [interval(more[name]) for name in (L1, MAX)]
    if any(low > ALIKE for low, _ in between):
        return does_not_hold(reason)
    alike = all(high <= ALIKE for _, high in between)
    return holds(reason) if alike else cannot_be_told(f"{reason}: the seeds differ")


def _points(differences: Any) -> str:
    return spread(100 * differences, 2)


def tabulate(results: Results) -> list[Row]:
    """Return the errors and the losses at the end."""
    rows = []
    for name in results.settings:
        errors = results.values(name, "error")
        rows.append(Row(f"{name}: test error", spread(errors, percent=True)))
        if name in (L1, MAX):
            more = _points(errors - results.values(L2, "error"))
            rows.append(Row(f"{name}: points above L2", more, "about 0"))
        rows.append(Row(f"{name}: training loss at the end", spread(results.values(name, "curve")[:, -1])))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the training loss over the steps, and the test errors."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for k, name in enumerate(results.settings):
        curves = results.values(name, "curve")
        taken = 100 * (np.arange(curves.shape[1]) + 0.5) / curves.shape[1]
        left.plot(taken, curves.mean(0), f"C{k}", label=name)
        left.fill_between(taken, curves.min(0), curves.max(0), color=f"C{k}", alpha=0.2)
        errors = 100 * results.values(name, "error")
        right.plot([k] * len(errors), errors, f"C{k}o", ms=4, alpha=0.6)
        right.plot([k - 0.3, k + 0.3], [errors.mean()] * 2, f"C{k}", lw=2)
    left.set(yscale="log", xlabel="steps taken (%)", ylabel="training loss: mean and range of seeds")
    right.set(ylabel="test error (%); line: mean", ylim=(0, None))
    right.set_xticks(range(len(results.settings)), [name.split(" (")[0] for name in results.settings])
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    legend_below(figure, 4)


register(
    "deviation-norms",
    measure,
    judge,
    tabulate,
    draw,
    title="BatchNorm by the mean or the largest deviation",
    claim="BatchNorm with the L1 or L∞ norm in place of the L2 norm trains as well.",
    source="Hoffer, Banner, Golan and Soudry 2018, arXiv:1803.01814, section 4",
    paper="L1 and L∞ are alternatives to L2 (no figure)",
    known="its abstract",
    settings={L2: {"p": 2.0}, L1: {"p": 1.0}, MAX: {"p": math.inf}, NONE: {"p": 0.0}},
    sizes={"steps": 250, "noise": 0.5, "train": 800},
    tuning=Tuning((0.015, 0.05, 0.15, 0.5, 1.5), "validation"),
    seeds=8,
    systems=("lp_batch_norm",),
)
