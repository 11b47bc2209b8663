"""adaLN-Zero: a new diffusion transformer block is the identity.

    z = x + gate₁·attention(...)     y = z + gate₂·mlp(...)     gates, shifts and scales = W·SiLU(c) + b

With W = 0 and b = 0 every gate is 0, so y = x to the last bit, for every depth, and dy reaches the first
block unchanged. Only the rows of W and b that make gates get a gradient at first; after one step the blocks
differ from the identity. A stack is trained to add a vector that the condition says; how far each is from the
identity is looked at. The control draws W and b at random, as those of other linear layers.
"""

from typing import Any

import numpy as np

from ... import nn, optim
from ...autograd import Tensor
from ...backends.random import manual_seed
from ...nn import functional as F
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..measured_parts import gradient
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread

DIM, HEADS = 32, 4
CONTROL = 1e-2


class Stack(nn.Module):
    """DiT blocks one after the other, all with the same condition."""

    def __init__(self, depth: int, zero: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.DiTBlock(DIM, HEADS) for _ in range(depth))
        for block in self.blocks if not zero else ():
            block.norm.linear.reset_parameters()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


def measure(seed: int, depth: int, zero: bool, steps: int) -> dict[str, Any]:
    """Return how far a new stack is from the identity, forward and backward, and by step of training."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Stack(depth, zero)
    x = tensor(rng.normal(size=(8, 6, DIM)).astype("float32"), requires_grad=True)
    condition, dy = (tensor(rng.normal(size=shape).astype("float32")) for shape in ((8, DIM), x.shape))
    y = model(x, condition)
    y.backward(dy)
    others = [p for name, p in model.named_parameters() if "norm.linear" not in name]
    found = {
        "forward": float(abs(y.numpy() - x.numpy()).max() / abs(x.numpy()).max()),
        "backward": float(abs(gradient(x) - dy.numpy()).max() / abs(dy.numpy()).max()),
        "inside": max(float(abs(gradient(p)).max()) for p in others),
    }
    optimizer, curve, losses = optim.Adam(model.parameters(), 1e-3), [], []
    for _ in range(steps):
        x, condition = (tensor(rng.normal(size=s).astype("float32")) for s in ((16, 6, DIM), (16, DIM)))
        optimizer.zero_grad()
        y = model(x, condition)
        curve.append(float(np.linalg.norm(y.numpy() - x.numpy()) / np.linalg.norm(x.numpy())))
        loss = F.mse_loss(y, x + condition.unsqueeze(1))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {**found, "curve": curve, "first loss": losses[0], "last loss": losses[-1]}


def judge(results: Results) -> Verdict:
    """Holds if with adaLN-Zero y = x and dx = dy, bit for bit, at every depth for every seed; else it does
    not hold. Cannot be told if the random start also gives y within 1 % of x, or if after training the
    stacks with adaLN-Zero are still the identity.
    """
    zero = [name for name in results.settings if name.startswith("adaLN-Zero")]
    away = max(max(results.values(name, f).max() for f in ("forward", "backward")) for name in zero)
    control = min(results.values(name, "forward").min() for name in results.settings if name not in zero)
    learned = min(results.values(name, "curve")[:, -1].min() for name in zero)
    if not control > CONTROL:
        return cannot_be_told(f"with a random start y misses x by only {control:.1g}")
    if not learned > 0:
        return cannot_be_told("training did not move the blocks away from the identity")
    reason = (
        f"y - x and dx - dy are {f'at most {away:.1g}' if away else '0'}; "
        f"with a random start y misses x by {control:.2g} or more"
    )
    return holds(reason) if away == 0 else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return the distances from the identity before training, and the loss at its ends."""
    rows = []
    for name in results.settings:
        paper = "0" if name.startswith("adaLN-Zero") else "–"
        rows.append(Row(f"{name}: y - x", spread(results.values(name, "forward")), paper))
        rows.append(Row(f"{name}: dx - dy", spread(results.values(name, "backward")), paper))
        inside = spread(results.values(name, "inside"), 2)
        rows.append(Row(f"{name}: largest gradient in attention and mlp", inside, paper))
        ends = (spread(results.values(name, f"{which} loss")) for which in ("first", "last"))
        rows.append(Row(f"{name}: loss, first and last", "; ".join(ends)))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the distance from the identity during training."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        curves = results.values(name, "curve")
        seed_lines(axes, range(curves.shape[1]), curves, name, f"C{k}")
    axes.axhline(1, color="black", lw=0.8, ls="--", label="distance of the goal")
    axes.set(xlabel="step of training", ylabel="‖y - x‖ / ‖x‖")
    axes.grid(alpha=0.3)
    legend_below(figure)


register(
    "adaln-zero-is-the-identity",
    measure,
    judge,
    tabulate,
    draw,
    title="adaLN-Zero is the identity at the start",
    claim="Zeros for all modulations make each block of a diffusion transformer the identity at first.",
    source="Peebles and Xie 2022, arXiv:2212.09748, section 3.2",
    paper="y = x",
    known="read in the paper",
    settings={
        f"{name}, {depth} blocks": {"depth": depth, "zero": zero}
        for name, zero in (("adaLN-Zero", True), ("random start", False))
        for depth in (2, 8)
    },
    sizes={"steps": 60},
    systems=("adaptive_layer_norm",),
)
