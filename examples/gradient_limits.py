"""Normalizations of gradients: which of them let a deep network learn at learning rate 1.0?

The MLP of high_learning_rate.py without its BatchNorm, plain SGD, scikit-learn's digits. Between backward and
step, each run does something else to the gradients: clipping by norm, by value or, unit by unit, relative to
the weights; a total length of 1 (with a learning rate of 0.3, which then is the length of every step);
centralization. Prints a table of training losses, test accuracies and of the longest step, relative to all
weights. Ten seconds on one core.

    python examples/gradient_limits.py [--epochs 10] [--lr 1.0]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

LIMITS = {  # what is done to the gradients, and a factor of the learning rate
    "nothing": (lambda parameters: None, 1.0),
    "norm at most 0.5": (lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.5), 1.0),
    "values at most 0.01": (lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01), 1.0),
    "units at most 0.05 ‖W‖": (lambda parameters: nn.utils.adaptive_clip_grad_(parameters, 0.05), 1.0),
    "length 1": (nn.utils.normalize_grad_, 0.3),
    "mean 0": (nn.utils.centralize_grad_, 1.0),
}


def make_mlp():
    hidden = [part for _ in range(5) for part in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


def length(arrays):
    return float(np.sqrt(sum((array.astype("float64") ** 2).sum() for array in arrays)))


def train(model, digits, epochs, lr, limit):
    """Return the mean loss of the last epoch, and the longest step relative to the weights."""
    parameters = list(model.parameters())
    optimizer = optim.SGD(parameters, lr)
    longest = 0.0
    for _ in range(epochs):
        losses = []
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            limit(parameters)
            step = lr * length(p.grad.numpy() for p in parameters)
            longest = max(longest, step / length(p.numpy() for p in parameters))
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses)), longest


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--epochs", type=positive_int, default=10, help="passes over the digits (default: 10)"
    )
    parser.add_argument("--lr", type=float, default=1.0, help="learning rate (default: 1.0)")
    options = parser.parse_args(arguments)
    if not 0 < options.lr < float("inf"):
        parser.error(f"argument --lr: must be a positive number, got {options.lr}")
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    found = {}
    print(f"{'gradients':23} {'training loss':>14} {'test accuracy':>14} {'longest step':>13}")
    for name, (limit, factor) in LIMITS.items():
        tn.manual_seed(0)
        model = make_mlp()
        loss, longest = train(model, digits, options.epochs, options.lr * factor, limit)
        with tn.no_grad():
            logits = model(tn.tensor(digits.test.images)).numpy()
        accuracy = float((logits.argmax(1) == digits.test.labels).mean())
        found[name] = loss, accuracy, longest
        print(f"{name:23} {loss:14.4f} {accuracy:14.1%} {longest:13.3f}", flush=True)
    return found


if __name__ == "__main__":
    main()
