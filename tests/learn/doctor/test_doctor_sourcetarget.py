"""The doctor names mistakes in source-target batch normalization."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SOURCE = """
def parts(x, M, V):
    alpha = len(x) / (len(x) + 4)
    m, v = x.mean(0), x.var(0)
    mu, r = alpha * m + (1 - alpha) * M, (alpha * v + (1 - alpha) * V + 1e-5) ** -0.5
    return (x - mu) * r, (x - m) * r, r, alpha

def forward(x, M, V, w, b):
    return w * parts(x, M, V)[0] + b

def backward(dy, x, M, V, w, b):
    x_hat, c, r, alpha = parts(x, M, V)
    a = alpha
    g = w * dy
    dx = r * (g - a * g.mean(0) - a * c * (g * x_hat).mean(0))
    dM, dV = -(1 - alpha) * (r * g).sum(0), -(1 - alpha) / 2 * (r**2 * g * x_hat).sum(0)
    return dx, dM, dV, (dy * x_hat).sum(0), dy.sum(0)
"""
PLANTED = [
    ("a * c * (g", "a * x_hat * (g", "x̂ stands for (x - m)·r"),
    ("    g = w * dy", "    g, a = w * dy, 1.0", "α is forgotten"),
    (" - a * g.mean(0) - a * c * (g * x_hat).mean(0)", "", "the statistics count as constants"),
    (" - a * g.mean(0)", "", "the path through μ is dropped"),
    (" - a * c * (g * x_hat).mean(0)", "", "the path through r is dropped"),
    ("(dy * x_hat).sum(0)", "-(dy * x_hat).sum(0)", "the sign is wrong"),
]


def inputs():
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 1.5, (6, 3))
    return x, rng.normal(size=3), rng.uniform(0.5, 2.0, 3), rng.normal(size=3), rng.normal(size=3)


@pytest.mark.parametrize(("old", "new", "words"), PLANTED, ids=[str(k) for k in range(len(PLANTED))])
def test_a_planted_mistake_is_named(old, new, words):
    found = diagnose(pair(SOURCE, old, new), inputs())
    assert not found.passed
    assert words in str(found)


def test_the_right_gradient_passes():
    assert diagnose(pair(SOURCE, "dy.sum(0)\n", "dy.sum(0)\n"), inputs()).passed
