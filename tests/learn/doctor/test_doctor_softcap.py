"""The doctor names planted mistakes in attention with a soft cap, whose c it finds from the output."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SOURCE = """
def forward(q, k, v):
    z = q @ k.T / q.shape[-1]**0.5
    t = np.tanh(z / 1.7)
    e = np.exp(1.7 * t)
    return e / e.sum(-1, keepdims=True) @ v

def backward(dy, q, k, v):
    c, root = 1.7, q.shape[-1]**0.5
    t = np.tanh(q @ k.T / root / c)
    e = np.exp(c * t)
    p = e / e.sum(-1, keepdims=True)
    dp = dy @ v.T
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    dz = ds * (1 - t * t)
    return dz @ k / root, dz.T @ q / root, p.T @ dy
"""


def diagnosis(old="", new=""):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    return diagnose(pair(SOURCE, old, new), inputs)


def test_a_right_backward_passes():
    assert diagnosis().passed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ds * (1 - t * t)", "ds", "the slope of the soft cap is missing"),
        ("(1 - t * t)", "(1 - t)", "t is not squared in the slope of the soft cap"),
        ("(1 - t * t)", "(1 - t * t) / c", "has 1/c as a factor"),
        ("(1 - t * t)", "(1 - np.tanh(t)**2)", "is taken at the capped scores"),
        ("dp * p).sum", "dp).sum", "p is missing in the softmax's sum term"),
        ("dz @ k / root", "-dz @ k / root", "the sign of dq is wrong"),
    ],
    ids=["missing", "not squared", "divided", "capped twice", "of the softmax", "sign"],
)
def test_planted_mistakes_are_named(old, new, words):
    assert words in str(diagnosis(old, new))
