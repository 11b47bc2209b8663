"""ActNorm in a flow with exact likelihood: two rings in the plane, learned in two layers.

Each layer is ActNorm and an affine coupling: half of a point, x₁, passes as it is, and the other half becomes
x₂·e^a + b with a and b from a small network of x₁; then the halves change places. Every step has a known
log|det|, so the logarithm of the density at x is that of a Gaussian at the end plus the sum of all log|det|.
The rings are wide in one direction, narrow in the other, and far from 0.

Compares ActNorm, the same layer that the first batch does not set, and no ActNorm. Prints the negative
log-likelihood of held-out points, in nats, before training and after, and over a grid the integral of the
density that each flow has learned: 1 within the grid's error, so these are likelihoods indeed.

Set by its first batch, a flow starts at 3.68 instead of 238, as a Gaussian with the deviations of the data,
and all its steps go into the shape: 3.54 after training, 3.70 for ActNorm that starts at 0, 3.80 without it,
and a part of the density of those two still lies away from all data, outside the grid. At a learning rate of
0.01 or with more steps the gap is as large. Two layers do not make rings out of a Gaussian, and neither do
six (3.36): the best that any density can reach is 2.58. About 10 seconds on one core.

    python examples/ring_flow.py [--steps 600]
"""

import argparse
import math

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

HIDDEN = 32
CENTER, STRETCH = np.array([20.0, -5.0]), np.array([6.0, 0.3])


def rings(n, rng):
    """Return n points (n, 2) on two rings with noise, stretched and moved."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.choice([1.0, 2.0], n) + 0.1 * rng.normal(size=n)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (points * STRETCH + CENTER).astype("float32")


class Coupling(nn.Module):
    """(x₁, x₂) → (x₂·e^a + b, x₁) with a, b from x₁, and log|det| = a; starts as a swap, with a = b = 0."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2)
        )
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, x):
        found = self.network(x[:, :1])
        a, b = 2.0 * found[:, :1].tanh(), found[:, 1:]
        return tn.cat([x[:, 1:] * a.exp() + b, x[:, :1]], 1), a[:, 0]


class Flow(nn.Module):
    """The logarithm of the density at points (N, 2), as (N,)."""

    def __init__(self, layers, norm):
        super().__init__()
        self.steps = nn.ModuleList()
        for _ in range(layers):
            if norm != "none":
                self.steps.append(nn.ActNorm(2))
                if norm == "not set":
                    self.steps[-1].initialized.fill_(True)
            self.steps.append(Coupling())

    def forward(self, x):
        total = -math.log(2 * math.pi)
        for step in self.steps:
            x, log_det = step(x)
            total = total + log_det
        return total - 0.5 * (x * x).sum(1)


def train(flow, steps, lr, rng):
    optimizer = optim.Adam(flow.parameters(), lr)
    for _ in range(steps):
        loss = -flow(tn.tensor(rings(256, rng))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@tn.no_grad()
def loss_of(flow, points):
    return -float(flow(tn.tensor(points)).mean().item())


@tn.no_grad()
def integral(flow, n=400):
    """Return the integral of the density over 4 deviations around the rings, by the midpoints of n² cells."""
    u = (np.arange(n) + 0.5) / n * 8 - 4
    points = np.stack(np.meshgrid(u, u), -1).reshape(-1, 2) * STRETCH + CENTER
    density = np.exp(flow(tn.tensor(points.astype("float32"))).numpy().astype(float))
    return float(density.sum() * (8 / n) ** 2 * STRETCH.prod())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="of 256 points, default: %(default)s")
    parser.add_argument("--layers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=3e-3, help="of Adam, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.layers < 1:
        parser.error(f"--layers must be at least 1, got {options.layers}")
    if options.steps < 0:
        parser.error(f"--steps must be at least 0, got {options.steps}")
    test = rings(4000, np.random.default_rng(options.seed + 1))
    found = {}
    print(f"{'negative log-likelihood':24}{'at first':>12}{'trained':>10}{'integral':>10}")
    for name, norm in (("ActNorm", "set"), ("ActNorm, not set", "not set"), ("no ActNorm", "none")):
        tn.manual_seed(options.seed)
        flow, rng = Flow(options.layers, norm), np.random.default_rng(options.seed)
        flow(tn.tensor(rings(256, rng)))  # the first batch
        before = loss_of(flow.eval(), test)
        train(flow.train(), options.steps, options.lr, rng)
        found[name] = before, loss_of(flow.eval(), test), integral(flow)
        print(f"{name:24}{before:12.2f}{found[name][1]:10.2f}{found[name][2]:10.3f}")
    return found


if __name__ == "__main__":
    main()
