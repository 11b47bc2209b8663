"""GRPO and Dr. GRPO on questions of different difficulty: what dividing by the deviation changes.

A policy answers three questions, each with several answers of which one is right; it starts with
probabilities of the right one of 0.9, 0.5 and 0.05. Each step draws 16 answers to each question, rewards
right ones with 1, and follows the policy gradient with group advantages: over their deviation (GRPO), or
only centered (Dr. GRPO). Plain gradient ascent, averaged over many policies. Prints the size of the first
update of the right answer's logit for each question, and the mean probabilities of right answers after some
steps.

    python examples/group_advantages.py [--steps 60]

    right at first                      0.90      0.50      0.05
    GRPO: first update                0.0710    0.1399    0.0421
    GRPO: right at the end             0.985     0.979     0.934
    Dr. GRPO: first update            0.0240    0.0699    0.0123
    Dr. GRPO: right at the end         0.960     0.924     0.168

The division makes all updates larger: 2.0 times for the question in the middle, 3.0 and 3.4 times for the
easy and the hard one. That is the bias toward questions whose answers agree. Here it is no harm, on the
contrary: with the same learning rate the hard question is learned by GRPO only. A larger rate would do that
for Dr. GRPO.
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.nn import functional as F

START, GROUP, POLICIES, LR = np.array([0.9, 0.5, 0.05]), 16, 200, 0.3


def run(scale, steps):
    """Return the mean first update of each question's logit, and the mean of the probabilities at the end."""
    rng = np.random.default_rng(0)
    logit = tn.tensor(np.tile(np.log(START / (1 - START)), (POLICIES, 1)), requires_grad=True)
    first = None
    for _ in range(steps):
        p = logit.sigmoid()
        right = rng.random((*p.shape, GROUP)) < p.detach().numpy()[..., None]
        A = F.group_advantages(tn.tensor(right.astype(float)), scale)
        log_p = tn.where(tn.tensor(right), p.log().unsqueeze(2), (1 - p).log().unsqueeze(2))
        logit.grad = None
        (A * log_p).mean(2).sum().backward()
        with tn.no_grad():
            logit += LR * logit.grad
        if first is None:
            first = LR * logit.grad.numpy().mean(0)
    return first, logit.detach().sigmoid().numpy().mean(0)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=60, help="updates (default: 60)")
    options = parser.parse_args(arguments)
    found = {name: run(scale, options.steps) for name, scale in (("GRPO", True), ("Dr. GRPO", False))}
    print(f"{'right at first':30}" + "".join(f"{p:10.2f}" for p in START))
    for name, (first, last) in found.items():
        print(f"{name + ': first update':30}" + "".join(f"{step:10.4f}" for step in first))
        print(f"{name + ': right at the end':30}" + "".join(f"{p:10.3f}" for p in last))
    return found


if __name__ == "__main__":
    main()
