"""PowerNorm: the statistics of a batch fluctuate more with text than with images, and BatchNorm suffers.

    fluctuation of the mean   |μ_B - μ|/σ     of the variance   |σ²_B/σ² - 1|

μ_B and σ²_B are of a batch, μ and σ² running values from before it, and the mean is over the channels.

BatchNorm computes with the statistics of a batch in training, and with running ones afterwards. Where they
differ much, the network that is used is another one than that which was trained. PowerNorm divides by a
running root mean square in training as well, and subtracts no mean.

A convolutional network names digits, and a GPT reads the words of a text. A batch has 64 samples of 64
positions for both, images of 8×8 pixels or windows of 64 words, so all statistics are of 4096 numbers. The
fluctuations are measured in the second half of the training, in all BatchNorms. In a training as short as
this one, much of them is that the network changes; near the end, where the learning rate is nearly 0, only
the batches differ. The same GPT is trained with PowerNorm and LayerNorm too. The learning rate is tuned for
each. The paper has 128 images of 32×32 pixels against 4096 tokens of sentences, so 32 times as many numbers
for images, and measures the first BatchNorm, without the divisions by σ.
"""

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from ... import data, nn, optim
from ...autograd import no_grad
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import tensor
from ...training.norm_choices import Stepwise
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .fluctuations import KINDS, Fluctuations
from .small_gpt import SmallGPT, batches_of, default_text, schedule, train, unseen_loss

IMAGES, BATCH, POWER, LAYER = "images, BatchNorm", "text, BatchNorm", "text, PowerNorm", "text, LayerNorm"
FACTOR, MATTERS, LEARNED = 2.0, 0.05, 0.8
SAMPLES, POSITIONS, WORDS = 64, 64, 500


@cache
def words() -> tuple[Any, Any]:
    """Return the default text as codes of words and signs, for training and unseen: 0 is any rare word."""
    text = default_text()
    parts = [re.findall(r"\w+|[^\w\s]", text.decode(codes)) for codes in (text.train, text.validation)]
    common = {word: k for k, (word, _) in enumerate(Counter(parts[0]).most_common(WORDS), start=1)}
    return tuple(np.array([common.get(word, 0) for word in part]) for part in parts)  # type: ignore[return-value]


def make_norm(name: str, features: int, warmup: int) -> Any:
    """Return the norm for (N, T, features)."""
    if name == "batch":
        return Stepwise(nn.BatchNorm1d(features))
    return nn.PowerNorm(features, warmup=warmup) if name == "power" else nn.LayerNorm(features)


def make_cnn(features: int) -> nn.Sequential:
    """Return three convolutions, each with BatchNorm and ReLU, the mean over all pixels, and a Linear."""
    blocks: list[nn.Module] = []
    for before in (1, features, features):
        convolution = nn.Conv2d(before, features, 3, padding=1, bias=False)
        blocks += [convolution, nn.BatchNorm2d(features), nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 10))


def measure(seed: int, norm: str | None, lr: float, steps: int, layers: int, features: int) -> dict[str, Any]:
    """Return the loss on unseen data, and with BatchNorm the fluctuations; `norm` is None for images."""
    manual_seed(seed)
    model: Any
    if norm is None:
        model = make_cnn(features)
        watched = Fluctuations(model)
        figures = _train_on_images(model, lr, steps, seed)
    else:
        seen, unseen = words()
        model = SmallGPT(
            WORDS + 1, POSITIONS, features, layers, "pre", lambda size: make_norm(norm, size, steps // 4)
        )
        watched = Fluctuations(model)
        batches = batches_of(seen, POSITIONS, SAMPLES, seed)
        losses = train(model, optim.Adam(model.parameters(), lr), batches, steps, steps // 10)
        shares = np.bincount(unseen) / len(unseen)
        figures = {
            "loss": unseen_loss(model, unseen, POSITIONS),
            "training loss": float(np.mean(losses[-max(1, steps // 10) :])),
            "of frequencies": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        }
    return {**figures, **(watched.figures(steps) if watched.by_layer else {})}


def _train_on_images(model: Any, lr: float, steps: int, seed: int) -> dict[str, Any]:
    digits = data.load("digits")
    digits = digits.scaled(data.ImageScaler(max_value=16))
    optimizer, rng = optim.Adam(model.parameters(), lr), np.random.default_rng(seed)
    falling = schedule(optimizer, steps, steps // 10)
    for _ in range(steps):
        chosen = rng.choice(len(digits.train.labels), SAMPLES, replace=False)
        optimizer.zero_grad()
        loss = F.cross_entropy(
            model(tensor(digits.train.images[chosen])), tensor(digits.train.labels[chosen])
        )
        loss.backward()
        optimizer.step()
        falling.step()
    with no_grad():
        logits, labels = model.eval()(tensor(digits.test.images)), digits.test.labels
        accuracy = float((logits.numpy().argmax(1) == labels).mean())
        return {"loss": F.cross_entropy(logits, tensor(labels)).item(), "accuracy": accuracy}


def judge(results: Results) -> Verdict:
    """Holds if the fluctuations of both mean and variance are at least twice as large with text as with
    images, and the GPT's loss on unseen text is lower with PowerNorm than with BatchNorm by 0.05 nats per
    word; each has to be true of the whole 95 % interval of the mean. Does not hold if one of them is false
    for the whole interval. Cannot be told otherwise, or if for a seed the accuracy on unseen digits is below
    80 %, or the GPT with LayerNorm is not better than the words' frequencies.
    """
    ratios = [np.log(results.values(BATCH, kind) / results.values(IMAGES, kind)) for kind in KINDS]
    gain = results.values(BATCH, "loss") - results.values(POWER, "loss")
    means, variances = (f"{np.exp(ratio.mean()):.2g}" for ratio in ratios)
    reason = (
        f"with text the means fluctuate {means} times as much as with images and the variances {variances} "
        f"times; PowerNorm changes the loss of BatchNorm by {spread(-gain, 2)} nats"
    )
    learned = results.values(LAYER, "loss").max() < results.mean(LAYER, "of frequencies")
    if not (results.values(IMAGES, "accuracy").min() >= LEARNED and learned):
        return cannot_be_told(f"{reason}; not all networks that should learn did")
    intervals = [(*interval(ratio), np.log(FACTOR)) for ratio in ratios] + [(*interval(gain), MATTERS)]
    if any(high < least for _, high, least in intervals):
        return does_not_hold(reason)
    if all(low >= least for low, _, least in intervals):
        return holds(reason)
    return cannot_be_told(f"{reason}; the seeds differ too much")


def tabulate(results: Results) -> list[Row]:
    """Return the fluctuations and the losses."""
    rows = []
    for kind, paper in (("mean", "near 0"), ("variance", "near 0")):
        for name, of_paper in ((IMAGES, paper), (BATCH, "orders of magnitude more")):
            rows.append(
                Row(f"{name}: fluctuation of the {kind}", spread(results.values(name, kind), 2), of_paper)
            )
            first = spread(results.values(name, f"{kind}, first layer"), 2)
            rows.append(Row(f"{name}: of the {kind}, first layer", first))
            curves = results.values(name, f"{kind}, curve")
            late = curves[:, -max(1, curves.shape[1] // 10) :].mean(1)
            rows.append(Row(f"{name}: of the {kind}, last tenth of the steps", spread(late, 2)))
    for name, of_paper in ((BATCH, "–"), (POWER, "better than both"), (LAYER, "–")):
        rows.append(
            Row(f"{name}: loss on unseen text (nats)", spread(results.values(name, "loss")), of_paper)
        )
        rows.append(Row(f"{name}: training loss at the end", spread(results.values(name, "training loss"))))
    rows.append(Row("loss of the words' frequencies", f"{results.mean(LAYER, 'of frequencies'):.3g}"))
    accuracy = spread(results.values(IMAGES, "accuracy"), percent=True)
    rows.append(Row(f"{IMAGES}: accuracy on unseen digits", accuracy))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the fluctuations over the training, and the losses."""
    *both, right = figure.subplots(1, 3, width_ratios=(6, 6, 5))
    ticks = 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2
    for axes, kind in zip(both, KINDS, strict=True):
        for k, name in enumerate((IMAGES, BATCH)):
            curves = results.values(name, f"{kind}, curve")
            percent = np.linspace(0, 100, curves.shape[1])
            label = name if kind == "mean" else "_"
            seed_lines(axes, percent, curves, label, f"C{k}")
        axes.set(xlabel="steps taken (%)", title=f"batch {kind}", yscale="log")
        axes.grid(alpha=0.3)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    both[0].set_ylabel("distance from the running value")
    for k, name in enumerate((BATCH, POWER, LAYER), start=1):
        losses = results.values(name, "loss")
        label = "_" if name == BATCH else name
        right.plot([k] * len(losses), losses, f"C{k}o", ms=4, label=label)
    right.set_xticks((1, 2, 3), ("Batch", "Power", "Layer"), fontsize=9)
    right.set(xlim=(0.5, 3.5), ylabel="nats per word", title="unseen loss")
    right.grid(alpha=0.3)
    legend_below(figure, 4)


register(
    "batch-statistics-of-text",
    measure,
    judge,
    tabulate,
    draw,
    title="PowerNorm: batch statistics of text and of images",
    claim="In a transformer the statistics of a batch of text fluctuate much more than those of images in a "
    "convolutional network; PowerNorm is better there than BatchNorm.",
    source="Shen et al. 2020, arXiv:2003.07845, section 3 and figure 2",
    paper="orders of magnitude larger fluctuations; PowerNorm better than BatchNorm, and than LayerNorm by "
    "5.6 and 3.0 points of perplexity (PTB, WikiText-103)",
    known="its abstract",
    settings={
        IMAGES: {"norm": None},
        BATCH: {"norm": "batch"},
        POWER: {"norm": "power"},
        LAYER: {"norm": "layer"},
    },
    sizes={"steps": 100, "layers": 3, "features": 32},
    tuning=Tuning((0.003, 0.01, 0.03, 0.1, 0.3), "loss"),
    seeds=4,
    systems=("power_norm", "batch_norm"),
)
