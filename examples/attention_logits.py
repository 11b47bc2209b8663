"""The scores of one attention layer at a learning rate ten times too high, and four ways to bound them.

    python examples/attention_logits.py [--steps 150] [--lr 0.003]

A sequence holds 12 keys, each with a value, and a query that resembles one of the keys: the layer has to
find the key and return its value. All variants see the same batches, with Adam at --lr and at ten times
that. Task and layer are in tinygrad_norm/experiments/exact/bounded_logits.py. Columns: the cross-entropy of
the last tenth of the steps, and the largest |score| that the softmax got in training at the first step,
halfway and at the end. About 5 seconds on one core (the last digits differ between machines):

    lr 0.003              loss    max|s| first     half      end
    none                   1.063            0.8      2.0     15.2
    QK norm, l2            0.234            4.6      5.5      7.1
    QK norm, rms           0.111            2.6      3.6      6.5
    QK norm, no weight     0.257            2.6      3.5      3.9
    soft cap 20            1.065            0.8      2.1     12.8
    QK-Clip 20             1.122            0.8      2.0     15.2
    lr 0.03               loss    max|s| first     half      end
    none                   2.204            0.8    265.3   1153.6
    QK norm, l2            1.893            4.6      4.6      3.1
    QK norm, rms           1.579            2.6      1.1      7.6
    QK norm, no weight     1.022            2.6      3.5      3.9
    soft cap 20            2.132            0.8     20.0     20.0
    QK-Clip 20             2.131            0.8     10.9     12.1

All four bound what the softmax sees: without any, the scores pass 1000. But a bound is not yet a cure.
The cap and the clip do not change training before scores are large, and at ten times the learning rate
they keep the scores small without learning more than guessing (a loss of log 8 = 2.08). The norms also
decide how sharp the attention is at first, and learn best at both rates; without a weight, |s| cannot
pass √16 = 4.
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import optim
from tinygrad_norm.experiments.exact.bounded_logits import Recall, draw_pairs
from tinygrad_norm.nn import functional as F

VARIANTS = {
    "none": {},
    "QK norm, l2": {"qk_norm": "l2"},
    "QK norm, rms": {"qk_norm": "rms"},
    "QK norm, no weight": {"qk_norm": "rms-weightless"},
    "soft cap 20": {"softcap": 20.0},
    "QK-Clip 20": {"threshold": 20.0},
}


def train(steps, lr, threshold=None, **options):
    """Return the losses and the largest |score| of each step."""
    tn.manual_seed(0)
    rng, model = np.random.default_rng(0), Recall(**options)
    optimizer, losses, largest = optim.Adam(model.parameters(), lr), [], []
    clip = None if threshold is None else optim.QKClip(model, threshold)
    observed = model.attention.observer  # that of QKClip

    def observe(q, k, mask, scale):
        if observed is not None:
            observed(q, k, mask, scale)
        with tn.no_grad():
            scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
            cap = model.attention.softcap
            largest.append((scores if cap is None else F.softcap(scores, cap)).abs().max().item())

    model.attention.observer = observe
    for _ in range(steps):
        *inputs, values = draw_pairs(rng)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(*inputs), values)
        loss.backward()
        optimizer.step()
        if clip is not None:
            model.attention.observer = observed
            clip.step()
            model.attention.observer = observe
        losses.append(loss.item())
    return losses, largest


def positive(kind):
    def convert(text):
        if not kind(text) > 0:
            raise argparse.ArgumentTypeError(f"must be positive, got {text!r}")
        return kind(text)

    return convert


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive(int), default=150, help="training steps (default: 150)")
    parser.add_argument("--lr", type=positive(float), default=0.003, help="learning rate (default: 0.003)")
    options = parser.parse_args(arguments)
    results = {}
    for lr in (options.lr, 10 * options.lr):
        print(f"lr {lr:<18g} loss    max|s| first     half      end")
        for name, kind in VARIANTS.items():
            losses, largest = results[name, lr] = train(options.steps, lr, **kind)
            last = np.mean(losses[-max(1, options.steps // 10) :])
            shown = [largest[i] for i in (0, options.steps // 2, -1)]
            print(f"{name:21} {last:6.3f}      ", *(f"{value:8.1f}" for value in shown), flush=True)
    return results


if __name__ == "__main__":
    main()
