"""EDM2's layers keep the magnitude of what passes them, without looking at it: at first, and while training.

A residual network of 3×3 convolutions on scikit-learn's 8×8 digits, three times: x + conv(SiLU(x)) with
weights of variance 1/fan_in; the same with BatchNorm before each SiLU; and with magnitude-preserving layers
(nn.MPConv2d, mp_silu, mp_sum with t = 0.3). Prints the root mean square of the stream after the last block,
before and after training with Adam, how much larger the weights of the blocks have become, and the test
accuracy. As seen:

                            stream   trained   weights  accuracy
    plain                     4.83     17.67     1.65×     0.985
    BatchNorm                 1.95     16.68     1.89×     0.981
    magnitude-preserving      1.17      5.98     1.00×     0.937

So the weights stay as long as they were, and the stream starts at 1 and grows least: what passes is no longer
independent after training, so it does grow. At one learning rate it learns more slowly: its weights of size 1
are 12 times those of the others, so a step of Adam turns them less. At --lr 0.05 it reaches 0.981, and the
others 0.959 and 0.963: at its best learning rate each is about as good. One seed.

    python examples/magnitudes.py [--steps 300] [--depth 8] [--lr 0.01]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

CHANNELS = 16


def plain_conv(inputs, outputs):
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.normal_(layer.weight, std=(9 * inputs) ** -0.5)
    return layer


class Plain(nn.Module):
    """x + conv(SiLU(x)), with a BatchNorm before SiLU or without."""

    def __init__(self, norm):
        super().__init__()
        self.norm = nn.BatchNorm2d(CHANNELS) if norm else nn.Identity()
        self.conv = plain_conv(CHANNELS, CHANNELS)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


class Preserving(nn.Module):
    """mp_sum(x, conv(mp_silu(x)))."""

    def __init__(self):
        super().__init__()
        self.conv = nn.MPConv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x):
        return F.mp_sum(x, self.conv(F.mp_silu(x)), 0.3)


KINDS = {
    "plain": (plain_conv, lambda: Plain(False)),
    "BatchNorm": (plain_conv, lambda: Plain(True)),
    "magnitude-preserving": (lambda i, o: nn.MPConv2d(i, o, 3, padding=1), Preserving),
}


class Network(nn.Module):
    """A convolution, blocks, the mean over positions and a linear layer."""

    def __init__(self, first, make_block, depth):
        super().__init__()
        self.first, self.head = first(1, CHANNELS), nn.Linear(CHANNELS, 10)
        self.blocks = nn.ModuleList(make_block() for _ in range(depth))

    def stream(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return h

    def forward(self, x):
        return self.head(self.stream(x).mean((2, 3)))


def size(array):
    return float(np.sqrt(np.mean(np.square(array, dtype="float64"))))


def judge(model, x):
    """Return the size of the stream, and the mean size of the weights of the blocks."""
    with tn.no_grad():
        return size(model.stream(x).numpy()), np.mean(
            [size(block.conv.weight.numpy()) for block in model.blocks]
        )


def train(model, images, labels, steps, lr):
    rng, optimizer = np.random.default_rng(0), optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        chosen = rng.integers(0, len(images), 64)
        optimizer.zero_grad()
        F.cross_entropy(model(tn.tensor(images[chosen])), tn.tensor(labels[chosen])).backward()
        optimizer.step()


def number(kind, least):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = least
        if not least < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above {least}, got {text!r}")
        return value

    return read


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=number(int, 0), default=300, help="training steps (default: 300)")
    parser.add_argument("--depth", type=number(int, 0), default=8, help="residual blocks (default: 8)")
    parser.add_argument("--lr", type=number(float, 0), default=0.01, help="learning rate (default: 0.01)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    mean, std = digits.train.images.mean(), digits.train.images.std()
    images, test_images = (
        ((part.images - mean) / std).astype("float32") for part in (digits.train, digits.test)
    )
    print(f"{'':22}{'stream':>8}{'trained':>10}{'weights':>10}{'accuracy':>10}")
    found = {}
    for name, (first, make_block) in KINDS.items():
        tn.manual_seed(0)
        model = Network(first, make_block, options.depth)
        x = tn.tensor(test_images)
        before, short = judge(model, x)
        train(model, images, digits.train.labels, options.steps, options.lr)
        model.eval()
        after, long = judge(model, x)
        with tn.no_grad():
            accuracy = float((model(x).numpy().argmax(1) == digits.test.labels).mean())
        found[name] = before, after, long / short, accuracy
        print(f"{name:22}{before:8.2f}{after:10.2f}{long / short:9.2f}×{accuracy:10.3f}", flush=True)
    return found


if __name__ == "__main__":
    main()
