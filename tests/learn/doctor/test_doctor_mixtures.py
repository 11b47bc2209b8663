"""The doctor names mistakes in GraphNorm and in GDN."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

GRAPH = """
def means(v, c):
    same = c[:, None] == c
    return (same / same.sum(1, keepdims=True)) @ v

def parts(x, c, a):
    m = means(x, c)
    o = x - a * m
    r = 1 / np.sqrt(means(o * o, c) + 1e-5)
    return m, o * r, r

def forward(x, c, a, w, b):
    return w * parts(x, c, a)[1] + b

def backward(dy, x, c, a, w, b):
    m, x_hat, r = parts(x, c, a)
    g = w * dy
    do = r * (g - x_hat * means(g * x_hat, c))
    dx = do - a * means(do, c)
    return dx, None, -(m * do).sum(0), (dy * x_hat).sum(0), dy.sum(0)
"""
GDN = """
def forward(x, beta, gamma):
    return x / np.sqrt(beta[:, None] + gamma @ x**2)

def backward(dy, x, beta, gamma):
    z = beta[:, None] + gamma @ x**2
    d = np.sqrt(z)
    u = -dy * x / (2 * z * d)
    dx = dy / d + 2 * x * (gamma.T @ u)
    return dx, u.sum((0, 2)), (u @ (x**2).swapaxes(1, 2)).sum(0)
"""
PLANTED = {
    GRAPH: [
        ("dx = do - a * means(do, c)", "dx = do - a * r * means(g, c)", "α is on the core's mean(g) only"),
        ("do - a * means", "do - means", "α is forgotten where"),
        ("do - a * means(do, c)", "do", "the path through the mean is dropped"),
        ("r * (g - x_hat * means(g * x_hat, c))", "r * g", "the path through r is dropped"),
        ("    g = w * dy", "    g, c = w * dy, 0 * c", "means are over all nodes"),
        ("-(m * do).sum(0)", "-do.sum(0)", "the mean is forgotten"),
        ("-(m * do).sum(0)", "(m * do).sum(0)", "the sign is wrong"),
    ],
    GDN: [
        ("gamma.T @ u", "gamma @ u", "γ is not transposed"),
        ("dy / d + 2 * x * (gamma.T @ u)", "dy / d", "the path through z is dropped"),
        ("dy / d + 2 * x", "dy / d - 2 * x", "the sign of the path through z is wrong"),
        ("+ 2 * x", "+ x", "the factor 2 of the derivative of x²"),
        ("(gamma.T @ u)", "np.diag(gamma)[:, None] * u", "only the channel itself"),
        (".sum(0)\n", ".sum(0).T\n", "it is transposed: row i belongs"),
        ("u.sum((0, 2))", "-u.sum((0, 2))", "the sign is wrong"),
    ],
}
NAMES = {GRAPH: "graph_norm", GDN: "gdn"}


def inputs(source):
    rng = np.random.default_rng(0)
    if source == GDN:
        return rng.normal(size=(2, 3, 4)), rng.uniform(0.5, 2, 3), rng.uniform(0.1, 1, (3, 3))
    return rng.normal(0.5, 1.5, (7, 3)), np.array([1, 0, 1, 1, 0, 0, 0]), *rng.uniform(0.3, 2, (3, 3))


@pytest.mark.parametrize("source", PLANTED, ids=NAMES.values())
def test_a_right_backward_is_right_and_recognized(source):
    found = diagnose(pair(source), inputs(source))
    assert found.passed, str(found)
    assert found.like == NAMES[source]


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [(source, *planted) for source, all_ in PLANTED.items() for planted in all_],
    ids=[f"{NAMES[source]}-{k}" for source, all_ in PLANTED.items() for k in range(len(all_))],
)
def test_a_planted_mistake_is_named(source, old, new, words):
    found = diagnose(pair(source, old, new), inputs(source))
    assert not found.passed
    assert words in str(found)
