"""Pre-LN and post-LN transformers at the start: the gradient of the last layer, by depth.

    post   x ← LN(x + f(x))     the stream has length √D in every layer: the gradient does not know L
    pre    x ← x + f(LN(x))     ‖x_L‖² grows as L, and the norm behind it divides the gradient by ‖x_L‖

So what one token contributes to the gradient of the last feed-forward weight is O(D·√ln D) in a post-LN
network of any depth L, and O(D·√(ln D/L)) in a pre-LN one: a slope of 0 and of -1/2 on logarithmic axes. It
needs no training. As in the paper, the weights are Xavier-normal, the biases 0, the feed-forward network is
as wide as the stream, and the loss is a cross-entropy. One token's gradient is an outer product, h of the
token times the gradient at the output, so its length is the product of two lengths.

The gradient of the whole batch, which an optimizer gets, is looked at too. The theory says nothing about it:
in deep networks attention makes all tokens alike, and their gradients no longer cancel as much.
"""

from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import randint, randn
from ..experiment import Row, register
from ..experiment_results import Results
from ..measured_parts import gradient, slope
from ..plot_parts import legend_below, plain_ticks, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

PRE, POST = "pre-LN", "post-LN"
TOLERANCE, UNCERTAIN = 0.1, 0.2
CLASSES = 32


def make_stack(placement: str, layers: int, features: int) -> nn.TransformerEncoder:
    """Return a stack of encoder layers, initialized as in the paper."""
    layer = nn.TransformerEncoderLayer(
        features, 1, features, dropout=0.0, activation="relu", placement=placement, batch_first=True
    )
    stack = nn.TransformerEncoder(layer, layers)
    for name, parameter in stack.named_parameters():
        if parameter.ndim == 2 and "in_proj" not in name:
            nn.init.xavier_normal_(parameter)
        elif "in_proj_weight" in name:
            for part in range(3):
                rows = slice(part * features, (part + 1) * features)
                parameter.data[rows] = randn(features, features).numpy() / features**0.5
        elif "norm" not in name:
            nn.init.zeros_(parameter)
    return stack


def measure(seed: int, placement: str, depths: tuple[int, ...], features: int) -> dict[str, Any]:
    """Return, for each depth, the mean length of one token's gradient, that of the batch, and Var(stream)."""
    found = np.array([_at_depth(seed, placement, depth, features) for depth in depths])
    one, batch, stream = found.T
    return {
        "depths": depths,
        "one": one,
        "batch": batch,
        "stream": stream,
        "slope": slope(depths, one),
        "slope of the batch": slope(depths, batch),
    }


def _at_depth(seed: int, placement: str, depth: int, features: int) -> tuple[float, float, float]:
    manual_seed(seed)
    stack, head = make_stack(placement, depth, features), nn.Linear(features, CLASSES)
    nn.init.xavier_normal_(head.weight)
    last = stack.layers[-1].linear2
    seen: dict[str, Tensor] = {}

    def keep(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        seen.update(h=inputs[0], output=output)

    last.register_forward_hook(keep)
    x = stack(randn(16, 32, features))
    y = x if placement == "post" else nn.LayerNorm(features)(x)
    F.cross_entropy(head(y).flatten(0, 1), randint(0, CLASSES, (16 * 32,)), reduction="sum").backward()
    h, dy = seen["h"].detach().numpy(), gradient(seen["output"])
    of_one = np.linalg.norm(h, axis=-1) * np.linalg.norm(dy, axis=-1)
    of_batch = np.linalg.norm(gradient(last.weight)) / of_one.size
    return float(of_one.mean()), float(of_batch), float(x.detach().numpy().var())


def judge(results: Results) -> Verdict:
    """Holds if the slope for one token, in the mean over the seeds, is within 0.1 of 0 for post-LN and within
    0.1 of -1/2 for pre-LN; else it does not hold. Cannot be told if a 95 % interval of a mean is wider than
    0.2.
    """
    post, pre = results.values(POST, "slope"), results.values(PRE, "slope")
    reason = f"the slope is {spread(post, 2)} for post-LN and {spread(pre, 2)} for pre-LN"
    if not max(np.ptp(interval(post)), np.ptp(interval(pre))) <= UNCERTAIN:
        return cannot_be_told(f"{reason}: the seeds differ")
    fits = abs(post.mean()) <= TOLERANCE and abs(pre.mean() + 0.5) <= TOLERANCE
    return holds(reason) if fits else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the slopes, and the lengths and variances at the ends."""
    rows = []
    for name, paper in ((POST, "0"), (PRE, "-1/2")):
        rows.append(Row(f"{name}, one token: slope", spread(results.values(name, "slope"), 2), paper))
        batch = spread(results.values(name, "slope of the batch"), 2)
        rows.append(Row(f"{name}, whole batch: slope", batch))
    for name in (POST, PRE):
        depths = results.values(name, "depths")[0]
        for k in (0, -1):
            of = f"{name}, {depths[k]:.0f} layers"
            rows.append(Row(f"{of}: gradient of one token", spread(results.values(name, "one")[:, k])))
            rows.append(Row(f"{of}: variance of the stream", spread(results.values(name, "stream")[:, k])))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the lengths over the depth, of one token with the slopes of the paper, and of the batch."""
    left, right = figure.subplots(1, 2)
    for k, (name, power) in enumerate(((POST, 0.0), (PRE, -0.5))):
        depths, lengths = results.values(name, "depths")[0], results.values(name, "one")
        seed_lines(left, depths, lengths, f"{name}, ours", f"C{k}", marker=".")
        middle = np.exp(np.log(lengths).mean()) * (depths / np.exp(np.log(depths).mean())) ** power
        left.plot(depths, middle, "k", ls="-:"[k], lw=1.5, label=f"{name}, paper: slope {power:g}")
        right.plot(depths, results.values(name, "batch").T, f"C{k}.-", lw=1)
    left.set_ylabel("length of the gradient of the last W₂")
    for axes, title in ((left, "one token"), (right, "mean of the batch")):
        axes.set(xscale="log", yscale="log", xlabel="layers", title=title)
        axes.set_xticks(depths, [f"{depth:.0f}" for depth in depths])
        axes.set_xticks([], minor=True)
        plain_ticks(axes.yaxis)
        axes.grid(alpha=0.3, which="both")
    legend_below(figure, 2)


register(
    "gradient-over-depth",
    measure,
    judge,
    tabulate,
    draw,
    title="The gradient of the last layer at the start, by depth",
    claim="At the start, a token's gradient of the last layer does not depend on the depth L in post-LN, "
    "and falls as 1/√L in pre-LN.",
    source="Xiong et al. 2020, arXiv:2002.04745, theorem 1",
    paper="slope 0 for post-LN, -1/2 for pre-LN",
    known="from memory",
    settings={POST: {"placement": "post"}, PRE: {"placement": "pre"}},
    sizes={"depths": (2, 4, 8, 16, 24), "features": 128},
    seeds=5,
    systems=("layer_norm", "transformer_encoder_layer"),
)
