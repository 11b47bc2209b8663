"""The subjects of the GPU benchmark at sizes for the CPU."""

import dataclasses

from tinygrad_norm.bench.gpu_ops import SUBJECTS
from tinygrad_norm.registry import Case, Input, integers

PACKS = {1: (6,), 2: (6, 40), 4: (3, 64, 4, 5)}
ODD = {1: (7,), 2: (5, 33), 4: (2, 64, 3, 3)}  # no pack of 16 bytes divides a row


def small_case(name, sizes=PACKS):
    """The first case of the subject `name`, with small sizes in the place of large ones."""
    inputs = SUBJECTS[name].cases[0].inputs
    x = sizes[len(inputs[0])]
    if name == "embedding":
        return Case((x, integers(x[0], 40)))
    if name == "cross_entropy":
        return Case((x, integers(x[1], x[0])))
    return Case(tuple(_small(one, inputs[0], x) for one in inputs))


def _small(one, large, x):
    if isinstance(one, Input):
        return dataclasses.replace(one, shape=_small(one.shape, large, x))
    return x if one == large else x[1:2]
