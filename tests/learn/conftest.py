"""Fixtures of the tests of learn."""

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm.module import Parameter


@pytest.fixture
def example():
    """x, a weight, their product h, and a loss of it."""
    x = tn.tensor([[1.0, -2.0, 4.0]], requires_grad=True)
    weight = Parameter(numpy.float32([2.0, 3.0, 5.0]))
    h = x * weight
    return x, weight, h, (h + 0.5).sum()
