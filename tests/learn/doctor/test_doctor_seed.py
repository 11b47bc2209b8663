"""The doctor names mistakes in SeeDNorm, above all where the gradient goes through t and β."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SOURCE = """
def parts(x, beta):
    r = ((x * x).mean(-1, keepdims=True) + 1e-6) ** -0.5
    return x * r, r, np.tanh((x * beta).sum(-1, keepdims=True))

def forward(x, alpha, beta, w):
    x_hat, _, t = parts(x, beta)
    return (t * alpha + w) * x_hat

def backward(dy, x, alpha, beta, w):
    x_hat, r, t = parts(x, beta)
    g = (t * alpha + w) * dy
    q = (1 - t * t) * (dy * alpha * x_hat).sum(-1, keepdims=True)
    dx = r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True)) + beta * q
    return dx, (t * dy * x_hat).sum(0), (q * x).sum(0), (dy * x_hat).sum(0)
"""
PLANTED = [
    (" + beta * q", "", "the path through t is dropped"),
    ("(1 - t * t) * ", "", "the slope 1 - t² of tanh is forgotten"),
    ("(1 - t * t)", "(1 - t)", "not 1 - t"),
    ("(1 - t * t)", "t", "t stands where the slope"),
    ("dy * alpha * x_hat", "dy * x_hat", "α is forgotten"),
    ("dy * alpha * x_hat", "g * x_hat", "the whole scale t·α + w stands where α belongs"),
    ("dy * alpha * x_hat", "dy * alpha * x", "x stands where x̂ belongs"),
    ("x_hat).sum(-1, k", "x_hat).mean(-1, k", "a mean stands where the sum belongs"),
    ("x_hat).sum(-1, keepdims=True)", "x_hat)", "the row is not summed"),
    ("+ beta * q", "+ q", "β is forgotten where"),
    ("+ beta * q", "+ beta * q * r", "r is a factor of the path through t"),
    ("+ beta * q", "- beta * q", "the sign of the path through t is wrong"),
    ("(t * alpha + w) * dy", "w * dy", "the scale is w only"),
    ("g - x_hat * (g * x_hat).mean(-1, keepdims=True)", "g", "the path through r is dropped"),
    ("g - x_hat", "g + x_hat", "the sign of the path through r is wrong"),
    ("(t * dy * x_hat).sum(0)", "(dy * x_hat).sum(0)", "t is forgotten"),
    ("(q * x).sum", "(q * x_hat).sum", "x̂ stands where x belongs"),
    ("(q * x).sum", "-(q * x).sum", "the sign is wrong"),
]


def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 1.0, (3, 4)), *rng.uniform(0.2, 0.9, (3, 4))


def test_a_right_backward_is_right_and_recognized():
    found = diagnose(pair(SOURCE), inputs())
    assert found.passed, str(found)
    assert found.like == "seed_norm"


@pytest.mark.parametrize(("old", "new", "words"), PLANTED, ids=[str(k) for k in range(len(PLANTED))])
def test_a_planted_mistake_is_named(old, new, words):
    found = diagnose(pair(SOURCE, old, new), inputs())
    assert not found.passed
    assert words in str(found)
