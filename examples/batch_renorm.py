"""Batch renormalization and PowerNorm on small batches: training computes what evaluation does.

A small MLP on scikit-learn's digits, with batches of 64 and of 4 samples, the same number of samples in both.
With batches of 4, the statistics of BatchNorm are noise that evaluation has not; BatchRenorm corrects them by
the running ones, and PowerNorm divides by running ones in training too. In the rows "population" the running
statistics of the trained BatchNorm are replaced by those of all training images. Prints a table of test
accuracies and of the gap between both modes: how far the logits of the test images, in batches as in
training, are from those in evaluation. About 20 seconds on one core.

    python examples/batch_renorm.py [--epochs 8] [--seeds 3]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F


def make_mlp(norm, batches):
    """Return an MLP whose renormalization is fully corrected after half of the batches."""
    schedule = nn.RenormSchedule(batches // 20, batches // 2, batches // 2)
    layers = {
        "batch": nn.BatchNorm1d,
        "renorm": lambda n: nn.BatchRenorm1d(n, schedule=schedule),
        "power": lambda n: nn.PowerNorm(n, warmup=batches // 20),
    }
    hidden = [part for _ in range(2) for part in (nn.Linear(64, 64), layers[norm](64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


def train(norm, digits, batch_size, epochs):
    """Return the trained model."""
    loader = data.DataLoader(digits.train, batch_size, shuffle=True, drop_last=True)
    model = make_mlp(norm, epochs * len(loader))
    optimizer = optim.SGD(model.parameters(), 0.1 * batch_size / 64, momentum=0.9)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model


def measure(model, digits, batch_size):
    """Return the test accuracy, and how far the logits of training mode are from those of evaluation."""
    images = digits.test.images
    with tn.no_grad():
        logits = model.eval()(tn.tensor(images)).numpy()
        model.train()
        whole = range(0, len(images) // batch_size * batch_size, batch_size)
        batches = [model(tn.tensor(images[k : k + batch_size])).numpy() for k in whole]
    in_training = np.concatenate(batches)
    gap = abs(in_training - logits[: len(in_training)]).mean()
    return (logits.argmax(1) == digits.test.labels).mean(), gap


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=8, help="passes over the digits (default: 8)")
    parser.add_argument("--seeds", type=positive_int, default=3, help="runs of each (default: 3)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'':10} {'batch size':>10} {'test accuracy':>14} {'gap of the modes':>17}")
    found = {}
    for batch_size in (64, 4):
        figures = {"batch": [], "population": [], "renorm": [], "power": []}
        for seed in range(options.seeds):
            for norm in ("batch", "renorm", "power"):
                tn.manual_seed(seed)
                model = train(norm, digits, batch_size, options.epochs)
                figures[norm].append(measure(model, digits, batch_size))
                if norm == "batch":
                    batches = data.DataLoader(digits.train, 256)
                    nn.utils.update_bn(batches, model, layer_by_layer=True)
                    figures["population"].append(measure(model, digits, batch_size))
        for norm in figures:
            accuracy, gap = found[norm, batch_size] = np.mean(figures[norm], 0)
            print(f"{norm:10} {batch_size:10} {accuracy:14.1%} {gap:17.3f}")
    return found


if __name__ == "__main__":
    main()
