"""GradNorm: the weights of losses that differ only in scale go to 1/scale.

Task i of T is y = scale_i·tanh((B + ε_i)·x), with scales from 1 to 100, as in the paper's toy. With equal
weights the loud tasks have the shared layers for themselves. GradNorm changes the weights w_i until all
G_i = ‖d(w_i·L_i)/dW‖ agree at the last shared layer W, up to their rates of training. It is claimed that
log w falls by 1 where log scale grows by 1. Both are trained with a learning rate tuned for each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn, optim
from ...autograd import Tensor, no_grad
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import tensor
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..measured_parts import slope
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread

SCALES = np.geomspace(1, 100, 10)
STEEPEST, FLATTEST = -1.25, -0.75


def make_tasks(
    rng: np.random.Generator, inputs: int = 20, outputs: int = 10
) -> Callable[[int], tuple[Tensor, list[Tensor]]]:
    """Return a function that draws a batch: x (N, inputs), and y (T, N, outputs)."""
    B = rng.normal(size=(outputs, inputs)) * 10**0.5 / inputs**0.5
    eps = rng.normal(size=(len(SCALES), outputs, inputs)) * 3.5**0.5 / inputs**0.5

    def draw_batch(N: int) -> tuple[Tensor, list[Tensor]]:
        x = rng.normal(size=(N, inputs))
        y = SCALES[:, None, None] * np.tanh(np.einsum("ni,toi->tno", x, B + eps))
        return tensor(x.astype(np.float32)), [tensor(task.astype(np.float32)) for task in y]

    return draw_batch


def train(balanced: bool, steps: int, lr: float, seed: int) -> dict[str, Any]:
    """Return the weights of the losses (T,) by step, and each task's error at the end.

    The error is the root of the mean square on new data, in units of the scale.
    """
    draw_batch = make_tasks(np.random.default_rng(seed))
    manual_seed(seed)
    shared = nn.Linear(100, 100)
    trunk = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), shared, nn.ReLU())
    heads = nn.ModuleList(nn.Linear(100, 10) for _ in SCALES)
    optimizer = optim.Adam([*trunk.parameters(), *heads.parameters()], lr)
    balance = optim.GradNorm([shared.weight], len(SCALES), alpha=0.12)
    weights = [balance.weights.numpy()]
    for _ in range(steps):
        x, targets = draw_batch(64)
        h = trunk(x)
        losses = [F.mse_loss(head(h), y) for head, y in zip(heads, targets, strict=True)]
        optimizer.zero_grad()
        if balanced:
            balance.backward(losses)
        else:
            sum(losses[1:], losses[0]).backward()
        optimizer.step()
        if balanced:
            balance.step()
        weights.append(balance.weights.numpy())
    x, targets = draw_batch(1000)
    with no_grad():
        errors = [F.mse_loss(head(trunk(x)), y).item() ** 0.5 for head, y in zip(heads, targets, strict=True)]
    return {"weights": np.array(weights), "errors": np.array(errors) / SCALES}


def measure(seed: int, balanced: bool, lr: float, steps: int) -> dict[str, Any]:
    """Return the weights at the end and over the steps, their slope, the errors and the mean error."""
    found = train(balanced, steps, lr, seed)
    weights, errors = found["weights"], found["errors"]
    return {
        "weights": weights[-1],
        "curve": weights[:: max(1, steps // 20)],
        "slope": slope(SCALES, weights[-1]),
        "errors": errors,
        "error": float(errors.mean()),
        "worst": float(errors.max()),
    }


def judge(results: Results) -> Verdict:
    """Holds if the slope of log w over log scale is between -1.25 and -0.75 for every seed, with GradNorm.
    Does not hold if it is outside for every seed. Cannot be told if the seeds differ.
    """
    slopes = results.values("GradNorm", "slope")
    inside = (slopes >= STEEPEST) & (slopes <= FLATTEST)
    quieter, louder = (
        np.mean([slope(SCALES[part], one[part]) for one in results.values("GradNorm", "weights")])
        for part in (slice(None, 5), slice(5, None))
    )
    halves = f"{quieter:.2g} for the five quieter tasks, {louder:.2g} for the five louder ones"
    reason = f"w goes as scale to the power of {spread(slopes)}: {halves}"
    if inside.all():
        return holds(reason)
    return cannot_be_told(reason) if inside.any() else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the slope, the weights of the ends, and the errors."""
    weights = results.values("GradNorm", "weights")
    rows = [Row("GradNorm: slope of log w over log scale", spread(results.values("GradNorm", "slope")), "-1")]
    for part, tasks in (("quieter", slice(None, 5)), ("louder", slice(5, None))):
        slopes = [slope(SCALES[tasks], one[tasks]) for one in weights]
        rows.append(Row(f"GradNorm: slope, the five {part} tasks", spread(slopes)))
    for i in (0, len(SCALES) // 2, -1):
        rows.append(Row(f"GradNorm: w of the task of scale {SCALES[i]:.3g}", spread(weights[:, i])))
    for name in results.settings:
        lr = f"lr {results.chosen[name]:g}"
        rows.append(Row(f"{name}, {lr}: mean error, in scales", spread(results.values(name, "error"))))
        rows.append(Row(f"{name}, {lr}: worst error, in scales", spread(results.values(name, "worst"))))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the weights over the scales, and the errors."""
    left, right = figure.subplots(1, 2)
    for weights in results.values("GradNorm", "weights"):
        left.plot(SCALES, weights, "C0.-", lw=1)
    middle = np.exp(np.log(results.values("GradNorm", "weights")).mean())
    left.plot(SCALES, middle * np.exp(np.log(SCALES).mean()) / SCALES, "k--", lw=0.8, label="1/scale")
    for k, name in enumerate(results.settings):
        lines = right.plot(SCALES, results.values(name, "errors").T, f"C{k}.-", lw=1)
        lines[0].set_label(name)
    left.set(xscale="log", yscale="log", xlabel="scale of the task", ylabel="weight w of its loss")
    right.set(xscale="log", xlabel="scale of the task", ylabel="error in units of the scale")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "gradnorm-weights",
    measure,
    judge,
    tabulate,
    draw,
    title="GradNorm: the weights of the losses go to 1/scale",
    claim="Of tasks that differ only in scale, GradNorm gives each loss a weight of about 1/scale.",
    source="Chen, Badrinarayanan, Lee and Rabinovich 2018, arXiv:1711.02257, section 4",
    paper="w is about 1/scale",
    known="from memory",
    settings={"GradNorm": {"balanced": True}, "equal weights": {"balanced": False}},
    sizes={"steps": 800},
    tuning=Tuning((2e-3, 5e-3, 1.2e-2, 3e-2), "error"),
)
