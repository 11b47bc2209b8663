"""Batches sorted by class: BatchNorm fits them and fails in evaluation; how much does Batch Renorm save?

    BatchNorm       y = (x - m)/√(v + ε)               m, v of the batch: in one class, the mean says which
    Batch Renorm    y = (x - m)/√(v + ε)·r + d         ≈ (x - M)/√(V + ε), M and V running: as in evaluation

r and d are limited (to 3 and 5), the limits are relaxed during training, and the gradient takes them for
constants. As if ten workers had sorted data, a step averages the gradients of ten batches of 16 images, one
for each class; with "mixed", the same images are shuffled among the ten. So the order of the images does no
harm by itself: with GroupNorm both give the same gradient. What remains are the statistics, and the gradient:
Batch Renorm's is r times BatchNorm's, which is free of what the samples of a batch have in common. In batches
of one class, that is just what tells it from the others.

Sorted by pairs, five batches of 32 images have two classes each, other pairs in each step. In the paper, on
ImageNet, batches of 32 had 2 images of each of 16 classes: less sorted than either.

The error in evaluation is what counts. That on sorted batches with their own statistics shows what a network
has learned instead: to tell classes apart by the batch. For Batch Renorm it is measured with r and d.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import nn
from ...autograd import no_grad
from ...backends.random import manual_seed
from ...data import Split
from ...module import Module
from ...normalization.batch.batchrenorm import RenormSchedule
from ...ops import tensor
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below
from ..training_parts import Step, convolutions, evaluate, few_digits, fit
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

MIXED, SORTED, RENORM = "BatchNorm, mixed", "BatchNorm, one class", "Batch Renorm, one class"
RENORM_MIXED, CONTROL = "Batch Renorm, mixed", "GroupNorm, one class"
PAIRS, RENORM_PAIRS = "BatchNorm, two classes", "Batch Renorm, two classes"
LAYERS = (8, 1), (16, 2), (16, 2)
CLASSES, OF_EACH = 10, 16
COLLAPSE, RECOVERED, UNHARMED = 0.1, 0.5, 0.1


def _norm(name: str, batches: int) -> Callable[[int], Module]:
    """Return BatchNorm or Batch Renorm with averages over some 100 batches, as in the paper, or GroupNorm."""
    if name == "group":
        return lambda channels: nn.GroupNorm(channels // 8, channels)
    if name == "batch":
        return lambda channels: nn.BatchNorm2d(channels, momentum=0.01)
    schedule = RenormSchedule(batches // 10, 4 * batches // 10, batches // 4)
    return lambda channels: nn.BatchRenorm2d(channels, momentum=0.01, schedule=schedule)


def draw_steps(rng: np.random.Generator, split: Split, classes: int, noise: float) -> Iterator[Step]:
    """Yield for each step 16 images of each class, in batches of so many classes; 0 mixes them."""
    of_class = [np.flatnonzero(split.labels == label) for label in range(CLASSES)]
    while True:
        chosen = np.stack([rng.choice(of_class[label], OF_EACH) for label in rng.permutation(CLASSES)])
        if not classes:
            chosen = rng.permutation(chosen.ravel())
        batches = []
        for batch in chosen.reshape(CLASSES // (classes or 1), -1):
            drawn = rng.standard_normal((len(batch), 1, 8, 8), dtype=np.float32)
            batches.append((split.images[batch] + np.float32(noise) * drawn, split.labels[batch]))
        yield batches


def measure(
    seed: int, norm: str, classes: int, lr: float, steps: int, noise: float, train: int
) -> dict[str, Any]:
    """Return the test error, that on sorted batches in training mode, the training loss and validation."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    splits = few_digits(seed, train, noise)
    model = convolutions(_norm(norm, steps * CLASSES // (classes or 1)), LAYERS)
    losses = fit(model, draw_steps(rng, splits[0], classes, noise), steps, lr)
    loss, error = evaluate(model, splits[2])
    validation = evaluate(model, splits[1])[0]
    return {
        "error": error,
        "loss": loss,
        "training": losses[-max(1, steps // 5) :].mean(),
        "validation": validation,
        "by the batch": _error_in_training(model, next(draw_steps(rng, splits[2], classes or 1, 0.0))),
    }


def _error_in_training(model: Module, batches: Step) -> float:
    model.train()
    with no_grad():
        wrong = [model(tensor(images)).numpy().argmax(1) != labels for images, labels in batches]
    return float(np.mean(wrong))


def judge(results: Results) -> Verdict:
    """Holds if batches of one class cost BatchNorm at least 10 points of test error, and Batch Renorm gains
    back at least half of what they cost, with the 95 % intervals over the seeds. Does not hold if a 95 %
    interval is below 10 points, or below half. Cannot be told if an interval contains its limit, or if
    GroupNorm errs in more than 10 % with the same batches: then the statistics are not to blame.
    """
    mixed, sorted_, renorm = (results.values(name, "error") for name in (MIXED, SORTED, RENORM))
    if not results.values(CONTROL, "error").max() <= UNHARMED:
        return cannot_be_told("GroupNorm fails with these batches, too")
    cost = interval(sorted_ - mixed)
    regained = (sorted_ - renorm) / (sorted_ - mixed)
    reason = (
        f"the test error of BatchNorm is {_percent(mixed)} with mixed batches, {_percent(sorted_)} with one "
        f"class in each; that of Batch Renorm is {_percent(renorm)} there"
    )
    if cost[1] < COLLAPSE:
        return does_not_hold(reason)
    if not cost[0] >= COLLAPSE:
        return cannot_be_told(f"{reason}: the seeds differ")
    reason += f": {_percent(regained)} is regained"
    low, high = interval(regained)
    if high < RECOVERED:
        return does_not_hold(reason)
    return holds(reason) if low >= RECOVERED else cannot_be_told(f"{reason}: the seeds differ")


def _percent(values: Any) -> str:
    return spread(values, 2, percent=True)


def tabulate(results: Results) -> list[Row]:
    """Return the errors in evaluation, and those on sorted batches in training mode."""
    rows = []
    for name in results.settings:
        rows.append(Row(f"{name}: test error", spread(results.values(name, "error"), percent=True)))
        by_batch = spread(results.values(name, "by the batch"), percent=True)
        rows.append(Row(f"{name}: error on sorted batches, training mode", by_batch))
    for what, mixed, harmed, saved in (
        ("one class", MIXED, SORTED, RENORM),
        ("two classes", MIXED, PAIRS, RENORM_PAIRS),
    ):
        lost = results.mean(harmed, "error") - results.mean(mixed, "error")
        gained = results.mean(harmed, "error") - results.mean(saved, "error")
        rows.append(Row(f"{what}: points that BatchNorm loses", f"{100 * lost:.2g}", "11.3"))
        rows.append(Row(f"{what}: points that Batch Renorm regains", f"{100 * gained:.2g}", "11.6"))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the errors in evaluation, and on sorted batches in training mode, for each setting."""
    axes = figure.subplots()
    for k, (of, label) in enumerate(
        (("error", "in evaluation"), ("by the batch", "on sorted batches, in training mode"))
    ):
        for row, name in enumerate(results.settings):
            values = 100 * results.values(name, of)
            y = row + 0.38 * (k - 0.5)
            axes.barh(y, values.mean(), 0.36, color=f"C{k}", alpha=0.5, label=label if not row else None)
            axes.plot(values, [y] * len(values), "k.", ms=4, label="each seed" if not row and k else None)
    axes.set_yticks(range(len(results.settings)), results.settings)
    axes.invert_yaxis()
    axes.set(xlabel="error (%)")
    axes.grid(alpha=0.3, axis="x")
    legend_below(figure)


register(
    "sorted-batches",
    measure,
    judge,
    tabulate,
    draw,
    title="Batch Renormalization with batches of one class",
    claim="With batches that are not independent samples, BatchNorm fails in evaluation, and Batch Renorm "
    "regains most of it.",
    source="Ioffe 2017, arXiv:1702.03275, section 4.3",
    paper="accuracy 67.0 % with BatchNorm, 78.6 % with Batch Renorm (Inception-v3, ImageNet)",
    known="from memory",
    settings={
        MIXED: {"norm": "batch", "classes": 0},
        SORTED: {"norm": "batch", "classes": 1},
        RENORM: {"norm": "renorm", "classes": 1},
        CONTROL: {"norm": "group", "classes": 1},
        PAIRS: {"norm": "batch", "classes": 2},
        RENORM_PAIRS: {"norm": "renorm", "classes": 2},
        RENORM_MIXED: {"norm": "renorm", "classes": 0},
    },
    sizes={"steps": 150, "noise": 0.5, "train": 1000},
    tuning=Tuning((0.015, 0.05, 0.15, 0.4, 1.0, 2.5), "validation"),
    seeds=5,
    systems=("batch_renorm", "batch_norm"),
)
