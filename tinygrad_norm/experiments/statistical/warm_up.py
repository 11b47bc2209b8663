"""Does a transformer need a warm-up of the learning rate? With post-LN it should, with pre-LN it should not.

    post   x ← LN(x + f(x))     pre   x ← x + f(LN(x))

At the start the gradients of post-LN's last layers are large, whatever the depth (gradient_by_depth.py), and
Adam's first steps are of size lr in any case. Without a warm-up these steps push the network where it
ignores its input and predicts how frequent each character is, and it does not come back. Pre-LN's gradients
are smaller by √L.

A GPT of 6 layers reads text, character by character, for 300 steps; with a warm-up the learning rate rises
over the first quarter of them, and it always falls to 0 at the end. The rate is tuned for each of the four.
The paper translates with 6 layers for reading and 6 for writing, trains 100 times longer, and tries two
rates. With 12 layers of ours, most post-LN networks learned nothing in 200 steps, with a warm-up or without.
"""

from typing import Any

import numpy as np

from ... import optim
from ...backends.random import manual_seed
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .small_gpt import SmallGPT, batches_of, default_text, train, unseen_loss

MATTERS = 0.05
"""A difference of the loss, in nats per character, that is called a need: some 2 % of it."""
LEARNED = 0.1
FIRST_SEED = 50
"""Other seeds than those with which the number of layers was chosen."""
POST, POST_WARM = "post-LN, no warm-up", "post-LN, warm-up"
PRE, PRE_WARM = "pre-LN, no warm-up", "pre-LN, warm-up"


def measure(
    seed: int, placement: str, warm_up: float, lr: float, steps: int, layers: int, features: int
) -> dict[str, Any]:
    """Return the loss on unseen text, that of frequencies alone, and the training losses, thinned."""
    seed += FIRST_SEED
    manual_seed(seed)
    text, context = default_text(), 32
    model = SmallGPT(len(text.alphabet), context, features, layers, placement)
    optimizer = optim.Adam(model.parameters(), lr)
    batches = batches_of(text.train, context, 16, seed)
    losses = train(model, optimizer, batches, steps, int(warm_up * steps))
    counts = np.bincount(text.validation)
    shares = counts[counts > 0] / counts.sum()
    every = max(1, steps // 40)
    whole = [*losses, *[np.inf] * (steps - len(losses))]
    return {
        "loss": unseen_loss(model, text.validation, context),
        "of frequencies": float(-(shares * np.log(shares)).sum()),
        "curve": [round(float(np.mean(whole[k : k + every])), 3) for k in range(0, steps, every)],
    }


def judge(results: Results) -> Verdict:
    """The gain is by how much a warm-up lowers the loss on unseen text, seed by seed. Holds if the 95 %
    interval of the mean gain is above 0.05 nats per character for post-LN, and below it for pre-LN. Does not
    hold if it is below 0.05 for post-LN, or above it for pre-LN. Cannot be told if 0.05 is within one, if a
    network with pre-LN, or one with post-LN and warm-up, is not better by 0.1 than the frequencies of the
    characters, or if the best learning rate without warm-up is the smallest that was tried.
    """
    post, pre = _gains(POST, POST_WARM, results), _gains(PRE, PRE_WARM, results)
    learned = results.mean(POST, "of frequencies") - LEARNED
    reason = f"a warm-up lowers the loss by {spread(post, 2)} for post-LN and by {spread(pre, 2)} for pre-LN"
    worst = max(results.values(name, "loss").max() for name in (POST_WARM, PRE, PRE_WARM))
    if not worst < learned:
        return cannot_be_told(f"{reason}; not all networks that should learn did")
    if any(results.chosen[name] == min(results.scores[name]) for name in (POST, PRE)):
        return cannot_be_told(f"{reason}; a still smaller learning rate was not tried")
    (low_post, high_post), (low_pre, high_pre) = interval(post), interval(pre)
    if low_post > MATTERS > high_pre:
        return holds(reason)
    if high_post < MATTERS or low_pre > MATTERS:
        return does_not_hold(reason)
    unsure = " and ".join(
        name
        for name, low, high in (("post-LN", low_post, high_post), ("pre-LN", low_pre, high_pre))
        if low <= MATTERS <= high
    )
    return cannot_be_told(f"{reason}; for {unsure} the interval of the mean has both sides of {MATTERS}")


def _gains(without: str, with_it: str, results: Results) -> Any:
    return results.values(without, "loss") - results.values(with_it, "loss")


def tabulate(results: Results) -> list[Row]:
    """Return the losses and gains, and at which learning rates each setting learned."""
    papers = {POST: "8.45 BLEU", POST_WARM: "about 34 BLEU", PRE: "comparable", PRE_WARM: "–"}
    rows = []
    for name in results.settings:
        rows.append(
            Row(f"{name}: loss on unseen text (nats)", spread(results.values(name, "loss")), papers[name])
        )
    for name, pair in (("post-LN", (POST, POST_WARM)), ("pre-LN", (PRE, PRE_WARM))):
        rows.append(Row(f"{name}: gain of a warm-up", spread(_gains(*pair, results), 2)))
    frequencies = results.mean(POST, "of frequencies")
    rows.append(Row("loss of the characters' frequencies", f"{frequencies:.3g}"))
    for name in results.settings:
        fine = [f"{lr:g}" for lr, loss in results.scores[name].items() if loss < frequencies - LEARNED]
        rows.append(Row(f"{name}: learns at the rates", ", ".join(fine) or "none"))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the loss over the learning rate, and the training losses at the best one."""
    left, right = figure.subplots(1, 2)
    colors = {POST: "C1", POST_WARM: "C0", PRE: "C3", PRE_WARM: "C2"}
    for name in results.settings:
        rates, losses = zip(*results.scores[name].items(), strict=True)
        style = "--" if name in (POST, PRE) else "-"
        left.plot(rates, losses, colors[name], ls=style, marker=".", lw=1)
        curves = results.values(name, "curve")
        percent = (np.arange(curves.shape[1]) + 0.5) / curves.shape[1] * 100
        seed_lines(right, percent, curves, name, colors[name], ls=style)
    frequencies = results.mean(POST, "of frequencies")
    for axes in (left, right):
        axes.axhline(frequencies, color="0.4", lw=1, ls=":")
        axes.grid(alpha=0.3)
        axes.set_ylim(2.1, 3.8)
    right.lines[-1].set_label("frequencies of the characters")
    left.set(xscale="log", xlabel="highest learning rate", ylabel="loss on unseen text (nats per character)")
    right.set(xlabel="steps taken (%), at the best rate", ylabel="training loss (nats per character)")
    left.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=8)
    left.set_xticks([], minor=True)
    legend_below(figure)


register(
    "warm-up-for-post-ln",
    measure,
    judge,
    tabulate,
    draw,
    title="Post-LN needs a warm-up, pre-LN does not",
    claim="Without a warm-up of the learning rate a post-LN transformer trains badly; a pre-LN one "
    "does as well as with it.",
    source="Xiong et al. 2020, arXiv:2002.04745, sections 3.2 and 4",
    paper="post-LN 8.45 BLEU without warm-up, about 34 with it; pre-LN without it comparable (IWSLT14 de-en)",
    known="from memory",
    settings={
        POST: {"placement": "post", "warm_up": 0.0},
        POST_WARM: {"placement": "post", "warm_up": 0.25},
        PRE: {"placement": "pre", "warm_up": 0.0},
        PRE_WARM: {"placement": "pre", "warm_up": 0.25},
    },
    sizes={"steps": 300, "layers": 6, "features": 32},
    tuning=Tuning((0.001, 0.002, 0.004, 0.008, 0.016, 0.032), "loss"),
    seeds=5,
    systems=("transformer_encoder_layer", "layer_norm"),
)
