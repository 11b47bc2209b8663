"""One small CNN, and in the place of its normalization every one that there is for images.

Two convolutions on scikit-learn's digits, each followed by the normalization and ReLU, with the same initial
weights and batches for all. AdamW decays the weights of normalizations toward 1, not toward 0. Prints a table
of the training loss in the last epoch and the test accuracy. With so few and small images they are close; the
columns show which ones train alike. About a minute on one core.

    python examples/image_norms.py [--epochs 3] [--norms batch,group]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

NORMS = {  # from the shape (C, H, W)
    "none": lambda C, H, W: nn.Identity(),
    "batch": lambda C, H, W: nn.BatchNorm2d(C),
    "batch in slices of 16": lambda C, H, W: nn.GhostBatchNorm2d(C, 16),
    "batch with weighing": lambda C, H, W: nn.WeighedBatchNorm2d(C, inference_weight=0.1),
    "batch with noise": lambda C, H, W: nn.NoisyBatchNorm2d(C),
    "batch × group": lambda C, H, W: nn.BatchGroupNorm2d(C, C // 4),
    "batch then group": lambda C, H, W: nn.BatchChannelNorm2d(C, C // 4),
    "group": lambda C, H, W: nn.GroupNorm(C // 4, C),
    "instance": lambda C, H, W: nn.InstanceNorm2d(C, affine=True),
    "layer": lambda C, H, W: nn.LayerNorm((C, H, W)),
    "rms": lambda C, H, W: nn.RMSNorm((C, H, W)),
    "local response": lambda C, H, W: nn.LocalResponseNorm(5, alpha=0.1),
    "global response": lambda C, H, W: nn.GlobalResponseNorm(C),
    "filter response": lambda C, H, W: nn.FilterResponseNorm2d(C),
    "dynamic tanh": lambda C, H, W: nn.DynamicTanh((C, H, W)),
}


def make_cnn(norm):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        norm(16, 8, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 8×8 to 4×4 pixels
        nn.Conv2d(16, 16, 3, padding=1),
        norm(16, 4, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


def train(model, digits, epochs):
    """Return the mean training loss of the last epoch."""
    optimizer = optim.AdamW(optim.split_decay(model, 0.01, norm_decay=0.01, norm_target=1.0), 3e-3)
    for _ in range(epochs):
        losses = []
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses))


@tn.no_grad()
def accuracy(model, split):
    logits = model.eval()(tn.tensor(split.images)).numpy()
    return float((logits.argmax(1) == split.labels).mean())


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def names(text):
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in NORMS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}: choose of {', '.join(NORMS)}")
    return chosen


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=3, help="passes over the digits (default: 3)")
    parser.add_argument("--norms", type=names, default=list(NORMS), help="some of them (default: all)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'':20} {'training loss':>14} {'test accuracy':>14}")
    found = {}
    for name in options.norms:
        tn.manual_seed(0)
        model = make_cnn(NORMS[name])
        found[name] = loss, share = train(model, digits, options.epochs), accuracy(model, digits.test)
        print(f"{name:20} {loss:14.4f} {share:14.1%}")
    return found


if __name__ == "__main__":
    main()
