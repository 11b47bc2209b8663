"""With BatchNorm, higher learning rates train a network, and the scale of its initial weights matters less.

Without a norm, weights of s times He et al.'s scale multiply the output of L layers by s^L, and
gradients too.
With BatchNorm behind each layer, BN(s·W·x) = BN(W·x): the forward does not know s, and the gradient in s·W is
that in W divided by s, so a step turns the weights in proportion to lr/s². That gradient is at a right angle
to W, so each step makes W longer: a learning rate that is too large makes itself smaller.

Here, an MLP of six hidden layers learns the digits by plain SGD, for all pairs of nine learning rates and
seven scales s. A pair trains if the test accuracy in the end is at least 90 %. The last layer, which has no
norm behind it, starts from weights of scale s too. The paper's network is Inception, for ImageNet, and its
learning rate was chosen by hand.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...autograd import no_grad
from ...backends.random import manual_seed
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread
from .small_vgg import batches, load_digits, loss_of

NORM, PLAIN = "BatchNorm", "no normalization"
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
SCALES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
TRAINS, HIGHER = 0.9, 3.0


def make_mlp(normalized: bool, scale: float, hidden: int = 6, width: int = 64) -> nn.Sequential:
    """Return an MLP whose weights have `scale` times He et al.'s standard deviation; its biases are 0."""
    layers: list[Any] = [nn.Flatten()]
    for _ in range(hidden):
        layers += [nn.Linear(64 if len(layers) == 1 else width, width)]
        layers += [*([nn.BatchNorm1d(width)] if normalized else []), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, scale * (2 / layer.weight.shape[1]) ** 0.5)
            nn.init.zeros_(layer.bias)
    return model


def accuracy_of(seed: int, normalized: bool, lr: float, scale: float, steps: int) -> float:
    """Train, and return the test accuracy; a training whose loss is not finite ends there."""
    manual_seed(seed)
    model, digits = make_mlp(normalized, scale), load_digits()
    drawn = batches(digits.train, np.random.default_rng(seed))
    optimizer = optim.SGD(model.parameters(), lr)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(model, next(drawn))
            if not np.isfinite(loss.item()):
                break
            loss.backward()
            optimizer.step()
        model.eval()
        with no_grad():
            guessed = model(tensor(digits.test.images)).numpy().argmax(1)
    return float((guessed == digits.test.labels).mean())


def measure(
    seed: int, normalized: bool, rates: tuple[float, ...], scales: tuple[float, ...], steps: int
) -> dict[str, Any]:
    """Return the test accuracies (scales, rates)."""
    found = [[accuracy_of(seed, normalized, lr, scale, steps) for lr in rates] for scale in scales]
    return {"accuracies": np.round(found, 4), "rates": rates, "scales": scales}


def highest_rate(results: Results, name: str) -> NDArray[np.float64]:
    """Return, for each seed, the highest learning rate that trains at the scale nearest 1; 0 if none does."""
    rates, scales = (results.values(name, each)[0] for each in ("rates", "scales"))
    row = int(abs(np.log(scales)).argmin())
    return np.where(results.values(name, "accuracies")[:, row] >= TRAINS, rates, 0).max(1)


def most_scales(results: Results, name: str) -> NDArray[np.float64]:
    """Return, for each seed, how many scales train, at the learning rate at which most do."""
    return (results.values(name, "accuracies") >= TRAINS).sum(1).max(1).astype(np.float64)


def judge(results: Results) -> Verdict:
    """Holds if, for every seed, (1) the highest learning rate that trains from He et al.'s scale is at least
    3 times as high with BatchNorm, and (2) more scales train with it, each network at the learning rate at
    which most do. Does not hold if (1) or (2) fails for every seed. Cannot be told if the seeds differ, or if
    a network trains nowhere.
    """
    rates = {name: highest_rate(results, name) for name in (NORM, PLAIN)}
    scales = {name: most_scales(results, name) for name in (NORM, PLAIN)}
    if not all(scales[name].all() for name in (NORM, PLAIN)):
        return cannot_be_told("a network trains with no learning rate and no scale: nothing to compare")
    faster, steadier = rates[NORM] >= HIGHER * rates[PLAIN], scales[NORM] > scales[PLAIN]
    reason = (
        f"from He's scale, learning rates train up to {spread(rates[NORM])} with BatchNorm and "
        f"{spread(rates[PLAIN])} without; at one learning rate, {spread(scales[NORM])} and "
        f"{spread(scales[PLAIN])} of {_number_of_scales(results)} scales do"
    )
    if faster.all() and steadier.all():
        return holds(reason)
    fails = not faster.any() or not steadier.any()
    return does_not_hold(reason) if fails else cannot_be_told(f"the seeds differ: {reason}")


def _number_of_scales(results: Results) -> int:
    return len(results.values(NORM, "scales")[0])


def tabulate(results: Results) -> list[Row]:
    """Return the highest learning rates, the numbers of scales and pairs that train, the best accuracy."""
    times = highest_rate(results, NORM) / np.maximum(highest_rate(results, PLAIN), 1e-12)
    rows = [Row("highest lr from He's scale: BatchNorm/none", spread(times), "30")]
    for name in (NORM, PLAIN):
        accuracies = results.values(name, "accuracies")
        pairs = (accuracies >= TRAINS).mean((1, 2))
        rows.append(
            Row(f"{name}: highest lr that trains from He's scale", spread(highest_rate(results, name)))
        )
        what = f"{name}: scales that train at one lr, of {_number_of_scales(results)}"
        rows.append(Row(what, spread(most_scales(results, name))))
        rows.append(Row(f"{name}: pairs that train", spread(pairs, percent=True)))
        rows.append(Row(f"{name}: best test accuracy", spread(accuracies.max((1, 2)), percent=True)))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw a heat map of the test accuracy for each network, in the mean over the seeds."""
    cells = figure.subplots(1, 2, sharey=True)
    for cell, name in zip(cells, (NORM, PLAIN), strict=True):
        rates, scales = (results.values(name, each)[0] for each in ("rates", "scales"))
        mean = results.values(name, "accuracies").mean(0)
        image = cell.imshow(100 * mean, origin="lower", vmin=0, vmax=100, cmap="viridis", aspect="auto")
        cell.set(xlabel="learning rate", title=name)
        cell.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=45)
        cell.set_yticks(range(len(scales)), [f"{scale:g}" for scale in scales])
        for (y, x), value in np.ndenumerate(mean):
            color = "black" if value > 0.6 else "white"
            cell.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=color)
    cells[0].set_ylabel("initial weights, in He's scales")
    figure.colorbar(image, ax=cells, label="test accuracy, %")


register(
    "rates-and-initialization",
    measure,
    judge,
    tabulate,
    draw,
    title="Learning rate and scale of the initial weights, with and without BatchNorm",
    claim="BatchNorm allows much higher learning rates, and less care about initialization.",
    source="Ioffe and Szegedy 2015, arXiv:1502.03167, abstract and section 4.2.2; "
    "Bjorck et al. 2018, arXiv:1806.02375",
    paper="trains at 30 times the learning rate of Inception without BatchNorm",
    known="from memory",
    settings={NORM: {"normalized": True}, PLAIN: {"normalized": False}},
    sizes={"rates": RATES, "scales": SCALES, "steps": 150},
    systems=("batch_norm",),
)
