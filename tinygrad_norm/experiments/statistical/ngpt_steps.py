"""nGPT reaches the loss of a GPT in a fraction of the steps: the paper says in a fourth to a twentieth.

    GPT    h ← h + f(RMSNorm(h))                nGPT   h ← norm(h + α·(norm(f(h)) - h)),   norm(x) = x/‖x‖

In nGPT (nn/transformer/ngptblock.py) all vectors have length 1, in the stream and in the weights, so no
update is lost in lengths, and each layer learns how far it turns the stream.

Both read text, character by character, with 4 layers, rotary positions, gated networks of the same sizes and
the same batches. GPT trains for all the steps; nGPT for as many, half and a fourth, each with its own fall of
the learning rate to 0, since a look at the middle of a long run would be unfair to it. The learning rate is
tuned for each of the four; GPT has a warm-up, nGPT none, as in the paper. The paper has networks of 0.5 and 1
billion parameters and the larger factors with longer contexts; it counts steps, of which nGPT's take longer.
"""

import time
from typing import Any

import numpy as np

from ... import nn, optim
from ...autograd import Tensor
from ...backends.random import manual_seed
from ...nn import functional as F
from ...nn.transformer.ngptblock import turn
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .small_gpt import batches_of, default_text, train, unseen_loss

GPT, WHOLE, HALF, FOURTH = "GPT", "nGPT", "nGPT, half the steps", "nGPT, a fourth"
PARTS = {GPT: 1.0, WHOLE: 1.0, HALF: 0.5, FOURTH: 0.25}
CONTEXT, HEADS = 32, 2
LEARNED = 0.3


class Block(nn.Module):
    """A causal pre-norm layer with rotary positions and a gated network, (N, T, D); sizes as NGPTBlock's."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(features), nn.RMSNorm(features)
        self.in_proj = nn.Linear(features, 3 * features, bias=False)
        self.out_proj = nn.Linear(features, features, bias=False)
        self.up_proj = nn.Linear(features, 4 * features, bias=False)
        self.down_proj = nn.Linear(2 * features, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.in_proj(self.norm1(x)).unflatten(-1, (3 * HEADS, x.shape[-1] // HEADS))
        q, k, v = (part.swapaxes(-3, -2) for part in heads.chunk(3, -2))
        q, k = (turn(part.swapaxes(-3, -2)).swapaxes(-3, -2) for part in (q, k))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out_proj(a.swapaxes(-3, -2).flatten(-2))
        u, z = self.up_proj(self.norm2(x)).chunk(2, -1)
        return x + self.down_proj(u * F.silu(z))


def make_gpt(characters: int, features: int, layers: int) -> nn.Sequential:
    """Return embedding, blocks, norm and output layer."""
    blocks = [Block(features) for _ in range(layers)]
    head = nn.Linear(features, characters, bias=False)
    return nn.Sequential(nn.Embedding(characters, features), *blocks, nn.RMSNorm(features), head)


def measure(
    seed: int, on_sphere: bool, part: float, lr: float, steps: int, layers: int, features: int
) -> dict[str, Any]:
    """Return the loss on unseen text, that of frequencies, the training losses and the time of a step."""
    manual_seed(seed)
    text, steps = default_text(), max(1, int(part * steps))
    characters = len(text.alphabet)
    model: Any
    if on_sphere:
        model = nn.NGPT(characters, features, HEADS, layers, mlp_ratio=2.0, alpha=1 / layers)
        after_step, warm_up = model.normalize_weights_, 0
    else:
        model, after_step, warm_up = make_gpt(characters, features, layers), lambda: None, steps // 10
    batches, optimizer = batches_of(text.train, CONTEXT, 16, seed), optim.Adam(model.parameters(), lr)
    begin = time.process_time()
    losses = train(model, optimizer, batches, steps, warm_up, after_step)
    spent = time.process_time() - begin
    counts = np.bincount(text.validation)
    shares = counts[counts > 0] / counts.sum()
    every = max(1, steps // 40)
    whole = [*losses, *[np.inf] * (steps - len(losses))]
    return {
        "loss": unseen_loss(model, text.validation, CONTEXT),
        "of frequencies": float(-(shares * np.log(shares)).sum()),
        "curve": [round(float(np.mean(whole[k : k + every])), 3) for k in range(0, steps - every + 1, every)],
        "ms of a step": 1e3 * spent / len(losses),
    }


def judge(results: Results) -> Verdict:
    """Holds if nGPT after a fourth of the steps has a loss on unseen text that is not above that of GPT after
    all of them, for the whole 95 % interval of the mean difference. Does not hold if it is above for the
    whole interval. Cannot be told otherwise, or if GPT is not better by 0.3 nats than the frequencies of the
    characters, or its best learning rate is the smallest or largest that was tried.
    """
    more = results.values(FOURTH, "loss") - results.values(GPT, "loss")
    factors, difference = speed_ups(results), spread(more, 2)
    needs = f"nGPT needs {np.mean(factors):.1f} times fewer steps"
    if max(factors) <= 1:
        needs = "nGPT needs more steps than GPT"
    reason = f"{needs}; with a fourth of GPT's steps its loss is higher by {difference} nats"
    if not results.values(GPT, "loss").max() < results.mean(GPT, "of frequencies") - LEARNED:
        return cannot_be_told(f"{reason}; GPT did not learn")
    if results.at_an_end(GPT):
        return cannot_be_told(f"{reason}; GPT's best learning rate is an end of the range")
    low, high = interval(more)
    if low > 0:
        return does_not_hold(reason)
    return holds(reason) if high <= 0 else cannot_be_told(f"{reason}: the seeds differ too much")


def speed_ups(results: Results) -> list[float]:
    """Return, for each seed, GPT's steps over those that nGPT needs for GPT's loss, between 1 and 4.

    Between the lengths of nGPT's runs, its loss is taken to be linear in the logarithm of the steps.
    """
    runs = (WHOLE, HALF, FOURTH)
    losses = np.stack([results.values(name, "loss") for name in runs])
    logs = -np.log([PARTS[name] for name in runs])
    goals = results.values(GPT, "loss")
    return [
        float(np.exp(np.interp(goal, np.maximum.accumulate(one), logs)))
        for goal, one in zip(goals, losses.T, strict=True)
    ]


def tabulate(results: Results) -> list[Row]:
    """Return the losses and the factor."""
    rows = []
    for name in results.settings:
        rows.append(Row(f"{name}: loss on unseen text (nats)", spread(results.values(name, "loss"))))
    factor = spread(speed_ups(results), 2)
    rows.append(Row("steps of GPT over those of nGPT for its loss (1 to 4 are seen)", factor, "4 to 20"))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the training losses, and the loss on unseen text over the steps."""
    left, right = figure.subplots(1, 2)
    for k, name in enumerate(results.settings):
        curves, part = results.values(name, "curve"), PARTS[name]
        chunks = np.array_split(curves, min(curves.shape[1], max(1, int(40 * part))), axis=1)
        curves = np.stack([chunk.mean(1) for chunk in chunks], axis=1)
        percent = (np.arange(curves.shape[1]) + 0.5) / curves.shape[1] * 100 * part
        seed_lines(left, percent, curves, f"{name}, ours", f"C{k}")
        losses = results.values(name, "loss")
        right.plot([100 * part] * len(losses), losses, f"C{k}o", ms=4)
    goal = results.mean(GPT, "loss")
    right.axhline(goal, color="C0", lw=1, ls="--", label="loss of GPT")
    right.axvspan(5, 25, color="0.85", label="paper: nGPT is there with 5 to 25 %")
    left.set(xlabel="steps (% of GPT's)", ylabel="training loss (nats per character)", ylim=(1.8, 4.2))
    right.set(xlabel="steps of the run (% of GPT's)", ylabel="loss on unseen text (nats per character)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "ngpt-steps",
    measure,
    judge,
    tabulate,
    draw,
    title="nGPT: how many steps it needs for the loss of a GPT",
    claim="nGPT reaches the loss of a GPT in 4 to 20 times fewer steps, depending on the context.",
    source="Loshchilov et al. 2024, arXiv:2410.01131, abstract",
    paper="4 to 20 times fewer steps",
    known="its abstract",
    settings={name: {"on_sphere": name != GPT, "part": part} for name, part in PARTS.items()},
    sizes={"steps": 240, "layers": 4, "features": 32},
    tuning=Tuning((0.006, 0.012, 0.025, 0.05, 0.1, 0.2), "loss"),
    seeds=5,
    systems=("ngpt_block",),
)
