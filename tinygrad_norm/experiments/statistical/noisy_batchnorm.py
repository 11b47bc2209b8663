"""Noisy BatchNorm: with distributions that drift more than without any norm, it still trains about as well.

BatchNorm was said to help because it keeps the distributions of a layer's inputs steady. So the paper shakes
them: behind each BatchNorm, for each step anew,

    μ_c ~ U(-0.5, 0.5)    σ_c ~ U(1, 1.25)                                   for each channel c
    y   = s·x + m,        m ~ U(μ_c - 0.1, μ_c + 0.1),  s ~ N(σ_c, 0.1²)     for each number of the batch

The next layer sees inputs that jump from step to step, which no learning can foresee. If steady distributions
were the reason, this network should train like one without BatchNorm.

Here, a VGG of six convolutions learns the digits by plain SGD. The mean training loss over all steps tells
how well it trains. Drift is measured in front of each ReLU, with the same 256 images before and after a step:
by how many standard deviations the mean of a channel moves, and how far the logarithm of the deviation, in
the mean over channels. The noise is drawn for each channel, not for each pixel of it; the paper's networks
have 16 layers. The test accuracy is without noise, with running statistics of noisy inputs, which it lowers.
"""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...autograd import Tensor, no_grad
from ...backends.random import manual_seed
from ...ops import rand, randn, tensor
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..measured_parts import few_digits
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread
from .small_vgg import batches, load_digits, loss_of, make_vgg

NORM, NOISY, PLAIN = "BatchNorm", "noisy BatchNorm", "no normalization"
SHIFT, SCALE, EACH = 0.5, 0.25, 0.1
COST, GAIN, PROBE, LOOKS = 0.25, 1.2, 256, 20


class NoisyBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with noise behind it in training: one shift and scale of each channel for each step."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized x (N, C, H, W), in training with noise."""
        x = super().forward(x)
        if not self.training:
            return x
        channels = (1, x.shape[1], 1, 1)
        shift = SHIFT * (2 * rand(*channels) - 1) + EACH * (2 * rand(*x.shape) - 1)
        scale = 1 + SCALE * rand(*channels) + EACH * randn(*x.shape)
        return scale * x + shift


NORMS = {NORM: nn.BatchNorm2d, NOISY: NoisyBatchNorm2d, PLAIN: None}


def moments(model: Any, images: Tensor) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the mean and deviation of each channel in front of each ReLU, in training mode."""
    x, found = images, []
    with no_grad():
        for layer, following in pairwise(copy.deepcopy(model)):
            x = layer(x)
            if isinstance(following, nn.ReLU):
                values = x.numpy().astype(np.float64)
                found.append((values.mean((0, 2, 3)), values.std((0, 2, 3))))
    return found


def drift(before: list[Any], after: list[Any]) -> tuple[float, float]:
    """Return how far means moved, in deviations, and the logarithms of deviations; the mean of all."""
    means = [abs(m - m0) / (s0 + 1e-12) for (m0, s0), (m, _) in zip(before, after, strict=True)]
    deviations = [
        abs(np.log((s + 1e-12) / (s0 + 1e-12))) for (_, s0), (_, s) in zip(before, after, strict=True)
    ]
    return float(np.concatenate(means).mean()), float(np.concatenate(deviations).mean())


def measure(seed: int, norm: str, lr: float, steps: int) -> dict[str, Any]:
    """Return the mean training loss, the training losses thinned out, the drifts and the test accuracy."""
    manual_seed(seed)
    model, digits = make_vgg(NORMS[norm]), load_digits()
    drawn = batches(digits.train, np.random.default_rng(seed))
    probe = tensor(digits.train.images[:PROBE])
    optimizer = optim.SGD(model.parameters(), lr)
    looked = set(np.linspace(0, steps - 1, LOOKS).astype(int).tolist())
    losses, drifts = [], []
    for step in range(steps):
        before = moments(model, probe) if step in looked else None
        optimizer.zero_grad()
        loss = loss_of(model, next(drawn))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if before is not None:
            drifts.append(drift(before, moments(model, probe)))
    model.eval()
    with no_grad():
        correct = model(tensor(digits.test.images)).numpy().argmax(1) == digits.test.labels
    parts = np.array_split(np.array(losses), min(steps, 30))
    of_mean, of_deviation = np.array(drifts).T
    return {
        "loss": float(np.mean(losses)) if np.isfinite(losses).all() else float("inf"),
        "curve": few_digits([part.mean() for part in parts]),
        "steps": steps,
        "drift": float(of_mean.mean()),
        "drift of the deviation": float(of_deviation.mean()),
        "accuracy": float(correct.mean()),
    }


def judge(results: Results) -> Verdict:
    """Holds if, for every seed, noise raises the mean training loss by less than a quarter of what leaving
    out BatchNorm does, and the means drift more with noise than in both other networks. Does not hold if one
    of the two fails for every seed. Cannot be told if the seeds differ, or if BatchNorm does not help: for a
    seed, the loss without is not 1.2 times that with it.
    """
    norm, noisy, plain = (results.values(name, "loss") for name in (NORM, NOISY, PLAIN))
    drifts = {name: results.values(name, "drift") for name in (NORM, NOISY, PLAIN)}
    losses = f"{spread(norm)} with BatchNorm, {spread(noisy)} with noise, {spread(plain)} without"
    if not (plain >= GAIN * norm).all():
        return cannot_be_told(f"BatchNorm does not help here: the mean loss is {losses}")
    cost = (noisy - norm) / (plain - norm)
    moved = ", ".join(f"{spread(drifts[name], 2)}" for name in (NORM, NOISY, PLAIN))
    reason = f"noise costs {spread(cost, percent=True)} of what BatchNorm gains: the mean loss is {losses}"
    reason += f"; the means drift by {moved} deviations a step"
    trains, drifts_more = cost < COST, drifts[NOISY] > np.maximum(drifts[NORM], drifts[PLAIN])
    if trains.all() and drifts_more.all():
        return holds(reason)
    fails = not trains.any() or not drifts_more.any()
    return does_not_hold(reason) if fails else cannot_be_told(f"the seeds differ: {reason}")


def tabulate(results: Results) -> list[Row]:
    """Return losses, drifts and accuracies, and what noise costs."""
    norm, noisy, plain = (results.values(name, "loss") for name in (NORM, NOISY, PLAIN))
    cost = spread((noisy - norm) / (plain - norm), percent=True)
    rows = [Row("what noise costs, of what BatchNorm gains", cost, "nearly nothing")]
    for name in results.settings:
        label = f"{name}, lr {results.chosen[name]:g}"
        rows.append(Row(f"{label}: mean training loss", spread(results.values(name, "loss"))))
        rows.append(
            Row(f"{label}: drift of the mean a step, in deviations", spread(results.values(name, "drift")))
        )
        rows.append(
            Row(
                f"{label}: drift of log deviation a step",
                spread(results.values(name, "drift of the deviation")),
            )
        )
        rows.append(Row(f"{label}: test accuracy", spread(results.values(name, "accuracy"), percent=True)))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the training losses, and the drift of each seed."""
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for k, name in enumerate(results.settings):
        curves = results.values(name, "curve")
        steps = (np.arange(curves.shape[1]) + 0.5) * results.mean(name, "steps") / curves.shape[1]
        left.plot(steps, np.median(curves, 0), f"C{k}", label=f"{name}, lr {results.chosen[name]:g}")
        left.fill_between(steps, curves.min(0), curves.max(0), color=f"C{k}", alpha=0.2)
        drifts = results.values(name, "drift")
        right.plot(np.full(len(drifts), k), drifts, f"C{k}o", ms=5, mfc="none")
    left.set(yscale="log", xlabel="step of training", ylabel="training loss, nats", title="training")
    right.set(yscale="log", ylabel="drift of the means, deviations a step", title="drift, each seed")
    right.set_xticks(range(3), ["BN", "noisy", "none"])
    right.set_xlim(-0.5, 2.5)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "noisy-batchnorm",
    measure,
    judge,
    tabulate,
    draw,
    title="BatchNorm with noise behind it trains about as well",
    claim="BatchNorm followed by noise that shifts and scales every feature anew in each step trains about "
    "as well as BatchNorm, and far better than without, though the distributions drift more.",
    source="Santurkar, Tsipras, Ilyas and Mądry 2018, arXiv:1805.11604, section 2.1, figure 2 and appendix A",
    paper="noisy BatchNorm nearly matches BatchNorm, and drifts more than a network without (VGG, CIFAR-10)",
    known="from memory",
    settings={name: {"norm": name} for name in NORMS},
    sizes={"steps": 300},
    tuning=Tuning((0.03, 0.1, 0.3, 1.0), "loss"),
    seeds=5,
    systems=("noisy_batch_norm", "batch_norm"),
)
