"""Inference example weighing: in evaluation, let the sample itself have a small share α in the statistics.

    training      m, v of the batch: the sample has a share of 1/B in them
    evaluation    M, V running: it has none. With α,   E[x] = α·m_own + (1 - α)·M   and so for E[x²]

The paper says that this difference costs accuracy, and that a small α > 0, chosen on validation data after
training, gains it back, with batches of all sizes. Here a network is trained with BatchNorm and judged with
each α of a list, 0 among them. That with the lowest validation loss is chosen, and the test set judges. That
α = 1 (InstanceNorm) does harm shows that α does something.

Three convolutions (64, 16 and 16 positions) learn 800 digits, with new noise in each step. The paper has
deeper networks and larger images, on six sets of data: there, own statistics are over more positions.
"""

from typing import Any

import numpy as np

from ... import nn
from ...backends.random import manual_seed
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below
from ..training_parts import convolutions, evaluate, few_digits, fit, shuffled
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
GAIN, HARM = 0.002, 0.1
LAYERS = (8, 1), (16, 2), (16, 2)


def measure(seed: int, batch: int, lr: float, images: int, noise: float, train: int) -> dict[str, Any]:
    """Return validation loss and test error for each α, the chosen α and what it gains."""
    manual_seed(seed)
    split, validation, test = few_digits(seed, train, noise)
    model = convolutions(nn.WeighedBatchNorm2d, LAYERS)
    drawn = shuffled(np.random.default_rng(seed), split, batch, noise)
    fit(model, drawn, images // batch, lr * batch / 32)
    losses, found = [], []
    for alpha in ALPHAS:
        for module in model.modules():
            if isinstance(module, nn.WeighedBatchNorm2d):
                module.inference_weight = alpha
        losses.append(evaluate(model, validation)[0])
        found.append(evaluate(model, test))
    test_losses, errors = np.array(found).T
    best = int(np.argmin(losses))
    return {
        "errors": errors,
        "alpha": ALPHAS[best],
        "gain": errors[0] - errors[best],
        "loss gain": test_losses[0] - test_losses[best],
        "harm": errors[-1] - errors[0],
        "validation": losses[0],
    }


def judge(results: Results) -> Verdict:
    """Holds if with every batch size the test error with the chosen α is, with the 95 % interval over the
    seeds, below that with α = 0. Does not hold if with some batch size the gain is, with its interval, below
    0.2 points: too little to be of use. Cannot be told otherwise, or if α = 1 costs a seed less than 10
    points: then these networks would not show what α does.
    """
    gains = {name: results.values(name, "gain") for name in results.settings}
    if not min(results.values(name, "harm").min() for name in results.settings) >= HARM:
        return cannot_be_told("α = 1 makes too little of a difference")
    reason = "the chosen α gains " + ", ".join(
        f"{_points(of)} points with {name}" for name, of in gains.items()
    )
    between = [interval(of) for of in gains.values()]
    if all(low > 0 for low, _ in between):
        return holds(reason)
    if any(high < GAIN for _, high in between):
        return does_not_hold(reason)
    return cannot_be_told(f"{reason}: the seeds differ")


def _points(differences: Any) -> str:
    return spread(100 * differences, 2)


def tabulate(results: Results) -> list[Row]:
    """Return the chosen α, the errors without and with it, and what it gains in the loss."""
    rows = []
    for name in results.settings:
        errors, gain = results.values(name, "errors")[:, 0], results.values(name, "gain")
        rows.append(Row(f"{name}: chosen α", spread(results.values(name, "alpha"), 2), "small, above 0"))
        rows.append(Row(f"{name}: test error with α = 0", spread(errors, percent=True)))
        rows.append(Row(f"{name}: gain with the chosen α, points", _points(gain), "above 0"))
        rows.append(Row(f"{name}: gain in the test loss", spread(results.values(name, "loss gain"), 2)))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw what each α changes in the test error; α = 1, far above, is left out."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        errors = 100 * results.values(name, "errors")[:, :-1]
        change = errors - errors[:, :1]
        axes.plot(ALPHAS[:-1], change.mean(0), f"C{k}o-", ms=4, label=f"{name}: mean and range")
        axes.fill_between(ALPHAS[:-1], change.min(0), change.max(0), color=f"C{k}", alpha=0.15)
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="α, share of the sample itself", ylabel="change of the test error (points)")
    axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "own-statistics",
    measure,
    judge,
    tabulate,
    draw,
    title="Inference example weighing: the sample's share in its statistics",
    claim="A small share of the sample itself in the statistics of evaluation, chosen on validation data, "
    "lowers the error with batches of all sizes.",
    source="Summers and Dinneen 2020, arXiv:1906.03548, section 3.1",
    paper="gains across all batch sizes (no figure)",
    known="its abstract",
    settings={f"batch {size}": {"batch": size} for size in (4, 16, 64)},
    sizes={"images": 10_000, "noise": 0.5, "train": 800},
    tuning=Tuning((0.05, 0.1, 0.2, 0.4), "validation"),
    seeds=8,
    systems=("weighed_batch_norm",),
)
