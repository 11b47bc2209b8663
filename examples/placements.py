"""Where the norms of a transformer stand, without training: the variance of the stream, and of the gradients.

    python examples/placements.py [--layers 32] [--features 64]

A stack of encoder layers at the start, in every placement. `stream` is the variance of its entries
behind the last layer, for sublayers that give the variance of what they get: sequences of one step,
orthogonal matrices and no activation. `expected` is what follows if they add at right angles; a layer
has two steps. `new` is the variance for layers as they are initialized, on sequences of 16 steps, and
`first : last` how much longer the gradient of the first layer's weights is than that of the last's, with
a norm at the end of the stack if the placement needs one. About 20 seconds on one core:

    placement    stream  expected      new  first : last
    post           1.00      1.00     1.00          0.70
    pre           65.04     65.00   160.79          7.21
    peri          65.07     65.00  2062.63          9.35
    output        64.93     65.00  1926.04        125.44
    sub           63.84     65.00   631.80         14.24
    hybrid         2.06      2.00     1.18          2.05
    mix           49.29     49.00   134.25          6.43
    scaled         8.97      9.12    20.57         12.72
    deep           1.00      1.00     1.00          0.75

The variances are those of theory where steps add at right angles. In new layers they do not: attention
hardly knows one step from another yet and adds nearly one vector to all of them, which grows in one
direction; where a norm stands behind it, as in peri and output, at full size. So `pre` is not the place
with the largest stream, as one reads, and what `scaled` tames, from 161 to 21, is not tamed by a norm
behind each sublayer. The gradients of first and last layers are most alike where the stream does not
grow.
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn

PLACEMENTS = ("post", "pre", "peri", "output", "sub", "hybrid", "mix", "scaled", "deep")


def make_stack(placement, layers, features, activation):
    options = {"dropout": 0.0, "activation": activation, "placement": placement, "depth": layers}
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(features, 4, features, **options), layers)


def expected(placement, layers):
    """Return the variance of the stream behind the last layer."""
    steps = 2 * layers
    return {
        "pre": 1 + steps,
        "peri": 1 + steps,
        "output": 1 + steps,
        "sub": 1 + steps,
        "hybrid": 2,
        "mix": 1 + 2 * (layers - layers // 4),
        "scaled": 1 + 2 * sum(1 / n for n in range(1, layers + 1)),
    }.get(placement, 1)


def kept_variance(placement, layers, features):
    """Return the variance of the stream if each sublayer keeps the variance of its input."""
    stack = make_stack(placement, layers, features, lambda x: x)
    for layer in stack.layers:
        for weight in (layer.linear1.weight, layer.linear2.weight, layer.self_attn.out_proj.weight):
            nn.init.orthogonal_(weight)
        values = nn.Linear(features, features)
        nn.init.orthogonal_(values.weight)
        layer.self_attn.in_proj_weight.data[2 * features :] = values.weight.data
        for bias in (layer.linear1.bias, layer.linear2.bias):
            nn.init.zeros_(bias)
    with tn.no_grad():
        return stack(tn.randn(1, 256, features)).numpy().var()


def at_the_start(placement, layers, features):
    """Return the variance of the stream of new layers, and first : last of the gradients' lengths."""
    stack = make_stack(placement, layers, features, "gelu")
    x = stack(tn.randn(16, 32, features))
    y = x if stack.layers[-1].ends_with_norm else nn.LayerNorm(features)(x)
    y.backward(tn.randn(*y.shape))
    first, last = (np.linalg.norm(stack.layers[i].linear1.weight.grad.numpy()) for i in (0, -1))
    return x.detach().numpy().var(), first / last


def at_least(smallest):
    def convert(text):
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"must be at least {smallest}, got {text}")
        return value

    return convert


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=at_least(1), default=32, help="layers of the stack (default: 32)")
    parser.add_argument("--features", type=at_least(4), default=64, help="a multiple of 4 (default: 64)")
    options = parser.parse_args(arguments)
    if options.features % 4:
        parser.error(f"--features must be a multiple of 4, for four heads: got {options.features}")
    sizes, found = (options.layers, options.features), {}
    print("stream, expected, new: variance of the stream, if steps add at right angles and in new layers")
    print("first : last: length of the gradient in the first layer over that in the last\n")
    print(f"{'placement':10} {'stream':>8} {'expected':>9} {'new':>8} {'first : last':>13}")
    for placement in PLACEMENTS:
        tn.manual_seed(0)
        row = (
            kept_variance(placement, *sizes),
            expected(placement, sizes[0]),
            *at_the_start(placement, *sizes),
        )
        found[placement] = row
        print(f"{placement:10} {row[0]:8.2f} {row[1]:9.2f} {row[2]:8.2f} {row[3]:13.2f}", flush=True)
    return found


if __name__ == "__main__":
    main()
