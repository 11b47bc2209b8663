"""A deep network whose weights are normalized in different ways: at the start, and after some epochs.

Four convolutions and two linear layers on scikit-learn's digits, without any normalization of activations:
plain; with weight normalization; with that and one batch that sets its lengths and biases (data-dependent
initialization); with centered weights; with a learned spectral norm (σReparam); with cosines for products;
and plain with each weight divided by its largest singular value after every step. Prints the standard
deviation of the last hidden layer before its ReLU at the start, which tells whether the signal survives the
depth, the training loss of the last epoch, and the test accuracy. Cosines are at most 1, so a fixed factor
follows them: the root of the width. About half a minute on one core.

    python examples/normalized_weights.py [--epochs 3]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import SpectralProjection, data_dependent_init_
from tinygrad_norm.nn.utils.parametrizations import centered_weight_norm, sigma_reparam, weight_norm


class Scaled(nn.Module):
    """A layer times a fixed factor."""

    def __init__(self, layer, factor):
        super().__init__()
        self.layer, self.factor = layer, factor

    def forward(self, x):
        return self.factor * self.layer(x)


LAYERS = {  # a convolution and a linear layer
    "plain": (nn.Conv2d, nn.Linear),
    "weight norm": (
        lambda *sizes, **options: weight_norm(nn.Conv2d(*sizes, **options)),
        lambda *sizes: weight_norm(nn.Linear(*sizes)),
    ),
    "centered": (
        lambda *sizes, **options: centered_weight_norm(nn.Conv2d(*sizes, **options)),
        lambda *sizes: centered_weight_norm(nn.Linear(*sizes)),
    ),
    "σReparam": (
        lambda *sizes, **options: sigma_reparam(nn.Conv2d(*sizes, **options)),
        lambda *sizes: sigma_reparam(nn.Linear(*sizes)),
    ),
    "cosine": (
        lambda C, F, K, **options: Scaled(nn.CosineConv2d(C, F, K, **options), (C * K * K) ** 0.5),
        lambda D, K: Scaled(nn.CosineLinear(D, K), D**0.5),
    ),
}
WAYS = {
    "plain": "plain",
    "spectral projection": "plain",
    "weight norm": "weight norm",
    "weight norm, initialized by a batch": "weight norm",
    "centered weight norm": "centered",
    "σReparam": "σReparam",
    "cosine": "cosine",
}


def make_network(way):
    conv, linear = LAYERS[WAYS[way]]
    hidden = [layer for _ in range(3) for layer in (conv(16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(
        *(conv(1, 16, 3, padding=1), nn.ReLU(), *hidden, nn.MaxPool2d(2), nn.Flatten()),
        *(linear(256, 64), nn.ReLU(), linear(64, 10)),
    )


@tn.no_grad()
def accuracy(net, split):
    logits = net.eval()(tn.tensor(split.images)).numpy()
    return float((logits.argmax(1) == split.labels).mean())


def run(way, digits, epochs):
    """Return the spread of the last hidden layer at the start, the last epoch's loss and the accuracy."""
    tn.manual_seed(0)
    net, batch = make_network(way), tn.tensor(digits.train.images[:256])
    if way == "weight norm, initialized by a batch":
        data_dependent_init_(net, batch)
    with tn.no_grad():
        spread = float(net[:-2](batch).numpy().std(0).mean())
    optimizer = optim.Adam(net.parameters(), 1e-3)
    projection = SpectralProjection(net) if way == "spectral projection" else None
    for _ in range(epochs):
        losses = []
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            if projection:
                projection.project_()
            losses.append(loss.item())
    return spread, float(np.mean(losses)), accuracy(net, digits.test)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=3, help="passes over the digits (default: 3)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'weights':36} {'spread at first':>15} {'training loss':>14} {'test accuracy':>14}")
    found = {}
    for way in WAYS:
        found[way] = spread, loss, share = run(way, digits, options.epochs)
        print(f"{way:36} {spread:15.3f} {loss:14.4f} {share:14.1%}")
    return found


if __name__ == "__main__":
    main()
