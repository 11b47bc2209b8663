"""The inputs that are chosen for a vector x."""

import numpy
import pytest

from tinygrad_norm.learn.smallinputs import case_for
from tinygrad_norm.registry import REGISTRY


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer_norm", (1, 4)),
        ("batch_norm", (4, 1)),
        ("graph_norm", (4, 1)),  # a row is one node, and a pool of one
        ("pair_norm", (4, 1)),
        ("dynamic_tanh", (1, 4)),  # there is no pool
    ],
)
def test_a_vector_becomes_what_shares_a_pool(name, shape):
    (x, *_), _ = case_for(REGISTRY[name], numpy.array([1.0, 2.0, 3.0, 6.0]), {})
    assert x.shape == shape
