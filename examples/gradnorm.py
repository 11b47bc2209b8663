"""GradNorm: ten regressions of different scale share one network, and their losses find their weights.

The toy of Chen et al. 2018 (arXiv:1711.02257): task i is y = scale_i·tanh((B + ε_i)·x), scales from 1 to 100.
With equal weights, the loud tasks have the shared layers for themselves. GradNorm multiplies each loss by a
weight so that all tasks pull equally at the last shared layer. Prints a table: scale, weight, weight·scale,
and the error of each task in units of its scale, with equal weights and with GradNorm. About 20 seconds.
The tasks and the training are in tinygrad_norm/experiments/exact/loss_weights.py.

    python examples/gradnorm.py [--steps 800]
"""

import argparse

from tinygrad_norm.experiments.exact.loss_weights import SCALES, train

LR = 2e-3


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800, help="training steps (default: 800)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    equal = train(False, options.steps, LR, seed=0)["errors"]
    found = train(True, options.steps, LR, seed=0)
    weights, balanced = found["weights"][-1], found["errors"]
    print("                                 error in units of the scale")
    print(f"{'scale':>8} {'weight':>8} {'weight·scale':>13} {'equal weights':>14} {'GradNorm':>9}")
    for row in zip(SCALES, weights, weights * SCALES, equal, balanced, strict=True):
        print("{:8.1f} {:8.3f} {:13.2f} {:14.3f} {:9.3f}".format(*row))
    print(f"{'worst':>8} {'':8} {'':13} {equal.max():14.3f} {balanced.max():9.3f}")
    return weights, equal, balanced


if __name__ == "__main__":
    main()
