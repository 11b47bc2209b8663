"""Shared by the tests of gradcheck: tensors to check, and a backward with a chosen factor."""

import numpy as np
import pytest

from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check import GradcheckError, gradcheck


def leaf(*shape, seed=0, scale=1.0):
    return Tensor(np.random.default_rng(seed).normal(size=shape) * scale, requires_grad=True)


def at(value):
    return Tensor(np.array(value, np.float64), requires_grad=True)


def hint(func, *inputs, **options):
    """The hint that gradcheck gives; "" if it finds a mistake and has no hint."""
    with pytest.raises(GradcheckError) as caught:
        gradcheck(func, inputs, **options)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  hint: ")]
    return lines[0].removeprefix("  hint: ") if lines else ""


class WrongSquare(Function):
    """y = scale·x² · dx = factor·dy·scale·x, right for factor = 2"""

    def forward(self, x, *, scale=1.0, factor=3.0):
        self.saved = x, scale, factor
        return scale * x * x

    def backward(self, dy):
        x, scale, factor = self.saved
        return factor * dy * scale * x
