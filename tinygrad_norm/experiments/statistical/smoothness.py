"""BatchNorm makes the loss smoother along the gradient: its range, and the change of the gradient.

At some steps of a training, w is the parameters and g = ∇L(w) the gradient of the batch at hand. On the way
w - η·g, for η from 0.05 to 0.4, three things are measured, as in the paper:

    range of the loss       max L(w - η·g) - min L(w - η·g)
    change of the gradient  max ‖∇L(w - η·g) - g‖
    effective β             max ‖∇L(w - η·g) - g‖/(η·‖g‖)

The smaller they are, the longer a step may be, and the better the gradient predicts its effect. The
paper proves, for one layer, ‖∇L̂‖² ≤ (γ²/σ²)·(‖∇L‖² - what lies along 1 and x̂): BatchNorm takes away the parts
of the gradient that shift and scale the features, and divides by σ. The other side of it: the loss does not
depend on the length of w, so β grows as 1/‖w‖² where weights are short.

Here, a VGG of six convolutions learns the digits by plain SGD, each network with its own learning rate, but
measured with the same η. They are also compared at equal losses, from 0.1 to 2: a network that has learned
everything has no gradients left, and would be called smooth for that. The paper's networks have 16 layers and
learn CIFAR-10.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...autograd import no_grad
from ...backends.random import manual_seed
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..measured_parts import few_digits, gradient
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .small_vgg import Batch, batches, last_tenth, load_digits, loss_of, make_vgg

NORM, PLAIN = "BatchNorm", "no normalization"
MEASURES = "range of the loss", "change of the gradient", "effective β"
LENGTHS = np.linspace(0.05, 0.4, 8)
LEARNED = np.log(10) / 2
EQUAL = 0.1, 2.0
"""Losses at which networks are compared, in nats."""


def along_the_gradient(model: Any, batch: Batch) -> tuple[float, float, float]:
    """Return the three measures at the model's parameters, which have the gradient of the batch."""
    parameters = list(model.parameters())
    start = [p.detach().numpy().copy() for p in parameters]
    g = [gradient(p).copy() for p in parameters]
    losses, changes = [], []
    for eta in LENGTHS:
        _set(parameters, [w - eta * dw for w, dw in zip(start, g, strict=True)])
        model.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        losses.append(loss.item())
        changes.append(_length([gradient(p) - dw for p, dw in zip(parameters, g, strict=True)]))
    _set(parameters, start)
    for p, dw in zip(parameters, g, strict=True):
        p.grad = None if p.grad is None else p.grad.new_tensor(dw)
    beta = max(np.array(changes) / (LENGTHS * _length(g)))
    return max(losses) - min(losses), max(changes), float(beta)


def _set(parameters: list[Any], values: list[NDArray[Any]]) -> None:
    with no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(p.new_tensor(value))


def _length(arrays: list[NDArray[Any]]) -> float:
    return float(np.sqrt(sum((a.astype(np.float64) ** 2).sum() for a in arrays)))


def measure(seed: int, normalized: bool, lr: float, steps: int, looks: int) -> dict[str, Any]:
    """Return the three measures and the loss at so many looks, evenly spaced, and the last loss."""
    manual_seed(seed)
    model = make_vgg(nn.BatchNorm2d if normalized else None)
    drawn = batches(load_digits().train, np.random.default_rng(seed))
    optimizer = optim.SGD(model.parameters(), lr)
    looked = set(np.linspace(0, steps - 1, looks).astype(int).tolist())
    losses, found = [], []
    for step in range(steps):
        batch = next(drawn)
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        losses.append(loss.item())
        if step in looked:
            found.append((step, loss.item(), *along_the_gradient(model, batch)))
        optimizer.step()
    at, loss_there, *measures = np.array(found).T
    return {
        "steps": at,
        "losses": few_digits(loss_there),
        "loss": last_tenth(losses),
        **{name: few_digits(values) for name, values in zip(MEASURES, measures, strict=True)},
    }


def ratios(results: Results, measure: str) -> NDArray[np.float64]:
    """Return, for each seed, the geometric mean over the looks with BatchNorm, divided by that without."""
    mean = {name: np.log(results.values(name, measure)).mean(1) for name in (NORM, PLAIN)}
    return np.exp(mean[NORM] - mean[PLAIN])


def judge(results: Results) -> Verdict:
    """Holds if each of the three measures, in the geometric mean over the training, is smaller with
    BatchNorm: the 95 % interval of the logarithm of the ratio is below 0. Does not hold if one of the
    intervals is above 0. Cannot be told otherwise, or if a network does not learn: its last loss is above
    ln(10)/2.
    """
    for name in (NORM, PLAIN):
        if not results.values(name, "loss").max() <= LEARNED:
            return cannot_be_told(
                f"{name}: does not learn, its loss is {spread(results.values(name, 'loss'))}"
            )
    found = {measure: ratios(results, measure) for measure in MEASURES}
    reason = "with BatchNorm divided by without: " + ", ".join(
        f"{measure} {spread(ratio, 2)}" for measure, ratio in found.items()
    )
    intervals = [interval(np.log(ratio)) for ratio in found.values()]
    if all(high < 0 for _, high in intervals):
        return holds(reason)
    return does_not_hold(reason) if any(low > 0 for low, _ in intervals) else cannot_be_told(reason)


def ratios_at_equal_losses(results: Results, measure: str) -> NDArray[np.float64]:
    """Return the ratios where the loss is within EQUAL: to the power law of the measure without BatchNorm,
    fitted over its losses; NaN if there are too few.
    """
    found = []
    for seed in range(len(results.seeds)):
        points = {}
        for name in (NORM, PLAIN):
            losses = results.values(name, "losses")[seed]
            within = (losses >= EQUAL[0]) & (losses <= EQUAL[1])
            points[name] = np.log([losses[within], results.values(name, measure)[seed][within]])
        (x, y), (x_plain, y_plain) = points[NORM], points[PLAIN]
        if not len(x) or len(x_plain) < 3:
            found.append(np.nan)
            continue
        line = np.polyfit(x_plain, y_plain, 1)
        found.append(np.exp((y - np.polyval(line, x)).mean()))
    return np.array(found)


def tabulate(results: Results) -> list[Row]:
    """Return the ratios, each measure in the geometric mean, at equal losses too, and the last losses."""
    rows = [
        Row(f"{measure}: BatchNorm/none", spread(ratios(results, measure)), "below 1") for measure in MEASURES
    ]
    for name in (NORM, PLAIN):
        label = f"{name}, lr {results.chosen[name]:g}"
        for measure in MEASURES:
            mean = np.exp(np.log(results.values(name, measure)).mean(1))
            rows.append(Row(f"{label}: {measure}", spread(mean)))
        rows.append(Row(f"{label}: training loss of the last tenth", spread(results.values(name, "loss"))))
    for measure in MEASURES:
        what = f"{measure}: BatchNorm/none at equal losses"
        rows.append(Row(what, spread(ratios_at_equal_losses(results, measure))))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the three measures over the training: the median of the seeds, and their range."""
    cells = figure.subplots(1, 3)
    for cell, measure in zip(cells, MEASURES, strict=True):
        for k, name in enumerate((NORM, PLAIN)):
            steps, values = results.values(name, "steps")[0], results.values(name, measure)
            label = f"{name}, lr {results.chosen[name]:g}" if cell is cells[0] else None
            cell.plot(steps, np.median(values, 0), f"C{k}", label=label)
            cell.fill_between(steps, values.min(0), values.max(0), color=f"C{k}", alpha=0.2)
        cell.set(yscale="log", xlabel="step of training", title=measure)
        cell.grid(alpha=0.3)
    cells[0].set_ylabel("along η·gradient, η = 0.05 … 0.4")
    legend_below(figure)


register(
    "smoother-loss",
    measure,
    judge,
    tabulate,
    draw,
    title="BatchNorm makes the loss smoother along the gradient",
    claim="Along a step, the loss varies less, the gradient changes less and the effective β is smaller with "
    "BatchNorm than without, throughout the training.",
    source="Santurkar, Tsipras, Ilyas and Mądry 2018, arXiv:1805.11604, section 3.1 and figure 4",
    paper="all three are clearly smaller with BatchNorm, for a VGG on CIFAR-10",
    known="from memory",
    settings={NORM: {"normalized": True}, PLAIN: {"normalized": False}},
    sizes={"steps": 300, "looks": 20},
    tuning=Tuning((0.03, 0.1, 0.3, 1.0), "loss"),
    seeds=5,
    systems=("batch_norm",),
)
