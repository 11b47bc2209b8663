"""GDN makes a mixture of Gaussian scales nearly Gaussian.

The samples have 8 channels of Gaussian noise, times one random deviation for all of them, as patches of an
image do, which are of low or of high contrast: their kurtosis is far above the 3 of a Gaussian. Layers are
fitted to them by the likelihood of x if y were standard Gaussian, which needs log |det dy/dx|: a scale for
each channel; GDN with a diagonal gamma, so that no channel knows of the others; GDN; and GDN1. Prints the
negative log-likelihood per channel, the kurtosis of y, and the correlation of y_i² and y_j² of two channels.
Then IGDN is fitted to undo the GDN, and what it misses is printed.

Measured: the kurtosis of 22.7 becomes 3.0 with all three. But alone, channels stay dependent: with a diagonal
gamma the squares correlate by 0.40, more than those of x (0.27), and the loss is 1.22; with all of gamma they
do not, and it is 1.06 (1.41 for a scale). GDN1, without root and squares, is as good: 1.06. Verdict: what the
channels know of each other is the gain, not the kurtosis. IGDN undoes it in part: 13 % of the mean square of
x are lost. About 15 seconds.

    python examples/divisive_densities.py [--steps 300]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F

CHANNELS, BATCH = 8, 500
KINDS = ("scale", "GDN, diagonal", "GDN", "GDN1")


def drawn(rng, n):
    """Return samples (n, 8) with a common deviation, which is lognormal, and mean square 1."""
    deviation = np.exp(0.7 * rng.normal(size=(n, 1)) - 0.7**2)
    return tn.tensor((deviation * rng.normal(size=(n, CHANNELS))).astype("float32"))


class Density(nn.Module):
    """A layer y = x/d, and its log |det dy/dx|."""

    def __init__(self, kind):
        super().__init__()
        self.simplified = kind == "GDN1"
        self.layer = nn.GDN1(CHANNELS) if self.simplified else nn.GDN(CHANNELS)
        mask = {"scale": 0 * np.eye(CHANNELS), "GDN, diagonal": np.eye(CHANNELS)}.get(kind, 1)
        self.mask = tn.tensor(np.broadcast_to(mask, (CHANNELS, CHANNELS)).astype("float32"))

    def forward(self, x):
        beta, gamma = self.layer.values()
        gamma = gamma * self.mask
        y = F.gdn(x, beta, gamma, simplified=self.simplified)
        # dy_i/dx_k = [i = k]/d_i - y_i·gamma_ik·(x_k or sign(x_k))/z_i
        z = beta + (x.abs() if self.simplified else x * x) @ gamma.T
        d = z if self.simplified else z.sqrt()
        through = (y / z).unsqueeze(2) * gamma * (x.sign() if self.simplified else x).unsqueeze(1)
        return y, log_det(tn.eye(CHANNELS) / d.unsqueeze(2) - through)


def log_det(J):
    """Return log |det| of matrices (n, C, C) by elimination."""
    total = 0
    for _ in range(J.shape[1]):
        pivot = J[:, 0, 0]
        total = total + pivot.abs().log()
        J = J[:, 1:, 1:] - J[:, 1:, :1] * J[:, :1, 1:] / pivot.reshape(-1, 1, 1)
    return total


def loss(model, x):
    """Return the mean negative log-likelihood per channel."""
    y, log_volume = model(x)
    return (((y * y).sum(1) + CHANNELS * np.log(2 * np.pi)) / 2 - log_volume).mean() / CHANNELS


def statistics(y):
    """Return the mean kurtosis of the channels, and the mean correlation of the squares of two."""
    z = (y - y.mean(0)) / y.std(0)
    of_squares = np.corrcoef((y**2).T)
    return float((z**4).mean()), float(of_squares[~np.eye(CHANNELS, dtype=bool)].mean())


def fit(parameters, loss_of, steps, rng):
    optimizer = optim.Adam(parameters, 0.03)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(drawn(rng, BATCH)).backward()
        optimizer.step()
        schedule.step()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    test = drawn(np.random.default_rng(1), 20000)
    found = {"x": (float("nan"), *statistics(test.numpy()))}
    print(f"{'':14}{'loss':>7}{'kurtosis':>10}{'of squares':>12}")
    print(f"{'x':14}{'':7}{found['x'][1]:10.2f}{found['x'][2]:12.2f}")
    for kind in KINDS:
        model = Density(kind)
        fit(
            model.parameters(), lambda x, model=model: loss(model, x), options.steps, np.random.default_rng(0)
        )
        with tn.no_grad():
            y = model(test)[0].numpy()
            found[kind] = float(loss(model, test).item()), *statistics(y)
        print(f"{kind:14}{found[kind][0]:7.3f}{found[kind][1]:10.2f}{found[kind][2]:12.2f}", flush=True)
        if kind == "GDN":
            forward = model.layer
    inverse = nn.IGDN(CHANNELS)

    def left(x):
        with tn.no_grad():
            y = forward(x)
        return ((inverse(y) - x) ** 2).mean()

    fit(inverse.parameters(), left, options.steps, np.random.default_rng(0))
    with tn.no_grad():
        found["IGDN"] = float(left(test).item() / (test**2).mean().item())
    print(f"IGDN after GDN: {found['IGDN']:.3f} of the mean square is lost")
    return found


if __name__ == "__main__":
    main()
