"""BatchNorm and GroupNorm with 32 … 2 images in a batch: the error of BatchNorm rises, that of GroupNorm not.

    BatchNorm   a channel's mean and variance are over n = B·H·W values of the B images of the batch
    GroupNorm   they are over H·W values of each channel of a group, of one image: B has no part in it

The relative error of a variance of n independent values is about √(2/n). With few images, training sees noise
that evaluation, with running statistics, does not. As in the paper, all trainings see the same number of
images, and the learning rate is proportional to the batch; that for 32 images is tuned for each norm, for
the best mean over all sizes of batches.

A network of four convolutions (64, 16, 16 and 4 positions) learns 1000 digits. In each step they get new
noise, so that no network learns them by heart: with overfitting, the noise of BatchNorm would be of use.
Groups have 8 channels. The paper has ResNet-50 on ImageNet, 32 groups, and so many images on each GPU.

"BatchNorm over 2 of 32" trains with batches of 32, of which each pair is normalized on its own: it has the
statistics of small batches, and the gradients of large ones. It tells the statistics apart from all else.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ...backends.random import manual_seed
from ...module import Module
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..training_parts import convolutions, evaluate, few_digits, fit, shuffled
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

BATCH, GROUP, GHOST = "BatchNorm", "GroupNorm", "BatchNorm over 2 of 32"
LEARNED, SHARE = 0.15, 1 / 5
LAYERS = (8, 1), (16, 2), (16, 1), (16, 2)


def _norm(name: str) -> Callable[[int], Module]:
    if name == GROUP:
        return lambda channels: nn.GroupNorm(channels // 8, channels)
    return nn.BatchNorm2d if name == BATCH else lambda channels: nn.GhostBatchNorm2d(channels, 2)


def measure(
    seed: int, norm: str, lr: float, batches: tuple[int, ...], images: int, noise: float, train: int
) -> dict[str, Any]:
    """Return the test error and the last training loss for each batch size, and the mean validation loss."""
    splits = few_digits(seed, train, noise)
    found = []
    for size in batches:
        manual_seed(seed)
        model = convolutions(_norm(norm), LAYERS)
        drawn = shuffled(np.random.default_rng(seed), splits[0], size, noise)
        losses = fit(model, drawn, images // size, lr * size / 32)
        last = losses[-max(1, len(losses) // 5) :].mean()
        found.append((evaluate(model, splits[2])[1], last, evaluate(model, splits[1])[0]))
    errors, trained, validation = np.array(found).T
    return {"batches": batches, "errors": errors, "training": trained, "validation": validation.mean()}


def judge(results: Results) -> Verdict:
    """Holds if, with all 95 % intervals over the seeds, the test error of BatchNorm is larger with 2 images
    than with 32, that of GroupNorm with 2 images is smaller than that of BatchNorm, and the error of
    GroupNorm rises, in the mean, by at most a fifth of what BatchNorm's does. Does not hold if one of the
    first two differences has the other sign with its interval, or if GroupNorm's error rises by more.
    Cannot be told if an interval contains 0, or if a network with 32 images errs in more than 15 %.
    """
    batch, group = results.values(BATCH, "errors"), results.values(GROUP, "errors")
    rise, group_rise, gain = (
        batch[:, -1] - batch[:, 0],
        group[:, -1] - group[:, 0],
        batch[:, -1] - group[:, -1],
    )
    if not max(batch[:, 0].max(), group[:, 0].max()) <= LEARNED:
        return cannot_be_told("a network did not learn the task with 32 images")
    reason = (
        f"from 32 images to 2, the error changes by {_points(rise)} points with BatchNorm and by "
        f"{_points(group_rise)} with GroupNorm; with 2, BatchNorm - GroupNorm is {_points(gain)}"
    )
    (low, high), (lower, higher) = interval(rise), interval(gain)
    if high < 0 or higher < 0 or (low > 0 and group_rise.mean() > SHARE * rise.mean()):
        return does_not_hold(reason)
    return holds(reason) if low > 0 and lower > 0 else cannot_be_told(f"{reason}: the seeds differ")


def _points(differences: Any) -> str:
    return spread(100 * differences, 2)


def tabulate(results: Results) -> list[Row]:
    """Return the errors by batch size, the training losses, and the differences between the norms."""
    rows = []
    for name in results.settings:
        sizes, errors = results.values(name, "batches")[0], results.values(name, "errors")
        for size, of_size in zip(sizes, errors.T, strict=True):
            rows.append(Row(f"{name}, {size:.0f} images: test error", spread(of_size, percent=True)))
        losses = spread(results.values(name, "training")[:, -1])
        rows.append(Row(f"{name}, {sizes[-1]:.0f} images: training loss at the end", losses))
    batch, group = results.values(BATCH, "errors"), results.values(GROUP, "errors")
    for size, at, paper in ((32, 0, "about 0"), (2, -1, "10.6")):
        difference = _points(batch[:, at] - group[:, at])
        rows.append(Row(f"{size} images: BatchNorm - GroupNorm, points", difference, paper))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the test errors and the last training losses over the batch size."""
    left, right = figure.subplots(1, 2)
    for axes, of, scale in ((left, "errors", 100), (right, "training", 1)):
        for k, name in enumerate((BATCH, GROUP)):
            sizes, values = results.values(name, "batches")[0], scale * results.values(name, of)
            axes.plot(sizes, values.T, f"C{k}", lw=1, alpha=0.4)
            axes.plot(sizes, values.mean(0), f"C{k}o-", label=f"{name} (thin: each seed)")
        values = scale * results.values(GHOST, of)[:, 0]
        axes.plot([32] * len(values), values, "C2x", ls="", label=GHOST)
        axes.set(xscale="log", xlabel="images in a batch")
        axes.invert_xaxis()
        axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    left.set_ylabel("test error (%)")
    right.set_ylabel("training loss, last fifth")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)


register(
    "small-batches",
    measure,
    judge,
    tabulate,
    draw,
    title="BatchNorm and GroupNorm with small batches",
    claim="The error of BatchNorm rises as the batch shrinks to 2 images; that of GroupNorm does not, and is "
    "lower there.",
    source="Wu and He 2018, arXiv:1803.08494, abstract and section 4.1",
    paper="with 2 images, the error of GroupNorm is 10.6 points lower (ResNet-50, ImageNet)",
    known="its abstract",
    settings={BATCH: {"norm": BATCH}, GROUP: {"norm": GROUP}, GHOST: {"norm": GHOST, "batches": (32,)}},
    sizes={"batches": (32, 16, 8, 4, 2), "images": 5000, "noise": 0.5, "train": 1000},
    tuning=Tuning((0.03, 0.08, 0.2, 0.5), "validation"),
    seeds=5,
    systems=("batch_norm", "group_norm"),
)
