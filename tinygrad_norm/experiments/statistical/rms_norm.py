"""RMSNorm against LayerNorm: the same quality in less time?

    LayerNorm   y = w·(x - mean)/√(var + eps) + b     RMSNorm   y = w·x/√(mean(x²) + eps)

RMSNorm neither subtracts a mean nor adds a bias; the paper finds that what matters is the scale. It has one
sum per row instead of two, and one parameter instead of two.

A GPT of 12 layers, pre-LN, reads text, character by character, with each norm, and without any as the
control. The learning rate is tuned for each. Then two networks take steps in turn, and the CPU time of each
is measured: of the many turns the fastest counts, because a busy machine can only make a step slower. How
much is saved depends on the part that norms have in a step, so their own time is measured as well, on rows
as they occur in the network and on wide ones. The norms run as the compiled loops of `tinygrad_norm[fast]`,
if that is installed, else as NumPy. The paper's largest savings are those of recurrent networks, where a
norm has a large part.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn, optim
from ...backends.random import manual_seed
from ...ops import randn
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .small_gpt import SmallGPT, batches_of, default_text, loss_of, train, unseen_loss

NORMS: dict[str, Callable[[int], Any]] = {
    "LayerNorm": nn.LayerNorm,
    "RMSNorm": nn.RMSNorm,
    "no norm": lambda features: nn.Identity(),
}
MATTERS, SAVED = 0.05, 0.07
"""A difference of the loss, in nats per character, that counts; the least that the paper saves."""
CONTEXT, SIZE = 32, 16
ROWS = {"narrow": 32, "wide": 768}
"""Features of the rows on which the norms alone are timed, 512 rows each."""


def measure(
    seed: int, norm: str, lr: float, steps: int, layers: int, features: int, turns: int
) -> dict[str, Any]:
    """Return the loss on unseen text, the training losses, and with RMSNorm what it saves of the time."""
    text = default_text()
    model = make(norm, seed, layers, features)
    batches = batches_of(text.train, CONTEXT, SIZE, seed)
    losses = train(model, optim.Adam(model.parameters(), lr), batches, steps, steps // 10)
    whole, every = [*losses, *[np.inf] * (steps - len(losses))], max(1, steps // 40)
    found = {
        "loss": unseen_loss(model, text.validation, CONTEXT),
        "curve": [round(float(np.mean(whole[k : k + every])), 3) for k in range(0, steps, every)],
    }
    if norm == "RMSNorm":
        pair = "LayerNorm", norm
        networks = [make(name, seed, layers, features) for name in pair]
        found["saved"] = saved([training_step(network, seed) for network in networks], turns)
        for rows, width in ROWS.items():
            alone = [norm_step(NORMS[name](width), width) for name in pair]
            found[f"saved, {rows} rows"] = saved(alone, 10 * turns)
    return found


def make(norm: str, seed: int, layers: int, features: int) -> SmallGPT:
    """Return the network with a norm; its weights depend on the seed alone."""
    manual_seed(seed)
    return SmallGPT(len(default_text().alphabet), CONTEXT, features, layers, "pre", NORMS[norm])


def training_step(model: SmallGPT, seed: int) -> Callable[[], Any]:
    """Return a function that takes a step of training."""
    batch = next(batches_of(default_text().train, CONTEXT, SIZE, seed))
    optimizer = optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model, *batch).backward()
        optimizer.step()

    return step


def norm_step(norm: Any, width: int) -> Callable[[], Any]:
    """Return a function that runs the norm alone, forward and backward."""
    x, dy = randn(CONTEXT * SIZE, width, requires_grad=True), randn(CONTEXT * SIZE, width)
    return lambda: norm(x).backward(dy)


def saved(steps: list[Callable[[], Any]], turns: int) -> float:
    """Return the part of the time of the first function that the second saves: CPU time, fastest turns."""
    times = np.empty((turns, len(steps)))
    for step in steps:
        step()  # compiles, allocates
    for turn in times:
        for k, step in enumerate(steps):
            begin = time.process_time()
            step()
            turn[k] = time.process_time() - begin
    first, second = times.min(0)
    return float(1 - second / first)


def judge(results: Results) -> Verdict:
    """Holds if the loss on unseen text with RMSNorm is at most 0.05 nats per character above that with
    LayerNorm, and a step takes at least 7 % less time; each has to be true of the whole 95 % interval of the
    mean. Does not hold if one of them is false for the whole interval. Cannot be told otherwise, or if the
    network without a norm is not worse than that with LayerNorm by 0.05 or more, in the mean.
    """
    more = results.values("RMSNorm", "loss") - results.values("LayerNorm", "loss")
    less = results.values("RMSNorm", "saved")
    control = results.mean("no norm", "loss") - results.mean("LayerNorm", "loss")
    change = f"the loss by {spread(more, 2)} nats and the time of a step by {spread(-less, 2, percent=True)}"
    reason = f"RMSNorm changes {change}, where the paper saves {100 * SAVED:.0f} % or more"
    if not control >= MATTERS:
        return cannot_be_told(f"{reason}; but without a norm the loss is {control:.2g} higher only")
    (low_more, high_more), (low_less, high_less) = interval(more), interval(less)
    if low_more > MATTERS or high_less < SAVED:
        return does_not_hold(reason)
    if high_more <= MATTERS and low_less >= SAVED:
        return holds(reason)
    return cannot_be_told(f"{reason}: the seeds differ too much")


def tabulate(results: Results) -> list[Row]:
    """Return the losses, and the parts of the time that are saved."""
    rows = []
    for name in results.settings:
        rows.append(Row(f"{name}: loss on unseen text (nats)", spread(results.values(name, "loss"), 4)))
    more = results.values("RMSNorm", "loss") - results.values("LayerNorm", "loss")
    rows.append(Row("RMSNorm against LayerNorm: loss", spread(more, 2), "comparable"))
    less = spread(results.values("RMSNorm", "saved"), 2, percent=True)
    rows.append(Row("RMSNorm saves, of a step of training", less, "7–64 %"))
    for rows_, width in ROWS.items():
        alone = spread(results.values("RMSNorm", f"saved, {rows_} rows"), 2, percent=True)
        rows.append(Row(f"RMSNorm saves, of the norm alone, {width} features", alone))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the training losses, and the part of the time that is saved."""
    (left, right), top = figure.subplots(1, 2, width_ratios=(3, 2)), 4.2
    for k, name in enumerate(results.settings):
        curves = results.values(name, "curve")
        percent = (np.arange(curves.shape[1]) + 0.5) / curves.shape[1] * 100
        beyond = " (beyond the axis)" * bool(curves.min() > top)
        seed_lines(left, percent, curves, f"{name}, ours{beyond}", f"C{k}")
    left.set(xlabel="steps taken (%)", ylabel="training loss (nats per character)", ylim=(2.2, top))
    left.grid(alpha=0.3)
    kinds = ["saved", *(f"saved, {rows} rows" for rows in ROWS)]
    for k, kind in enumerate(kinds):
        values = 100 * results.values("RMSNorm", kind)
        right.plot([k] * len(values), values, "C1o", ms=4, label="RMSNorm, each seed" if k == 0 else None)
    right.axhspan(7, 64, color="0.85", label="paper, a step: 7–64 %")
    right.axhline(0, color="0.4", lw=1)
    names = ["a step", *(f"norm alone,\n{width} features" for width in ROWS.values())]
    right.set_xticks(range(len(kinds)), names, fontsize=8)
    right.set(ylabel="time saved (% of LayerNorm's)", xlim=(-0.5, len(kinds) - 0.5))
    legend_below(figure, 3)


register(
    "rms-norm-against-layer-norm",
    measure,
    judge,
    tabulate,
    draw,
    title="RMSNorm against LayerNorm: the same quality in less time",
    claim="RMSNorm trains as well as LayerNorm, and takes 7 to 64 % less time.",
    source="Zhang and Sennrich 2019, arXiv:1910.07467, abstract",
    paper="comparable quality, 7–64 % less time",
    known="from memory",
    settings={name: {"norm": name} for name in NORMS},
    sizes={"steps": 200, "layers": 12, "features": 32, "turns": 50},
    tuning=Tuning((0.0003, 0.001, 0.003, 0.01, 0.03), "loss"),
    seeds=5,
    systems=("rms_norm", "layer_norm"),
)
