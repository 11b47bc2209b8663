"""Ghost BatchNorm: a large batch, normalized in slices, generalizes better.

    BatchNorm          m, v of all B images of the batch
    Ghost BatchNorm    m, v of each slice of G images, its own; the gradient is that of all B

The statistics of G images vary from step to step by about 1/√G: noise, which regularizes. A large batch has
little of it, and makes fewer steps in the same number of epochs; it generalizes worse than a small one.
Ghosts bring the noise back without more steps.

The networks learn 512 digits by heart, with noise that each image keeps, in the same number of epochs. So the
error on the training data is 0 and the test error is the generalization gap. The paper has batches of 4096 on
CIFAR and ghosts as large as its small batches, 128; here they are 256 and 32. Smaller ghosts are tried too.
"""

from typing import Any

import numpy as np

from ... import nn
from ...backends.random import manual_seed
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..training_parts import convolutions, evaluate, few_digits, fit, shuffled, with_noise
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

SMALL, LARGE, GHOSTS = "batch 32", "batch 256", "batch 256, ghosts of 32"
LEARNED = 0.02
LAYERS = (8, 1), (16, 2), (16, 2)


def measure(
    seed: int, batch: int, ghost: int, lr: float, epochs: int, noise: float, train: int
) -> dict[str, Any]:
    """Return loss and error on the three parts of the data, in evaluation."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    split, validation, test = few_digits(seed, train, noise)
    split = with_noise(split, noise, rng)
    model = convolutions(lambda channels: nn.GhostBatchNorm2d(channels, ghost), LAYERS)
    fit(model, shuffled(rng, split, batch), epochs * (train // batch), lr)
    found = {"training": split, "validation": validation, "test": test}
    judged = {name: evaluate(model, part) for name, part in found.items()}
    return {
        f"{name} {what}": one[k] for name, one in judged.items() for k, what in enumerate(("loss", "error"))
    }


def judge(results: Results) -> Verdict:
    """Holds if, with the 95 % interval over the seeds, the test error with batches of 256 is smaller with
    ghosts of 32 than without ghosts. Does not hold if it is larger with its interval. Cannot be told if the
    interval contains 0, if batches of 256 have no larger error than those of 32 with the interval (no gap to
    close), or if a network errs in more than 2 % of the training data.
    """
    small, large, ghosts = (results.values(name, "test error") for name in (SMALL, LARGE, GHOSTS))
    learned = max(results.values(name, "training error").max() for name in (SMALL, LARGE, GHOSTS))
    reason = (
        f"the test error is {_percent(small)} with batches of 32, {_percent(large)} with 256, and "
        f"{_percent(ghosts)} with 256 in ghosts of 32"
    )
    for name in results.settings[3:]:
        reason += f", {_percent(results.values(name, 'test error'))} in {name.partition(', ')[2]}"
    if not learned <= LEARNED:
        return cannot_be_told(f"a network errs in {100 * learned:.1f} % of the training data")
    if not interval(large - small)[0] > 0:
        return cannot_be_told(f"{reason}: no gap to close")
    low, high = interval(large - ghosts)
    if high < 0:
        return does_not_hold(reason)
    return holds(reason) if low > 0 else cannot_be_told(f"{reason}: the seeds differ")


def _percent(values: Any) -> str:
    return spread(values, percent=True)


def tabulate(results: Results) -> list[Row]:
    """Return errors and losses, and how much of the gap the ghosts close."""
    rows = []
    for name in results.settings:
        rows.append(Row(f"{name}: test error", _percent(results.values(name, "test error"))))
        rows.append(Row(f"{name}: test loss", spread(results.values(name, "test loss"))))
        rows.append(Row(f"{name}: training error", _percent(results.values(name, "training error"))))
        if name not in (SMALL, LARGE):
            gained = results.values(LARGE, "test error") - results.values(name, "test error")
            paper = "above 0" if name == GHOSTS else "–"
            rows.append(Row(f"{name}: points less than without ghosts", spread(100 * gained, 2), paper))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the test error and the test loss for each setting: points for the seeds, a line for the mean."""
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, of, scale, label in ((left, "error", 100, "test error (%)"), (right, "loss", 1, "test loss")):
        for row, name in enumerate(results.settings):
            values = scale * results.values(name, f"test {of}")
            axes.plot(values, [row] * len(values), "o", color=f"C{row}", ms=4, alpha=0.6)
            axes.plot([values.mean()] * 2, [row - 0.3, row + 0.3], f"C{row}", lw=2)
        axes.set(xlabel=f"{label}; line: mean")
        axes.grid(alpha=0.3)
    left.set_yticks(range(len(results.settings)), results.settings)
    left.invert_yaxis()


register(
    "ghost-batches",
    measure,
    judge,
    tabulate,
    draw,
    title="Ghost BatchNorm and the generalization gap of large batches",
    claim="Statistics of small slices of a large batch make the generalization gap smaller.",
    source="Hoffer, Hubara and Soudry 2017, arXiv:1705.08741, section 4",
    paper="a significantly smaller gap (no figure)",
    known="its abstract",
    settings={
        SMALL: {"batch": 32, "ghost": 32},
        LARGE: {"batch": 256, "ghost": 256},
        GHOSTS: {"batch": 256, "ghost": 32},
        "batch 256, ghosts of 16": {"batch": 256, "ghost": 16},
        "batch 256, ghosts of 8": {"batch": 256, "ghost": 8},
    },
    sizes={"epochs": 40, "noise": 0.5, "train": 512},
    tuning=Tuning((0.0125, 0.05, 0.2, 0.8, 3.2, 12.8), "validation loss"),
    seeds=8,
    systems=("ghost_batch_norm",),
)
