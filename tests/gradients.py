"""What the tests of gradcheck share: tensors to check, and a backward that is as wrong as one asks."""

import numpy as np

from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function


def leaf(*shape, seed=0, scale=1.0):
    return Tensor(np.random.default_rng(seed).normal(size=shape) * scale, requires_grad=True)


def at(value):
    return Tensor(np.array(value, np.float64), requires_grad=True)


class WrongSquare(Function):
    """y = scale·x² · dx = factor·dy·scale·x, right for factor = 2"""

    def forward(self, x, *, scale=1.0, factor=3.0):
        self.saved = x, scale, factor
        return scale * x * x

    def backward(self, dy):
        x, scale, factor = self.saved
        return factor * dy * scale * x
