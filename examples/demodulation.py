"""Weight demodulation: outputs of size 1 whatever the style, without looking at an image.

A convolution of 64 channels, normal inputs, and styles of size 0.1, 1 and 10: prints the standard deviation
of the outputs, with and without demodulation. Then styles that are drawn anew, between 0.1 and 10, for each
of 8 layers with leaky ReLU: the deviation after the last.

Then a spike: one pixel is made large. Prints the deviation of the pixels that do not see it, in the same
channel, as a share of what it was without the spike, with demodulation and with InstanceNorm. As seen:

    style                 0.1       1      10    8 layers
    not demodulated      0.10    1.00   10.00    9.09e+03
    demodulated          1.00    1.00    1.00       0.934

    spike                   0      10     100    1000
    demodulated          1.00    1.00    1.00    1.00
    InstanceNorm         1.00    0.99    0.81    0.15

So a style no longer scales what follows, and since demodulation measures nothing, a spike costs the others
nothing, where InstanceNorm shrinks the whole channel. What it assumes: outputs have size 1 only if the inputs
are independent and have size 1. Nothing is trained here.

    python examples/demodulation.py
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

CHANNELS, SIZES, SPIKES = 64, (0.1, 1.0, 10.0), (0.0, 10.0, 100.0, 1000.0)


def conv(x, style, demodulate, rng):
    weight = tn.tensor((rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) / 3 / CHANNELS**0.5).astype("float32"))
    return F.modulated_conv2d(x, weight, style, padding=1, demodulate=demodulate)


def inputs(rng):
    return tn.tensor(rng.normal(size=(4, CHANNELS, 16, 16)).astype("float32"))


def middle(y):
    """Return the deviation of y without its border, where the window sees zeros."""
    return float(y.numpy()[..., 1:-1, 1:-1].std())


def deviations(demodulate):
    """Return the deviation of the outputs for each size of the styles, and after 8 layers of random ones."""
    found = []
    for size in SIZES:
        rng = np.random.default_rng(0)
        style = tn.tensor(size * rng.choice([-1.0, 1.0], (4, CHANNELS)).astype("float32"))
        found.append(middle(conv(inputs(rng), style, demodulate, rng)))
    rng = np.random.default_rng(1)
    x = inputs(rng)
    for _ in range(8):
        style = tn.tensor((10 ** rng.uniform(-1, 1, (4, CHANNELS))).astype("float32"))
        x = 2**0.5 * F.leaky_relu(conv(x, style, demodulate, rng), 0.2)
    return [*found, middle(x)]


def beside_a_spike(norm):
    """Return the deviation of the pixels beside a spike, relative to that without one, for each spike."""
    found = []
    for size in SPIKES:
        rng = np.random.default_rng(2)
        x = inputs(rng).numpy()
        x[0, 0, 8, 8] += size
        y = norm(tn.tensor(x), rng).numpy()[0, 0]
        y[8, 8] = np.nan
        y[6:11, 6:11] = np.nan  # what a 3×3 window carries the spike to
        found.append(float(np.nanstd(y)))
    return [value / found[0] for value in found]


def demodulated(x, rng):
    return conv(x, tn.ones(4, CHANNELS), True, rng)


def instance_norm(x, rng):
    return nn.InstanceNorm2d(CHANNELS)(conv(x, tn.ones(4, CHANNELS), False, rng))


def main(arguments=None):
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    found = {}
    print(f"{'style':17}" + "".join(f"{size:8g}" for size in SIZES) + "    8 layers")
    for name, demodulate in (("not demodulated", False), ("demodulated", True)):
        found[name] = deviations(demodulate)
        print(
            f"{name:17}" + "".join(f"{value:8.2f}" for value in found[name][:-1]) + f"{found[name][-1]:12.3g}"
        )
    print(f"\n{'spike':17}" + "".join(f"{size:8g}" for size in SPIKES))
    for name, norm in (("demodulated", demodulated), ("InstanceNorm", instance_norm)):
        found[name, "spike"] = beside_a_spike(norm)
        print(f"{name:17}" + "".join(f"{value:8.2f}" for value in found[name, "spike"]))
    return found


if __name__ == "__main__":
    main()
