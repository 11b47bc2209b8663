"""What 64 mixings of 4 streams do to a signal: free matrices, rows by softmax, and Sinkhorn.

Hyper-connections mix the streams of a network by a matrix in every layer, so a deep network multiplies its
input by a product of such matrices, and its gradient by the same product from the other side. Three ways to
make a matrix from numbers C of deviation `scale`: free, I + C/4; the softmax of each row; Sinkhorn with 20
iterations. Prints, for products of 64 and the median of 20 draws, the largest gain forward (the largest sum
over a column of |product|: comb is used transposed), the largest gain backward (over a row), and how much of
the differences between streams is left.

Measured: free matrices amplify by 150 at scale 1 and by 1e19 at scale 4. Softmax holds the rows, so only the
gain forward grows, to 3 at scale 8. With Sinkhorn both stay between 1 and 1.02, although at scale 8 single
matrices have rows that are off by 0.07. Verdict: the bound holds, and a softmax of rows gives most of it. The
price is in the last column: a product of 64 such random matrices is an average, and streams that only mix
have nothing left to tell them apart. In a network, what each layer adds does: after 64 new HyperConnection
layers with random branches, streams are 0.05 of their size apart. About 4 seconds.

    python examples/mixed_streams.py [--layers 64]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

STREAMS, DRAWS = 4, 20
CENTERED = np.eye(STREAMS) - 1 / STREAMS
KINDS = {
    "free": lambda C: np.eye(STREAMS) + C / 4,
    "softmax": lambda C: F.softmax(tn.tensor(C), -1).numpy(),
    "Sinkhorn": lambda C: F.sinkhorn(tn.tensor(C)).numpy(),
}


def product(matrices):
    """Return the product of matrices (layers, 4, 4)."""
    result = np.eye(STREAMS)
    for matrix in matrices:
        result = result @ matrix
    return result


def gains(kind, scale, layers):
    """Return the gains forward and backward, and what is left of differences, each the median over draws."""
    found = []
    for seed in range(DRAWS):
        C = scale * np.random.default_rng(seed).normal(size=(layers, STREAMS, STREAMS))
        P = product(KINDS[kind](C))
        differences = P.T - P.T.mean(0)
        found.append((abs(P).sum(0).max(), abs(P).sum(1).max(), np.linalg.norm(differences @ CENTERED, 2)))
    return tuple(float(np.median(column)) for column in zip(*found, strict=True))


@tn.no_grad()
def through_layers(layers, features=16, tokens=32):
    """Return how far streams are apart after new hyper-connections, as a share of their size."""
    tn.manual_seed(0)
    h = tn.randn(tokens, 1, features).repeat_interleave(STREAMS, 1)
    for _ in range(layers):
        branch = nn.Sequential(nn.RMSNorm(features), nn.Linear(features, features))
        layer = nn.HyperConnection(branch, features)
        nn.init.normal_(layer.base)
        h = layer(h)
    h = h.numpy()
    return float(np.linalg.norm(h - h.mean(1, keepdims=True)) / np.linalg.norm(h))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=64, help="matrices in a product (default: 64)")
    options = parser.parse_args(arguments)
    if options.layers < 1:
        parser.error(f"--layers must be at least 1, got {options.layers}")
    found = {}
    print(f"{'matrices':10}{'scale':>6}{'forward':>11}{'backward':>11}{'differences':>13}")
    for kind in KINDS:
        for scale in (1, 4, 8):
            found[kind, scale] = numbers = gains(kind, scale, options.layers)
            print(f"{kind:10}{scale:6}{numbers[0]:11.3g}{numbers[1]:11.3g}{numbers[2]:13.2g}")
    found["layers"] = through_layers(options.layers)
    print(f"streams after {options.layers} HyperConnection layers: {found['layers']:.2f} of their size apart")
    return found


if __name__ == "__main__":
    main()
