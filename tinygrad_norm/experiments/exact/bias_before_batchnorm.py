"""A bias before BatchNorm learns nothing: the mean that BatchNorm subtracts contains it.

    y = BN(W·x + b)   mean(W·x + b) = mean(W·x) + b   so y does not depend on b, and dL/db = 0

Two linear layers or convolutions are trained by gradient descent in float64, once with BatchNorm behind the
first, once without it, which is the control. In eval mode BatchNorm subtracts a fixed mean: there the bias
has an effect, but nothing is learned there. Adam divides a gradient by its size, so what it makes of
rounding errors in float32 is measured too: the bias moves, and still nothing depends on it.
"""

from typing import Any

import numpy as np

from ... import nn, optim
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..measured_parts import gradient
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread

TOLERANCE, CONTROL = 1e-12, 1e-3
WITH = ("linear", "convolution")


def make_network(layer: str, norm: bool) -> nn.Sequential:
    """Return a classifier of (N, 6) or (N, 6, 5, 5) whose first layer has a bias, before BatchNorm or not."""
    if layer == "linear":
        first: nn.Module = nn.Linear(6, 16)
        rest = [*([nn.BatchNorm1d(16)] if norm else []), nn.ReLU(), nn.Linear(16, 3)]
    else:
        first = nn.Conv2d(6, 16, 3)
        rest = [*([nn.BatchNorm2d(16)] if norm else []), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 9, 3)]
    return nn.Sequential(first, *rest)


def measure(
    seed: int, layer: str, norm: bool, steps: int, optimizer: str = "SGD", dtype: str = "float64"
) -> dict[str, Any]:
    """Return |db| over |dW| of each step, the largest of each, and how far b moved."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = make_network(layer, norm)
    model = model.double() if dtype == "float64" else model
    shape = (6,) if layer == "linear" else (6, 5, 5)
    x = rng.normal(size=(32, *shape)).astype(dtype)
    labels = tensor(rng.integers(3, size=32))
    bias = model[0].bias
    start = bias.numpy().copy()
    update: optim.Optimizer = (
        optim.SGD(model.parameters(), 0.1) if optimizer == "SGD" else optim.Adam(model.parameters(), 0.01)
    )
    ratios = []
    for _ in range(steps):
        update.zero_grad()
        F.cross_entropy(model(tensor(x)), labels).backward()
        dweight, db = gradient(model[0].weight), gradient(model[0].bias)
        ratios.append(float(abs(db).max() / abs(dweight).max()))
        update.step()
    moved = float(abs(bias.numpy() - start).max())
    before = model(tensor(x)).numpy()
    bias.data[...] = start
    output = float(abs(model(tensor(x)).numpy() - before).max() / abs(before).max())
    return {"ratios": ratios, "ratio": max(ratios), "moved": moved, "output": output}


def judge(results: Results) -> Verdict:
    """Holds if, with BatchNorm in float64, the largest |dL/db| is at most 1e-12 of the largest |dL/dW| in
    every step of every seed; does not hold if it is larger. Cannot be told if without BatchNorm it is below
    1e-3 in any seed: then the measurement would not see a gradient.
    """
    largest = max(results.values(setting, "ratio").max() for setting in WITH)
    control = results.values("linear, no BatchNorm", "ratio").min()
    if not control >= CONTROL:
        return cannot_be_told(f"without BatchNorm dL/db is only {control:.1g} of dL/dW")
    reason = f"dL/db is at most {largest:.1g} of dL/dW with BatchNorm, {control:.1g} or more without"
    return holds(reason) if largest <= TOLERANCE else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the gradients, the way of b, and what the output makes of it."""
    rows = []
    for setting in results.settings:
        paper = "0" if "no BatchNorm" not in setting else "not 0"
        rows.append(
            Row(
                f"{setting}: dL/db over dL/dW, the largest",
                f"{results.values(setting, 'ratio').max():.1e}",
                paper,
            )
        )
    for setting in results.settings:
        rows.append(Row(f"{setting}: b moved by", spread(results.values(setting, "moved"), 2)))
        rows.append(
            Row(f"{setting}: output changes if b is put back", spread(results.values(setting, "output"), 2))
        )
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw |db|/|dW| over the steps."""
    axes = figure.subplots()
    for k, setting in enumerate(results.settings):
        ratios = np.maximum(results.values(setting, "ratios"), 1e-18)
        seed_lines(axes, range(1, ratios.shape[1] + 1), ratios, setting, f"C{k}")
    axes.axhline(TOLERANCE, color="black", lw=0.8, ls="--", label="rule: at most 1e-12 in float64")
    axes.set(yscale="log", xlabel="step", ylabel="largest |dL/db| over largest |dL/dW|")
    legend_below(figure)
    axes.grid(alpha=0.3)


register(
    "bias-before-batchnorm",
    measure,
    judge,
    tabulate,
    draw,
    title="A bias before BatchNorm learns nothing",
    claim="The bias of a layer before BatchNorm can be left out: the subtracted mean cancels it.",
    source="Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2",
    paper="dL/db = 0",
    known="follows from the formula",
    settings={
        "linear": {"layer": "linear", "norm": True},
        "convolution": {"layer": "convolution", "norm": True},
        "linear, float32, Adam": {"layer": "linear", "norm": True, "optimizer": "Adam", "dtype": "float32"},
        "linear, no BatchNorm": {"layer": "linear", "norm": False},
    },
    sizes={"steps": 100},
    systems=("batch_norm",),
)
