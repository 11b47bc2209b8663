"""QK normalization bounds the logits of attention: |s| ≤ g.

    s_ij = g·(q_i/‖q_i‖)·(k_j/‖k_j‖)     so |s_ij| ≤ g, by Cauchy-Schwarz

whatever the weights are, while q·k/√D can grow without limit. A sequence holds keys, each with a value, and a
query that resembles one of the keys: one attention layer has to find it and return its value. It learns at a
good learning rate, and at one that is ten times too high. g is learned, so it is looked at as well. The
control has no normalization; the learning rate is part of the question, so it is not tuned.
"""

from typing import Any

import numpy as np

from ... import nn, optim
from ...autograd import Tensor, no_grad
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, number, spread

FEATURES, HEADS, KEYS, CLASSES = 32, 2, 12, 8
ROUNDING = 1e-5
NORMED, CONTROL = ("QK norm, lr 0.003", "QK norm, lr 0.03"), "no norm, lr 0.03"


class Recall(nn.Module):
    """One attention: the query reads the keys and their values."""

    def __init__(self, qk_norm: str | None = None, softcap: float | None = None) -> None:
        super().__init__()
        self.embed, self.ask = nn.Linear(FEATURES + CLASSES, FEATURES), nn.Linear(FEATURES, FEATURES)
        if qk_norm is None:
            self.attention = nn.MultiheadAttention(FEATURES, HEADS, batch_first=True, softcap=softcap)
        else:
            self.attention = nn.QKNormAttention(FEATURES, HEADS, batch_first=True, norm=qk_norm, length=KEYS)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, pairs: Tensor, query: Tensor) -> Tensor:
        x = self.embed(pairs)
        y, _ = self.attention(self.ask(query).unsqueeze(1), x, x, need_weights=False)
        return self.head(y.squeeze(1))


def draw_pairs(rng: np.random.Generator, size: int = 32) -> list[Tensor]:
    """Return pairs of key and value (N, KEYS, FEATURES + CLASSES), queries (N, FEATURES), values (N,)."""
    keys = rng.normal(size=(size, KEYS, FEATURES))
    values, place = rng.integers(CLASSES, size=(size, KEYS)), rng.integers(KEYS, size=size)
    pairs = np.concatenate([keys, np.eye(CLASSES)[values]], -1)
    queries = keys[np.arange(size), place] + 0.3 * rng.normal(size=(size, FEATURES))
    arrays = pairs.astype("float32"), queries.astype("float32"), values[np.arange(size), place]
    return [tensor(x) for x in arrays]


def measure(seed: int, qk_norm: str | None, lr: float, steps: int) -> dict[str, Any]:
    """Return the largest |s| and g over the steps, the largest |s|/g, and the loss of the last tenth."""
    manual_seed(seed)
    rng, model = np.random.default_rng(seed), Recall(qk_norm)
    optimizer, losses = optim.Adam(model.parameters(), lr), []
    largest: list[float] = []

    def observe(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | None) -> None:
        with no_grad():
            scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
            largest.append(scores.abs().max().item())

    model.attention.observer = observe
    bounds = []
    for _ in range(steps):
        *inputs, values = draw_pairs(rng)
        optimizer.zero_grad()
        bounds.append(abs(model.attention.g.item()) if qk_norm else np.inf)
        loss = F.cross_entropy(model(*inputs), values)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    thinned = slice(None, None, max(1, steps // 50))
    return {
        "largest": largest[thinned],
        "bounds": bounds[thinned],
        "at most": max(largest),
        "of the bound": float(np.max(np.array(largest) / bounds)),
        "loss": float(np.mean(losses[-max(1, steps // 10) :])),
    }


def judge(results: Results) -> Verdict:
    """Holds if |s| ≤ g·(1 + 1e-5) in every step of every seed at both learning rates, with QK norm; else it
    does not hold. Cannot be told if without norm, at the high learning rate, no |s| passes the largest |s|
    with QK norm: then nothing had to be bounded.
    """
    share = max(results.values(name, "of the bound").max() for name in NORMED)
    bounded = max(results.values(name, "at most").max() for name in NORMED)
    control = results.values(CONTROL, "at most").min()
    if not control > bounded:
        return cannot_be_told(f"without norm the largest logit is {control:.3g}, with it {bounded:.3g}")
    reason = f"the largest logit is {share:.4f} of g with QK norm; without it, {number(control)} or more"
    return holds(reason) if share <= 1 + ROUNDING else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the largest logit in size, its part of the bound, and the loss."""
    rows = []
    for name in results.settings:
        if name in NORMED:
            share = f"{results.values(name, 'of the bound').max():.4f}"
            rows.append(Row(f"{name}: largest logit over g", share, "≤ 1"))
        rows.append(Row(f"{name}: largest logit", spread(results.values(name, "at most"))))
        rows.append(
            Row(f"{name}: loss, guessing {np.log(CLASSES):.2f}", spread(results.values(name, "loss")))
        )
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the largest |s| and the bound over the steps."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        curves = results.values(name, "largest")
        steps = np.linspace(0, 100, curves.shape[1])
        seed_lines(axes, steps, curves, f"{name}: largest logit", f"C{k}")
        if name in NORMED:
            seed_lines(axes, steps, results.values(name, "bounds"), f"{name}: g", f"C{k}", ls="--")
    axes.set(yscale="log", xlabel="steps taken (%)", ylabel="largest |s|, and g")
    axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "qk-norm-bounds-logits",
    measure,
    judge,
    tabulate,
    draw,
    title="QK normalization bounds the logits of attention",
    claim="With queries and keys of length 1, the logits of attention are within [-g, g].",
    source="Henry, Dachapally, Pawar and Chen 2020, arXiv:2010.04245, section 3",
    paper="|s| ≤ g",
    known="follows from the formula",
    settings={
        "QK norm, lr 0.003": {"qk_norm": "l2", "lr": 0.003},
        "QK norm, lr 0.03": {"qk_norm": "l2", "lr": 0.03},
        "no norm, lr 0.003": {"qk_norm": None, "lr": 0.003},
        "no norm, lr 0.03": {"qk_norm": None, "lr": 0.03},
    },
    sizes={"steps": 150},
    systems=("qk_norm_attention",),
)
