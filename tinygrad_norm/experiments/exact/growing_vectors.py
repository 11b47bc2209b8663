"""Weight normalization: the gradient of V is orthogonal to V, so gradient descent makes V longer and longer.

    w = g·V/‖V‖     dV = (g/‖V‖)·(dw - (dw·v̂)·v̂)     dV·V = 0, with v̂ = V/‖V‖

By Pythagoras a step of size lr makes ‖V‖ longer by the factor √(1 + c²), c = lr·‖dV‖/‖V‖. So ‖V‖ never
falls, whatever the data. It holds for every row of the layer by itself. With momentum or Adam the step is no
multiple of dV, and ‖V‖ may fall, as the paper says. The control is the same layer without normalization.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...backends.random import manual_seed
from ...nn import functional as F
from ...nn.utils.parametrizations import weight_norm
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..measured_parts import gradient
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread

COSINE, FALL, CONTROL = 1e-12, 1e-14, 1e-3
DESCENTS = ("gradient descent, lr 0.3", "gradient descent, lr 1")


def make_optimizer(way: str, parameters: Any, lr: float) -> optim.Optimizer:
    """Return plain gradient descent, one with momentum, or Adam."""
    if way == "Adam":
        return optim.Adam(parameters, lr)
    return optim.SGD(parameters, lr, momentum=0.9 if way == "momentum" else 0.0)


def measure(seed: int, way: str, lr: float, steps: int, normalized: bool = True) -> dict[str, Any]:
    """Return |cos(dV, V)|, the smallest growth of ‖V‖² in a step, what Pythagoras misses, and ‖V‖ by step."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    hidden: Any = nn.Linear(10, 24)
    hidden = weight_norm(hidden) if normalized else hidden
    model = nn.Sequential(hidden, nn.Tanh(), nn.Linear(24, 3)).double()
    V = hidden.parametrizations.weight.original1 if normalized else hidden.weight
    optimizer = make_optimizer(way, model.parameters(), lr)
    cosines, growths, missed, norms = [], [], [], [_norms(V.numpy())]
    for _ in range(steps):
        x = rng.normal(size=(32, 10))
        y = np.sin(x[:, :3] * x[:, 3:6]) + 0.1 * rng.normal(size=(32, 3))
        optimizer.zero_grad()
        F.mse_loss(model(tensor(x)), tensor(y)).backward()
        dV, before = gradient(V), _norms(V.numpy())
        cosines.append(float((abs((dV * V.numpy()).sum(1)) / (_norms(dV) * before)).max()))
        optimizer.step()
        after = _norms(V.numpy())
        growths.append(float(((after / before) ** 2 - 1).min()))
        expected = np.hypot(before, lr * _norms(dV))
        missed.append(float((abs(after - expected) / after).max()))
        norms.append(after)
    return {
        "cosine": np.max(cosines),
        "least growth": np.min(growths),
        "falls": float(np.mean(np.array(growths) < -FALL)),
        "missed": np.max(missed),
        "ratio": float((norms[-1] / norms[0]).mean()),
        "curve": [float(one.mean()) for one in norms[:: max(1, steps // 50)]],
    }


def _norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(rows, axis=1)


def judge(results: Results) -> Verdict:
    """Holds if, under gradient descent in float64 with either learning rate, |cos(dV, V)| is at most 1e-12
    and no row's ‖V‖² falls by more than 1e-14 of itself, in every step of every seed; else it does not hold.
    Cannot be told if without weight normalization |cos(dV, V)| stays below 1e-3 for a seed, or a training
    diverged.
    """
    cosine = np.max([results.values(name, "cosine") for name in DESCENTS])
    least = np.min([results.values(name, "least growth") for name in DESCENTS])
    control = results.values("not normalized", "cosine").min()
    if not control >= CONTROL:
        return cannot_be_told(f"cos(dV, V) is {control:.1g} without weight normalization too")
    if not np.isfinite(cosine + least):
        return cannot_be_told("a training diverged")
    falls = f"falls by {-least:.1g} of itself" if least < -FALL else "never falls"
    reason = f"cos(dV, V) is at most {cosine:.1g}, and {control:.1g} or more if not normalized; ‖V‖² {falls}"
    return holds(reason) if cosine <= COSINE and least >= -FALL else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the angles, the growth and the steps in which a row became shorter."""
    rows = []
    for name in results.settings:
        normalized, descent = name != "not normalized", name in DESCENTS
        largest = results.values(name, "cosine").max()
        rows.append(Row(f"{name}: largest cos(dV, V)", f"{largest:.1g}", "0" if normalized else "–"))
        falls = spread(results.values(name, "falls"), 2, percent=True)
        rows.append(Row(f"{name}: steps in which a row's ‖V‖ falls", falls, "0 %" if descent else "–"))
        rows.append(Row(f"{name}: ‖V‖ at the end over the start", spread(results.values(name, "ratio"))))
    for name in DESCENTS:
        missed = f"{results.values(name, 'missed').max():.1g}"
        rows.append(Row(f"{name}: ‖V‖ differs from √(1 + c²)·‖V‖ by", missed, "0"))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the mean ‖V‖ of the rows over the steps."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        curves = results.values(name, "curve")
        steps = np.linspace(0, 1, curves.shape[1])
        seed_lines(axes, 100 * steps, curves / curves[:, :1], name, f"C{k}")
    axes.set(xlabel="steps taken (%)", ylabel="mean ‖V‖ over that at the start")
    axes.grid(alpha=0.3, which="both")
    legend_below(figure)


register(
    "weight-norm-grows",
    measure,
    judge,
    tabulate,
    draw,
    title="Weight normalization: dV is orthogonal to V, and ‖V‖ grows",
    claim="The gradient of V has no part along V, so gradient descent lengthens V by √(1 + c²) in each step.",
    source="Salimans and Kingma 2016, arXiv:1602.07868, section 2.1",
    paper="dV·V = 0, ‖V‖ grows monotonically",
    known="follows from the formula",
    settings={
        "gradient descent, lr 0.3": {"way": "SGD", "lr": 0.3},
        "gradient descent, lr 1": {"way": "SGD", "lr": 1.0},
        "momentum, lr 0.3": {"way": "momentum", "lr": 0.3},
        "Adam, lr 0.01": {"way": "Adam", "lr": 0.01},
        "not normalized": {"way": "SGD", "lr": 0.3, "normalized": False},
    },
    sizes={"steps": 300},
    systems=("weight_norm",),
)
