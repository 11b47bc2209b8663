"""64 residual blocks without normalization: what a small, learned scale on each branch does instead.

Each block adds W₂·ReLU(W₁·x + b₁) + b₂ to a stream of 32 features; the task is to regress on a random, fixed
network. Compared: no norm at all (plain), layer normalization before each branch (pre-LN), ReZero (one number
for each branch, 0 at first; SkipInit can start there too), SkipInit from 1/√blocks, Fixup (small initial
weights, scalars) and LayerScale (one number per channel, 1e-5 at first). All are trained by SGD with
momentum, with the best of four learning rates, because each needs another. About a minute on one core.

    python examples/deep_without_norms.py [--blocks 64] [--steps 100]

Measured with the defaults, the mean loss of the last 10 steps (1.0 predicts the mean); inf diverged:

    lr              0.005   0.02   0.05   0.08   best
    plain             inf    inf    inf    inf    inf    also at 0.001
    pre-LN          0.245  0.223  0.200    inf  0.200
    ReZero          0.193  0.154  0.631    inf  0.154
    SkipInit        0.189  0.170    inf    inf  0.170
    Fixup           0.220  0.199    inf    inf  0.199
    LayerScale      0.183  0.127  0.114    inf  0.114

So depth alone needs no norm: four ways without one are at least as good here, from one seed and 100 steps.
What the norm buys is room: it still learns at 0.05, where three of the others are worse or diverge.
LayerScale does too. The order of the others is not a result: it changes with learning rate and task.
"""

import argparse
import math

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F

FEATURES, BATCH = 32, 64
RATES = (0.005, 0.02, 0.05, 0.08)


class Residual(nn.Module):
    """x plus a branch."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


def layers():
    """Return W₁, ReLU and W₂ from He's initialization, the usual one before and after a ReLU."""
    first, second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
    for layer in (first, second):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return first, nn.ReLU(), second


def fixup_branch():
    first, relu, second = layers()
    biases = [nn.ScalarBias() for _ in range(4)]
    return nn.Sequential(
        biases[0], first, biases[1], relu, biases[2], second, nn.ScalarMultiplier(), biases[3]
    )


def branches(kind, blocks):
    """Return the branches of a network of this kind."""
    if kind == "Fixup":
        return [fixup_branch() for _ in range(blocks)]
    if kind == "pre-LN":
        return [nn.Sequential(nn.LayerNorm(FEATURES), *layers()) for _ in range(blocks)]
    scale = {
        "plain": nn.Identity,
        "ReZero": nn.ReZero,
        "SkipInit": lambda: nn.SkipInit(blocks),
        "LayerScale": lambda: nn.LayerScale(FEATURES),
    }[kind]
    return [nn.Sequential(*layers(), scale()) for _ in range(blocks)]


KINDS = ("plain", "pre-LN", "ReZero", "SkipInit", "Fixup", "LayerScale")


def make(kind, blocks):
    of_blocks, head = branches(kind, blocks), nn.Linear(FEATURES, 1)
    if kind == "Fixup":
        nn.utils.fixup_(of_blocks, head)
    norm = [nn.LayerNorm(FEATURES)] if kind == "pre-LN" else []
    return nn.Sequential(nn.Linear(FEATURES, FEATURES), *map(Residual, of_blocks), *norm, head)


def task(rng):
    """Return a function that draws a batch: inputs, and the outputs of a fixed network, of variance 1."""
    first, second = rng.normal(size=(FEATURES, FEATURES)), rng.normal(size=(FEATURES, 1))

    def outputs(x):
        return np.maximum(x @ first / math.sqrt(FEATURES), 0) @ second

    sample = outputs(rng.normal(size=(4096, FEATURES)))

    def draw():
        x = rng.normal(size=(BATCH, FEATURES))
        y = (outputs(x) - sample.mean()) / sample.std()
        return tn.tensor(x.astype(np.float32)), tn.tensor(y.astype(np.float32))

    return draw


def train(kind, blocks, lr, steps):
    """Return the mean loss of the last 10 steps, infinity if it diverged."""
    tn.manual_seed(0)
    model, draw = make(kind, blocks), task(np.random.default_rng(0))
    optimizer, losses = optim.SGD(model.parameters(), lr, momentum=0.9), []
    for _ in range(steps):
        x, y = draw()
        loss = F.mse_loss(model(x), y)
        if not math.isfinite(loss.item()) or loss.item() > 1e6:
            return math.inf
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(np.mean(losses[-10:]))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=64, help="residual blocks (default: 64)")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each run (default: 100)")
    options = parser.parse_args(arguments)
    if options.blocks < 1 or options.steps < 1:
        parser.error("--blocks and --steps must be at least 1")
    found = {}
    print(f"{'loss at lr':14}" + "".join(f"{lr:>9}" for lr in RATES) + "     best")
    for kind in KINDS:
        found[kind] = [train(kind, options.blocks, lr, options.steps) for lr in RATES]
        row = "".join(f"{loss:9.3f}" for loss in (*found[kind], min(found[kind])))
        print(f"{kind:14}{row}")
    return found


if __name__ == "__main__":
    main()
