"""Why to normalize: at learning rate 1.0, a network with BatchNorm learns and one without does not.

A 6-layer MLP on scikit-learn's digits with plain SGD; both networks have the same initial weights and
batches. Ten epochs take about a second on one core. Prints a table and plots the learning curves to
high_learning_rate.png.

    python examples/high_learning_rate.py [--epochs 10] [--lr 1.0] [--out high_learning_rate.png]
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.files import replacing
from tinygrad_norm.nn import functional as F


def make_mlp(norm):
    layers = [nn.Flatten()]
    for _ in range(5):
        layers += [nn.Linear(64, 64), *([nn.BatchNorm1d(64)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def train(model, digits, epochs, lr):
    """Return the mean training loss of every epoch, and the test accuracy."""
    optimizer = optim.SGD(model.parameters(), lr)
    loader = data.DataLoader(digits.train, 64, shuffle=True)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(digits.train))
    model.eval()
    with tn.no_grad():
        logits = model(tn.tensor(digits.test.images)).numpy()
    return losses, float(np.mean(logits.argmax(1) == digits.test.labels))


def draw(curves, lr, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=120)
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, marker=".", label=name)
    axes.set(xlabel="epoch", ylabel="training loss (nats)", title=f"6-layer MLP, SGD, learning rate {lr}")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def positive_number(text):
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return float(text)


def picture(text):
    path = Path(text)
    if path.suffix not in (".png", ".svg") or path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a .png or .svg file in an existing folder, got {text!r}")
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--epochs", type=positive_int, default=10, help="passes over the digits (default: 10)"
    )
    parser.add_argument("--lr", type=positive_number, default=1.0, help="learning rate (default: 1.0)")
    parser.add_argument(
        "--out",
        type=picture,
        default="high_learning_rate.png",
        help="plot file, .png or .svg (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if find_spec("matplotlib") is None:
        parser.error("the plot needs matplotlib: pip install 'tinygrad_norm[plot]'")

    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    curves, accuracies = {}, {}
    print(f"{'':20} {'first loss':>10} {'last loss':>10} {'test accuracy':>14}")
    for name, norm in (("with BatchNorm", True), ("without", False)):
        tn.manual_seed(0)
        curves[name], accuracies[name] = train(make_mlp(norm), digits, options.epochs, options.lr)
        print(f"{name:20} {curves[name][0]:10.4f} {curves[name][-1]:10.4f} {accuracies[name]:14.1%}")
    draw(curves, options.lr, options.out)
    print(f"plot in {options.out}")
    return curves, accuracies


if __name__ == "__main__":
    main()
