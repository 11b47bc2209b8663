"""GradNorm: ten regressions of different scale share one network, and their losses find their weights.

The toy of Chen et al. 2018 (arXiv:1711.02257): task i is y = scale_i·tanh((B + ε_i)·x), scales from 1 to 100.
With equal weights, the loud tasks have the shared layers for themselves. GradNorm multiplies each loss by a
weight so that all tasks pull equally at the last shared layer. Prints a table: scale, weight, weight·scale,
and the error of each task in units of its scale, with equal weights and with GradNorm. About 20 seconds.

    python examples/gradnorm.py [--steps 800]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F

SCALES = np.geomspace(1, 100, 10)


def make_tasks(rng, inputs=20, outputs=10):
    """Return a function that draws a batch: x (N, inputs), and y (T, N, outputs)."""
    B = rng.normal(size=(outputs, inputs)) * 10**0.5 / inputs**0.5
    eps = rng.normal(size=(len(SCALES), outputs, inputs)) * 3.5**0.5 / inputs**0.5

    def draw(N):
        x = rng.normal(size=(N, inputs))
        y = SCALES[:, None, None] * np.tanh(np.einsum("ni,toi->tno", x, B + eps))
        return tn.tensor(x.astype(np.float32)), [tn.tensor(task.astype(np.float32)) for task in y]

    return draw


def train(balanced, steps, lr=2e-3):
    """Return the final weights (T,), and each task's error: the root of the mean square, per scale."""
    draw = make_tasks(np.random.default_rng(0))
    tn.manual_seed(0)
    shared = nn.Linear(100, 100)
    trunk = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), shared, nn.ReLU())
    heads = nn.ModuleList(nn.Linear(100, 10) for _ in SCALES)
    optimizer = optim.Adam([*trunk.parameters(), *heads.parameters()], lr)
    balance = optim.GradNorm([shared.weight], len(SCALES), alpha=0.12)
    for _ in range(steps):
        x, targets = draw(64)
        h = trunk(x)
        losses = [F.mse_loss(head(h), y) for head, y in zip(heads, targets, strict=True)]
        optimizer.zero_grad()
        if balanced:
            balance.backward(losses)
        else:
            sum(losses).backward()
        optimizer.step()
        if balanced:
            balance.step()
    x, targets = draw(1000)
    with tn.no_grad():
        errors = [F.mse_loss(head(trunk(x)), y).item() ** 0.5 for head, y in zip(heads, targets, strict=True)]
    return balance.weights.numpy(), np.array(errors) / SCALES


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800, help="training steps (default: 800)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    _, equal = train(False, options.steps)
    weights, balanced = train(True, options.steps)
    print("                                 error in units of the scale")
    print(f"{'scale':>8} {'weight':>8} {'weight·scale':>13} {'equal weights':>14} {'GradNorm':>9}")
    for row in zip(SCALES, weights, weights * SCALES, equal, balanced, strict=True):
        print("{:8.1f} {:8.3f} {:13.2f} {:14.3f} {:9.3f}".format(*row))
    print(f"{'worst':>8} {'':8} {'':13} {equal.max():14.3f} {balanced.max():9.3f}")
    return weights, equal, balanced


if __name__ == "__main__":
    main()
