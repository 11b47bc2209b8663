"""Roots of matrices: pooling by the root of a covariance, and weights that stay orthogonal.

First, twenty kinds of textures whose channels have equal means and variances: kinds differ only in which
channels go together, and in patterns that are weak beside one that all have in common. A linear classifier
sees the means of the channels, their covariance, or its square root (MatrixSqrtPool). Then a tanh network of
30 layers without normalization, on a regression task, whose weights are free, orthogonal at first, or kept
orthogonal (OrthogonalWeightNorm). SGD, and the best of several learning rates for each.

Seen with the defaults (about 20 seconds on one core): accuracies of 6 % from means (chance is 5 %), 92 % from
covariances and 100 % from their roots. Losses of 0.48 with free weights, 0.39 with weights that are
orthogonal at first, and 0.48 with those that are kept so: here it is the start that helps. A weight that must
stay orthogonal cannot make up for what each tanh takes away, and the layer has no gain that could.

    python examples/matrix_roots.py [--steps 200] [--layers 30]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils.parametrize import register_parametrization
from tinygrad_norm.normalization import OrthogonalWeightNorm

C, POSITIONS, KINDS, WIDTH, BATCH = 12, 32, 20, 32, 64
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Covariance(nn.Module):
    """The covariance (N, C, C) of the channels of (N, C, L)."""

    def forward(self, input):
        c = input - input.mean(2, keepdim=True)
        return c @ c.transpose(1, 2) / input.shape[2]


POOLS = {
    "means": nn.AdaptiveAvgPool1d(1),
    "covariance": Covariance(),
    "its square root": nn.MatrixSqrtPool(),
}


class Textures:
    """Samples (N, C, POSITIONS) of KINDS kinds; the eigenvalues of each kind's covariance fall steeply."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        common = self.rng.normal(size=(C, 1))
        self.mixtures = []
        for _ in range(KINDS):
            mixture = np.concatenate([6 * common, 0.3 * self.rng.normal(size=(C, C - 1))], 1)
            self.mixtures.append(mixture / np.linalg.norm(mixture, axis=1, keepdims=True))

    def batch(self, n):
        labels = self.rng.integers(0, KINDS, n)
        x = np.stack([self.mixtures[k] @ self.rng.normal(size=(C, POSITIONS)) for k in labels])
        return tn.tensor(x.astype("float32")), tn.tensor(labels)


def classify(pool, lr, steps, seed=0):
    """Return the accuracy on new samples."""
    tn.manual_seed(seed)
    task = Textures(seed)
    model = nn.Sequential(POOLS[pool], nn.Flatten(), nn.Linear(C if pool == "means" else C * C, KINDS))
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    for _ in range(steps):
        x, labels = task.batch(BATCH)
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    x, labels = task.batch(1000)
    with tn.no_grad():
        return float((model(x).numpy().argmax(1) == labels.numpy()).mean())


def make_deep(weights, layers):
    hidden = [nn.Linear(WIDTH, WIDTH) for _ in range(layers)]
    for layer in hidden:
        if weights == "free":
            continue
        nn.init.orthogonal_(layer.weight)
        if weights == "kept orthogonal":
            register_parametrization(layer, "weight", OrthogonalWeightNorm())
    parts = [part for layer in hidden for part in (layer, nn.Tanh())]
    return nn.Sequential(nn.Linear(8, WIDTH), nn.Tanh(), *parts, nn.Linear(WIDTH, 1))


def fit(weights, lr, steps, layers, seed=0):
    """Return the mean loss of the last tenth of the steps, or infinity."""
    tn.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = make_deep(weights, layers)
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        x = rng.normal(size=(BATCH, 8))
        target = np.sin(2 * x[:, :1]) * x[:, 1:2]
        optimizer.zero_grad()
        loss = F.mse_loss(model(tn.tensor(x.astype("float32"))), tn.tensor(target.astype("float32")))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    last = np.mean(losses[-max(steps // 10, 1) :])
    return float(last) if np.isfinite(last) else np.inf


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=200, help="of training (default: 200)")
    parser.add_argument("--layers", type=positive_int, default=30, help="of the network (default: 30)")
    options = parser.parse_args(arguments)
    found = {}
    print("pooled                 accuracy of a linear classifier, best learning rate")
    for pool in POOLS:
        found[pool], lr = max((classify(pool, lr, options.steps), lr) for lr in RATES)
        print(f"{pool:22} {found[pool]:8.1%}   lr {lr}")
    print(f"weights                loss of {options.layers} layers, best learning rate")
    for weights in ("free", "orthogonal at first", "kept orthogonal"):
        runs = [(fit(weights, lr, options.steps, options.layers), lr) for lr in RATES[:4]]
        found[weights], lr = min(runs)
        print(f"{weights:22} {found[weights]:8.4f}   lr {lr}")
    return found


if __name__ == "__main__":
    main()
