"""RevIN forecasts a series whose scale and level change after training.

A network with one hidden layer sees 32 steps of a noisy sum of waves and predicts the next 8, once as it is,
and once between the two ends of RevIN. Then the later part of the series y comes in other units: 5y + 20.
Prints the mean squared error of the forecasts on both, in the units of y, so that other units alone cannot
make it larger.

With RevIN, f(5y + 20) = 5·f(y) + 20 whatever the network is, so its error stays as it was: 0.035. The plain
network has never seen such numbers, and is of no use: 65. On y itself the plain one is better, 0.014: this
series has one level, of which a normalized window no longer tells. RevIN is the first layer here, so nothing
needs its dx, and whether mean and deviation are detached changes nothing. A few seconds on one core.

    python examples/shifted_series.py [--steps 400]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

WINDOW, HORIZON, HIDDEN = 32, 8, 64
SCALE, LEVEL = 5.0, 20.0


class Forecaster(nn.Module):
    """Predicts (N, HORIZON, 1) from windows (N, WINDOW, 1)."""

    def __init__(self, reversible):
        super().__init__()
        self.norm = nn.RevIN(1) if reversible else None
        self.layers = nn.Sequential(nn.Linear(WINDOW, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HORIZON))

    def forward(self, x):
        h = x if self.norm is None else self.norm(x, "norm")
        h = self.layers(h[..., 0]).unsqueeze(-1)
        return h if self.norm is None else self.norm(h, "denorm")


def make_series(length, rng):
    t = np.arange(length)
    waves = sum(a * np.sin(2 * np.pi * t / period) for a, period in ((1.0, 24), (0.6, 9.5), (0.4, 61)))
    return waves + 0.1 * rng.normal(size=length)


def windows(series):
    """Return all windows (M, WINDOW, 1), and what follows each, (M, HORIZON, 1)."""
    parts = np.lib.stride_tricks.sliding_window_view(series, WINDOW + HORIZON)[..., None].astype("float32")
    return parts[:, :WINDOW], parts[:, WINDOW:]


def train(model, x, y, steps, rng):
    optimizer = optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        chosen = rng.integers(0, len(x), 64)
        loss = ((model(tn.tensor(x[chosen])) - tn.tensor(y[chosen])) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@tn.no_grad()
def error(model, x, y, scale=1.0, level=0.0):
    """Return the mean squared error on scale·x + level, in the units of x."""
    found = model(tn.tensor((scale * x + level).astype("float32"))).numpy()
    return float(np.mean(((found - level) / scale - y) ** 2))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of 64 windows, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    series = make_series(3000, np.random.default_rng(options.seed))
    (x, y), later = windows(series[:2000]), windows(series[2000:])
    found = {}
    print(f"{'mean squared error on':22}{'y':>10}{'5y + 20':>12}")
    for name in ("plain", "RevIN"):
        tn.manual_seed(options.seed)
        model = Forecaster(name == "RevIN")
        train(model, x, y, options.steps, np.random.default_rng(options.seed))
        found[name] = error(model, *later), error(model, *later, SCALE, LEVEL)
        print(f"{name:22}{found[name][0]:10.4f}{found[name][1]:12.4f}")
    return found


if __name__ == "__main__":
    main()
