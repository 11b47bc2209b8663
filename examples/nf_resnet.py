"""A residual network without normalization, and its twin with batch normalization.

The Normalizer-Free network has scaled standardized weights, a factor α on each branch, and adaptive gradient
clipping. Prints the variance of the activations after each block of a wide, new network of each kind, which
grows by that of the branch, and starts again where the size halves; and what is predicted without any data.
(Zeros at the border have no variance: the figures stay a little below.) Then trains two small networks on
scikit-learn's digits. About ten seconds on one core. The network and the prediction are in
tinygrad_norm/experiments/exact/branch_variances.py, which measures them for three α and several seeds.

    python examples/nf_resnet.py [--epochs 6] [--alpha 0.2]
"""

import argparse
import math

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.experiments.exact.branch_variances import expected, normalizer_free, stages, variances
from tinygrad_norm.nn import functional as F


def batch_normalized(width):
    blocks = [nn.ResidualBlock(*stage) for stage in stages(width)]
    network = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), *blocks)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # after a ReLU, outputs of mean square 1
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def classifier(body, width, norm):
    head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)
    return nn.Sequential(body, norm, *head)


def train(model, digits, epochs, clip):
    optimizer = optim.Adam(model.parameters(), 3e-3)
    clipped = list(model.parameters())[:-2]  # all but the last linear layer, as in the paper
    for _ in range(epochs):
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model.train()(images), labels).backward()
            if clip:
                nn.utils.adaptive_clip_grad_(clipped, 0.05)
            optimizer.step()


@tn.no_grad()
def accuracy(model, split):
    logits = model.eval()(tn.tensor(split.images)).numpy()
    return float((logits.argmax(1) == split.labels).mean())


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=6, help="passes over the digits (default: 6)")
    parser.add_argument("--alpha", type=float, default=0.2, help="the factor of each branch (default: 0.2)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.StandardScaler())
    tn.manual_seed(0)

    noise = tn.randn(8, 1, 32, 32)
    of_relu = 1 - 1 / math.pi  # 2·Var[ReLU(z)]: these weights keep the mean, which does not vary
    rows = {
        "normalizer-free": variances(normalizer_free(64, options.alpha), noise),
        "  predicted": expected(64, 1, options.alpha**2, 1),
        "batch norm": variances(batch_normalized(64), noise),
        "  predicted ": expected(64, 2, of_relu, of_relu),
    }
    print(f"{'variance after block':22}" + "".join(f"{n:8}" for n in range(1, 5)))
    for name, row in rows.items():
        print(f"{name:22}" + "".join(f"{value:8.3f}" for value in row))

    print(f"\n{'':22}{'test accuracy':>14}")
    for name, body, norm in (
        ("normalizer-free", normalizer_free(16, options.alpha), nn.Identity()),
        ("batch norm", batch_normalized(16), nn.BatchNorm2d(32)),
    ):
        model = classifier(body, 16, norm)
        train(model, digits, options.epochs, clip=name == "normalizer-free")
        rows[name, "accuracy"] = accuracy(model, digits.test)
        print(f"{name:22}{rows[name, 'accuracy']:14.1%}")
    return rows


if __name__ == "__main__":
    main()
