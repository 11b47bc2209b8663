"""What holds logits down: z-loss, LogitNorm, a sink; and digits that the network has never seen.

A small network learns the digits 0 to 7, to small loss, four times: plain; with a z-loss; with LogitNorm
before the cross-entropy; and with a sink in the softmax. Prints the mean of log Z on the test digits, where
Z is the sum of the exponentials of the logits, the mean length of the logits, the accuracy, and how well the
largest probability tells 8 and 9, which it was never shown, from known digits: the probability that a known
one has more (AUROC; 0.5 is chance).

    python examples/logit_levels.py [--epochs 40]

With the defaults, in about five seconds (the last digits differ between machines):

                |log Z|   length  accuracy   AUROC
    plain          8.24    17.80     99.5%   0.965
    z-loss         0.89    27.46     99.5%   0.968   holds the level, not the length
    LogitNorm      2.11     0.57     98.6%   0.934   holds both; no better at unseen digits here
    sink          11.26    16.02     99.5%   0.965   as plain: a sink of 0 is small beside such logits
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

KNOWN = 8


def sink_loss(logits, labels):
    """Cross-entropy of the softmax with a sink of 0, which takes what no class wants."""
    p = F.softmax_with_sink(logits, tn.zeros(1))
    return -(p[tn.arange(len(labels)), labels] + 1e-12).log().mean()


LOSSES = {
    "plain": F.cross_entropy,
    "z-loss": lambda logits, labels: F.cross_entropy(logits, labels) + 0.01 * F.z_loss(logits),
    "LogitNorm": lambda logits, labels: F.cross_entropy(F.logit_norm(logits), labels),
    "sink": sink_loss,
}


def probabilities(name, logits):
    if name == "sink":
        return F.softmax_with_sink(logits, tn.zeros(1)).numpy()
    return F.softmax(F.logit_norm(logits) if name == "LogitNorm" else logits, 1).numpy()


def ranking(known, unknown):
    """Return the probability that a known digit has a larger number than an unknown one."""
    return float(((known[:, None] > unknown).mean() + 0.5 * (known[:, None] == unknown).mean()).item())


def run(name, digits, epochs):
    """Return the mean of log Z and of the length of the logits, the accuracy, and the ranking."""
    tn.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, KNOWN))
    optimizer = optim.Adam(net.parameters(), 3e-3)
    train = digits.train.images[digits.train.labels < KNOWN], digits.train.labels[digits.train.labels < KNOWN]
    for _ in range(epochs):
        for images, labels in data.DataLoader(data.TensorDataset(*map(tn.tensor, train)), 64, shuffle=True):
            optimizer.zero_grad()
            LOSSES[name](net(images), labels).backward()
            optimizer.step()
    with tn.no_grad():
        logits = net(tn.tensor(digits.test.images))
        known, labels = digits.test.labels < KNOWN, digits.test.labels
        best = probabilities(name, logits).max(1)
        level = float(abs(logits.logsumexp(1).numpy()[known]).mean())
    right = float((logits.numpy().argmax(1) == labels)[known].mean())
    length = float(np.linalg.norm(logits.numpy()[known], axis=1).mean())
    return level, length, right, ranking(best[known], best[~known])


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=40, help="passes over digits (default: 40)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'':10} {'|log Z|':>8} {'length':>8} {'accuracy':>9} {'AUROC':>7}")
    found = {}
    for name in LOSSES:
        found[name] = level, length, right, rank = run(name, digits, options.epochs)
        print(f"{name:10} {level:8.2f} {length:8.2f} {right:9.1%} {rank:7.3f}")
    return found


if __name__ == "__main__":
    main()
