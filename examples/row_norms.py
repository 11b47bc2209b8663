"""Normalizations of rows in one deep network, and what detaching terms of LayerNorm's gradient costs.

Eight layers of 32 units on scikit-learn's digits, each with a normalization before its ReLU, with the same
seed and batches for all. AdaNorm learns nothing, so it is compared with LayerNorm without affine. That is
then trained with gradients from which a term is missing: the mean, the deviation, or both are taken for
constants.

    python examples/row_norms.py [--epochs 6] [--lr 0.001]

The defaults take about ten seconds; they print the training loss of the last epoch and the test accuracy (the
last digits differ between machines):

    LayerNorm                0.64   93.7%
    RMSNorm                  0.54   94.4%
    SeeDNorm                 0.30   93.7%   a scale that each row chooses: learns faster, is not better
    pRMSNorm, p = 1/4        0.28   91.5%
    AdaNorm                  1.00   89.3%   behind LayerNorm without affine; ahead of it at --lr 0.003
    LayerNorm, no affine     0.75   93.3%
    … mean detached          1.71   45.6%   the values are the same in all three,
    … deviation detached     1.63   49.3%   only terms of the gradient are missing:
    … both detached          1.85   27.8%   it is them that train the network
    none                     1.65   43.0%

At --lr 0.01 nothing of this network trains well, and the order is another.
"""

import argparse
import itertools

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

WIDTH, DEPTH = 32, 8


class Detached(nn.Module):
    """LayerNorm without affine, whose backward takes the mean, the deviation, or both for constants."""

    def __init__(self, *constants):
        super().__init__()
        self.constants = constants

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = (((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5).sqrt()
        mean, std = (s.detach() if name in self.constants else s for name, s in (("m", mean), ("v", std)))
        return (x - mean) / std


NORMS = {
    "LayerNorm": lambda D: nn.LayerNorm(D),
    "RMSNorm": lambda D: nn.RMSNorm(D),
    "SeeDNorm": lambda D: nn.SeeDNorm(D),
    "pRMSNorm, p = 1/4": lambda D: nn.pRMSNorm(D, 0.25, bias=True),
    "AdaNorm": lambda D: nn.AdaNorm(D),
    "LayerNorm, no affine": lambda D: nn.LayerNorm(D, elementwise_affine=False),
    "… mean detached": lambda D: Detached("m"),
    "… deviation detached": lambda D: Detached("v"),
    "… both detached": lambda D: Detached("m", "v"),
    "none": lambda D: nn.Identity(),
}


def make_network(name):
    sizes = [64] + [WIDTH] * DEPTH
    blocks = [(nn.Linear(a, b), NORMS[name](b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *(layer for block in blocks for layer in block), nn.Linear(WIDTH, 10))


@tn.no_grad()
def accuracy(net, split):
    logits = net.eval()(tn.tensor(split.images)).numpy()
    return float((logits.argmax(1) == split.labels).mean())


def run(name, digits, epochs, lr):
    """Return the mean training loss of the last epoch and the test accuracy."""
    tn.manual_seed(0)
    net = make_network(name)
    optimizer = optim.Adam(net.parameters(), lr)
    for _ in range(epochs):
        losses = []
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses)), accuracy(net, digits.test)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=6, help="passes over the digits (default: 6)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam (default: 0.001)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'':22} {'training loss':>14} {'test accuracy':>14}")
    found = {}
    for name in NORMS:
        found[name] = loss, share = run(name, digits, options.epochs, options.lr)
        print(f"{name:22} {loss:14.4f} {share:14.1%}")
    return found


if __name__ == "__main__":
    main()
