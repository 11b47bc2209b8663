"""Ill-conditioned least squares: normalized updates beside SGD and Adam, each at its best learning rate.

The task is to find W in Y = X·Wᵀ, where the directions of X differ in size by a factor of 100, so that the
curvatures differ by 10,000. Compared: SGD with momentum, with and without gradient centralization; Adam; LARS
and LAMB, whose steps are a fraction of ‖W‖; Muon, whose steps have singular values near 1. Each is run at
eleven learning rates, which fall to 0 along a line, and the best is kept; a "!" marks a best rate at the edge
of the sweep. Also prints what the Newton-Schulz iteration of Muon does to singular values. Half
a minute on one core.

    python examples/ill_conditioned.py [--steps 300]

Measured, the last loss as a fraction of the first, at the best rate (none is at the edge of the sweep):

    SGD 9e-5   SGD, centralized 3e-4   Adam 2.5e-4   LARS 2e-5   LAMB 2e-5   Muon 3e-7

Muon is ahead because this is what it is made for: a matrix whose gradient is large along a few directions.
LARS and LAMB gain here because ‖W‖ is a good unit for a step, and lr falls to 0. Centralization costs: it
cannot change the sum of a row of W, which this task asks for. In a network with norms that is no loss. That
Adam is behind SGD is not general either: its scales are per element, and the directions are not along the
axes.
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.optim.lr_scheduler import LinearLR
from tinygrad_norm.optim.newton_schulz import newton_schulz

SIZE, SAMPLES, CONDITION = 32, 256, 100
RATES = [10**k for k in np.linspace(-3, 2, 11)]


def momentum(parameters, lr):
    return optim.SGD(parameters, lr, momentum=0.9)


OPTIMIZERS = {
    "SGD": momentum,
    "SGD, centralized": momentum,
    "Adam": optim.Adam,
    "LARS": lambda p, lr: optim.LARS(p, lr, momentum=0.9, trust_coeff=1.0, always_adapt=True),
    "LAMB": lambda p, lr: optim.LAMB(p, lr, weight_decay=0, max_grad_norm=None, always_adapt=True),
    "Muon": lambda p, lr: optim.Muon(p, lr, weight_decay=0),
}


def task():
    """Return X and Y in float64, and a W to start from."""
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.normal(size=(SAMPLES, SIZE)))[0] * np.sqrt(SAMPLES)
    V = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    X = U * np.logspace(0, -np.log10(CONDITION), SIZE) @ V
    W, start = (rng.normal(size=(SIZE, SIZE)) / np.sqrt(SIZE) for _ in range(2))
    return tn.tensor(X), tn.tensor(X @ W.T), start


def train(name, lr, steps):
    """Return the last loss as a fraction of the first."""
    X, Y, start = task()
    W = nn.Parameter(start.copy())
    optimizer = OPTIMIZERS[name]([W], lr)
    schedule = LinearLR(optimizer, 1.0, 0.0, steps)
    first = F.mse_loss(F.linear(X, W), Y).item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(F.linear(X, W), Y)
        if not loss.item() < 1e6 * first:
            return np.inf
        loss.backward()
        if name == "SGD, centralized":
            nn.utils.centralize_grad_([W])
        optimizer.step()
        schedule.step()
    return F.mse_loss(F.linear(X, W), Y).item() / first


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="steps of each run (default: 300)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    values = np.linalg.svd(newton_schulz(np.random.default_rng(0).normal(size=(64, 96))), compute_uv=False)
    print(f"singular values after Newton-Schulz: {values.min():.2f} to {values.max():.2f}\n")
    found = {}
    print(f"{'':18}{'last/first loss':>16}{'best lr':>10}")
    for name in OPTIMIZERS:
        losses = [train(name, lr, options.steps) for lr in RATES]
        best = int(np.argmin(losses))
        found[name] = losses[best]
        edge = "!" if best in (0, len(RATES) - 1) else ""
        print(f"{name:18}{losses[best]:16.1e}{RATES[best]:10.2g}{edge}")
    return found


if __name__ == "__main__":
    main()
