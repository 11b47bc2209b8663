"""What a change of the gradient does at a learning rate that is too large without one.

A plain MLP of four layers on scikit-learn's digits, with plain SGD at learning rate 1. Each line of the table
is the same network with the same batches, and one call between `loss.backward()` and `optimizer.step()`. It
prints the loss, the accuracy, and the longest relative step lr·‖G_k‖/‖W_k‖ of a unit, a row of a weight:
adaptive clipping limits just this. (With the unit norm, the learning rate is the length of every step: 0.1.)
The last layer is not clipped adaptively, and not measured. About 10 seconds.

    python examples/gradient_norms.py [--epochs 5]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn import utils

CHANGES = {
    "nothing": (lambda parameters: None, 1.0),
    "clipped by norm": (lambda parameters: utils.clip_grad_norm_(parameters, 0.3), 1.0),
    "clipped by value": (lambda parameters: utils.clip_grad_value_(parameters, 0.01), 1.0),
    "unit norm": (lambda parameters: utils.normalize_grad_(parameters), 0.1),
    "clipped adaptively": (lambda parameters: utils.adaptive_clip_grad_(parameters[:-2], 0.05), 1.0),
    "centralized": (lambda parameters: utils.centralize_grad_(parameters), 1.0),
}


def relative_step(model, lr):
    """Return the longest lr·‖G_k‖/‖W_k‖ of the rows of all but the last layer."""
    weights = [p for p in model.parameters() if p.ndim == 2][:-1]
    ratios = [np.linalg.norm(w.grad.numpy(), axis=1) / np.linalg.norm(w.numpy(), axis=1) for w in weights]
    return lr * float(np.max(ratios))


def train(change, lr, digits, epochs):
    """Return the mean loss of the last epoch, the test accuracy and the longest relative step."""
    tn.manual_seed(0)
    layers = [nn.Flatten()]
    for _ in range(3):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = optim.SGD(model.parameters(), lr)
    losses, steps = [], []
    for _ in range(epochs):
        losses.append([])
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            change(list(model.parameters()))
            steps.append(relative_step(model, lr))
            optimizer.step()
            losses[-1].append(loss.item())
    with tn.no_grad():
        logits = model(tn.tensor(digits.test.images)).numpy()
    return np.mean(losses[-1]), float(np.mean(logits.argmax(1) == digits.test.labels)), max(steps)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5, help="passes over the digits (default: 5)")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    found = {}
    print(f"{'the gradient':20} {'loss':>8} {'test accuracy':>14} {'longest relative step':>22}")
    for name, (change, lr) in CHANGES.items():
        loss, accuracy, step = found[name] = train(change, lr, digits, options.epochs)
        print(f"{name:20} {loss:8.4f} {accuracy:14.1%} {step:22.3f}")
    return found


if __name__ == "__main__":
    main()
