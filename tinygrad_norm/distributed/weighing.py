"""Weighing: the loss of a rank counts by the samples of its shard.

With the mean losses L_i over shards of n_i samples on R ranks, the loss of the whole batch is

    L = Σ n_i·L_i / Σ n_i = (1/R)·Σ w_i·L_i      w_i = n_i·R / Σ n_i

The mean over ranks is the reducer's. The weight must be in the gradient before backward, not on its results:
SyncBatchNorm adds up gradients of all ranks on the way, and each must have its own weight by then. Equal
shards have the weight 1, and empty ones 0.
"""

from __future__ import annotations

from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array
from ..backends.cpu.sums import scalar
from .group import Group


class Weighing:
    """The weight of a shard of `samples`: the ranks begin to add up theirs, and backward reads the sum."""

    def __init__(self, samples: int, group: Group) -> None:
        self.samples, self.size = samples, group.size
        self.total = numpy.array([samples])
        self.work = group.start_all_reduce(self.total)
        self.complete = False

    def weight(self) -> float:
        """Return the weight; the first call waits for the other ranks."""
        if not self.complete:
            self.work.wait()
            self.complete = True
        return self.samples * self.size / int(self.total[0]) if self.samples else 0.0


class WeighGradient(Function):
    """y = x · dx = w·dy"""

    is_view = True

    def forward(self, x: Array, *, weighing: Weighing) -> Array:
        self.weighing = weighing
        return x[...]

    def backward(self, dy: Array) -> Gradients:
        weight = self.weighing.weight()
        return dy if weight == 1 else dy * scalar(weight, dy)


def weigh(outputs: Any, weighing: Weighing) -> Any:
    """Return `outputs`, a tensor or tuples, lists and dicts of some, with their gradients weighed."""
    if isinstance(outputs, Tensor):
        return WeighGradient.apply(outputs, weighing=weighing) if outputs.requires_grad else outputs
    if isinstance(outputs, dict):
        return {key: weigh(value, weighing) for key, value in outputs.items()}
    if type(outputs) in (tuple, list):
        return type(outputs)(weigh(value, weighing) for value in outputs)
    return outputs
