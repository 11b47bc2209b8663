"""PopArt keeps what it knows when targets become larger, as when a player reaches the richer levels of a
game.

A network with one hidden layer learns values of x: sin(6x) for x in [-1, 0]. After half of the steps x comes
from [-1, 1], and for positive x the value is 100·x² higher. So the statistics of the targets change, but the
values that are known stay right. Prints the mean error on [-1, 0] over the 20 steps after the change, and at
the end on [-1, 0] and [0, 1], in deviations of the values there, for several learning rates and

    plain        the targets as they are
    normalized   the targets by their moving mean and deviation; the network is left alone
    PopArt       the same, and the last layer is corrected, so that no prediction changes

All methods are far off at first, since errors on the large values move the whole network. With PopArt old
values are known better at the end than with normalized targets alone: 1.8 instead of 2.4 at a learning rate
of 0.01, 0.49 instead of 0.70 at 0.1 (with another seed 1.2 and 1.5, 0.46 and 1.1). Right after the change it
is better by a tenth at the smaller rates, not at 0.1. But the plain network is better than both, if its
learning rate fits: what normalized targets buy is that they also learn at 0.1, where it diverges. A few
seconds on one core.

    python examples/richer_targets.py [--steps 1000]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

BATCH, HIDDEN, AFTER = 32, 32, 20
RATES = (0.001, 0.01, 0.1)
METHODS = "plain", "normalized", "PopArt"


def values(x):
    return np.sin(6 * x) + 100 * np.maximum(x, 0) ** 2


class Network(nn.Module):
    """Values (N, 1) of x (N, 1), in normalized units."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Sequential(nn.Linear(1, HIDDEN), nn.Tanh()), nn.PopArt(HIDDEN, 1, 0.05)
        with tn.no_grad():
            self.first[0].weight.copy_(4.0 * self.first[0].weight)

    def forward(self, x):
        return self.last(self.first(x))


@tn.no_grad()
def error(model, low, high):
    """Return the root of the mean squared error on [low, high], in deviations of the values there."""
    x = np.linspace(low, high, 101, dtype="float32")[:, None]
    y = model.last.denormalize(model(tn.tensor(x))).numpy()
    return float(np.sqrt(np.mean((y - values(x)) ** 2)) / values(x).std())


def move_statistics(last, targets, correct):
    before = [p.numpy().copy() for p in last.parameters()]
    last.update(targets)
    if not correct:
        last.load_state_dict({**last.state_dict(), "weight": before[0], "bias": before[1]})


def train(method, lr, steps, seed):
    """Return the three errors."""
    tn.manual_seed(seed)
    rng, model, after = np.random.default_rng(seed), Network(), []
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    for step in range(steps):
        x = rng.uniform(-1, 0 if step < steps // 2 else 1, (BATCH, 1)).astype("float32")
        targets = tn.tensor(values(x).astype("float32"))
        if method != "plain":
            move_statistics(model.last, targets, method == "PopArt")
        if 0 <= step - steps // 2 < AFTER:
            after.append(error(model, -1, 0))
        loss = ((model(tn.tensor(x)) - model.last.normalize(targets)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(np.mean(after)), error(model, -1, 0), error(model, 0, 1)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of 32 values, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    print(f"{'':12}{'learning rate':>14}{'after':>10}{'[-1, 0]':>10}{'[0, 1]':>10}")
    found = {}
    for lr in RATES:
        for method in METHODS:
            with np.errstate(over="ignore", invalid="ignore"):
                found[method, lr] = train(method, lr, options.steps, options.seed)
            print(f"{method:12}{lr:14g}" + "".join(f"{e:10.2f}" for e in found[method, lr]))
    return found


if __name__ == "__main__":
    main()
