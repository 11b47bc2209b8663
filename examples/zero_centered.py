"""Is y = (1 + v)·x̂ only another notation for y = w·x̂? Until weights decay, yes.

Two networks with one RMSNorm start from the same numbers and see the same batch: one multiplies by a weight w
that starts at 1, one by 1 + v with v starting at 0 (zero_centered=True, as in Gemma). Adam trains both, first
without weight decay, then with a decay of 1 on the norm's weight alone, pulled toward 0, as a recipe does
that does not know of it. Two more do what is neutral: optim.split_decay pulls w toward 1 and v toward 0. The
last two leave the weight out (elementwise_affine=False) or put it first (input_scaled=True).

Measured, 300 steps: without decay the losses of w and of 1 + v differ by 2e-12 at most: one layer, two
notations. With decay toward 0 they are two layers: the mean scale ends at 0.74 for w and 1.37 for 1 + v, and
the loss at 0.050 and 0.014, where it is 0.006 without decay. split_decay gives w the end of 1 + v. Here the
output needs a scale above 1, which favours no decay at all. A weight on the input, or none, ends at 0.04:
both leave the root mean square of the output at 1, where the others let it grow. About 3 seconds on one core.

    python examples/zero_centered.py [--steps 300]
"""

import argparse
from functools import partial

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F

D = 32


def decay_toward_0(model):
    """Return groups with a decay of 1 on the weight of the norm, toward 0."""
    norm = list(model[1].parameters())
    others = [p for layer in (model[0], model[3]) for p in layer.parameters()]
    return [{"params": others, "weight_decay": 0.0}, {"params": norm, "weight_decay": 1.0}]


def no_decay(model):
    """Return one group, which does not decay."""
    return [{"params": list(model.parameters()), "weight_decay": 0.0}]


def neutral_decay(model):
    """Return groups with a decay of 1 on the weight of the norm, toward the value that scales by 1."""
    return [group for group in optim.split_decay(model, 0.0, norm_decay=1.0) if group["params"]]


WAYS = {  # how the norm is made, and what decays
    "w, no decay": (nn.RMSNorm, no_decay),
    "1 + v, no decay": (partial(nn.RMSNorm, zero_centered=True), no_decay),
    "w, decay": (nn.RMSNorm, decay_toward_0),
    "1 + v, decay": (partial(nn.RMSNorm, zero_centered=True), decay_toward_0),
    "w, split_decay": (nn.RMSNorm, neutral_decay),
    "1 + v, split_decay": (partial(nn.RMSNorm, zero_centered=True), neutral_decay),
    "1 + v on the input": (partial(nn.RMSNorm, input_scaled=True), no_decay),
    "no weight": (partial(nn.RMSNorm, elementwise_affine=False), no_decay),
}


def train(make, groups, steps):
    """Return the losses of all steps, and the mean scale at the end."""
    tn.manual_seed(0)
    norm = make(D, eps=1e-6)
    model = nn.Sequential(nn.Linear(8, D), norm, nn.Tanh(), nn.Linear(D, 1)).double()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8))
    target = tn.tensor(np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3])
    optimizer = optim.AdamW(groups(model), 5e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(tn.tensor(x)), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weight = np.ones(D) if norm.weight is None else norm.weight.numpy() + norm.zero_centered
    return np.array(losses), float(weight.mean())


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=300, help="of Adam (default: 300)")
    options = parser.parse_args(arguments)
    found = {}
    print(f"{'':20} {'last loss':>10} {'mean scale':>11}")
    for name, way in WAYS.items():
        found[name] = losses, scale = train(*way, options.steps)
        print(f"{name:20} {losses[-1]:10.4f} {scale:11.3f}")
    apart = abs(found["w, no decay"][0] - found["1 + v, no decay"][0]).max()
    print(f"\nlargest difference of a loss between w and 1 + v without decay: {apart:.1e}")
    return found


if __name__ == "__main__":
    main()
