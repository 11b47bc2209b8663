"""The doctor knows a weight to which forward adds 1, and what happens to the 1 in backward."""

import numpy as np
import pytest

from tinygrad_norm.learn import diagnose

SOURCE = """
def forward(x, w):
    r = ((x * x).mean(1, keepdims=True) + 1e-6) ** -0.5
    return (1 + w) * (x * r)

def backward(dy, x, w):
    r = ((x * x).mean(1, keepdims=True) + 1e-6) ** -0.5
    xh = x * r
    g = (1 + w) * dy
    return r * (g - xh * (g * xh).mean(1, keepdims=True)), (dy * xh).sum(0)
"""
RNG = np.random.default_rng(0)
X = RNG.normal(1, 2, (4, 6))


def diagnosed(old, new, w):
    assert old in SOURCE
    namespace = {}
    exec(SOURCE.replace(old, new), namespace)
    return diagnose((namespace["forward"], namespace["backward"]), (X, w))


@pytest.mark.parametrize("w", [RNG.normal(size=6), 0.1 * RNG.normal(size=6)], ids=["large", "near 0"])
def test_a_forgotten_1_is_named(w):
    found = diagnosed("g = (1 + w) * dy", "g = w * dy", w)
    assert "the 1 is forgotten: forward multiplies by 1 + weight" in str(found)
    assert "(1 + weight)·dy" in str(found)


def test_other_mistakes_are_named_as_with_a_plain_weight():
    found = diagnosed("g = (1 + w) * dy", "g = dy", RNG.normal(size=6))
    assert "the weight is forgotten" in str(found)
    assert "forward multiplies by 1 + weight, which is w in what follows" in str(found)
    found = diagnosed("(g * xh).mean(1", "(g * xh).sum(1", RNG.normal(size=6))
    assert "Σ g·x̂ stands where mean(g·x̂) belongs" in str(found)


def test_what_is_right_passes():
    found = diagnosed("xh = x * r", "xh = x * r", RNG.normal(size=6))
    assert "forgotten" not in str(found)
