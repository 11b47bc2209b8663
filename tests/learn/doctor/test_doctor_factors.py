"""A wrong backward of a known derivation that is no known mistake: the factors of its paths, or none."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

GDN = """
def forward(x, beta, gamma):
    return x / np.sqrt(beta[:, None] + gamma @ x.reshape(*x.shape[:2], -1)**2).reshape(x.shape)

def backward(dy, x, beta, gamma):
    a, dy = x.reshape(*x.shape[:2], -1), dy.reshape(*x.shape[:2], -1)
    z = beta[:, None] + gamma @ a**2
    u = -dy * a / (2 * z**1.5)
    dx = dy / np.sqrt(z) + 2 * a * (gamma.T @ u)
    return dx.reshape(x.shape), u.sum((0, 2)), (u @ (a**2).swapaxes(1, 2)).sum(0)
"""
WHITENING = """
def forward(x):
    c = x - x.mean(0)
    values, U = np.linalg.eigh(c.T @ c / len(x) + 1e-5 * np.eye(x.shape[1]))
    return c @ (U / values**0.5 @ U.T)

def backward(dy, x):
    return dy * abs(x)
"""
MIXED = """
def parts(x, M, V):
    alpha = len(x) / (len(x) + 4)
    return alpha * x.mean(0) + (1 - alpha) * M, (alpha * x.var(0) + (1 - alpha) * V + 1e-5) ** -0.5

def forward(x, M, V):
    mu, r = parts(x, M, V)
    return (x - mu) * r

def backward(dy, x, M, V):
    return dy * abs(x), None, None
"""
SEED = """
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
    dx = r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True)) + 2 * beta * q
    return dx, (t * dy * x_hat).sum(0), (q * x).sum(0), (dy * x_hat).sum(0)
"""


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.uniform(0.2, 0.9, shape) for shape in shapes)


@pytest.mark.parametrize(
    ("source", "old", "new", "shapes", "words"),
    [
        (GDN, "2 * a * (", "6 * a * (", ((2, 3, 4), 3, (3, 3)), "the path through z is 3 times"),
        (GDN, "dx.reshape(x", "(dx * abs(a)).reshape(x", ((2, 3, 2, 2), 3, (3, 3)), "dx:"),
        (WHITENING, "", "", ((9, 3),), "dx:"),
        (MIXED, "", "", ((6, 3), 3, 3), "dx:"),
        (SEED, "", "", ((3, 4), 4, 4, 4), "the path through t is 2 times"),
    ],
    ids=["gdn", "gdn-images", "whitening", "mixed-statistics", "seed-norm"],
)
def test_what_is_no_known_mistake_is_told(source, old, new, shapes, words):
    found = diagnose(pair(source, old, new), drawn(*shapes))
    assert not found.passed
    assert words in str(found)
