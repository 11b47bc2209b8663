"""The doctor names mistakes in gated RMS normalization, in both orders."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

HEAD = """
def normed(u):
    groups = u.reshape(len(u), -1, 3)
    r = ((groups**2).mean(-1, keepdims=True) + 1e-6) ** -0.5 + 0 * groups
    return u * r.reshape(u.shape), r.reshape(u.shape)

def mean(a):
    groups = a.reshape(len(a), -1, 3)
    return (groups.mean(-1, keepdims=True) + 0 * groups).reshape(a.shape)

def sigmoid(z):
    return 1 / (1 + np.exp(-z))
"""
NORM_FIRST = f"""{HEAD}
def forward(x, z, w):
    return w * normed(x)[0] * z * sigmoid(z)

def backward(dy, x, z, w):
    (x_hat, r), sigma = normed(x), sigmoid(z)
    s, slope = z * sigma, sigma * (1 + z * (1 - sigma))
    g = w * dy * s
    dx = r * (g - x_hat * mean(g * x_hat))
    return dx, w * dy * x_hat * slope, (dy * x_hat * s).sum(0)
"""
GATE_FIRST = f"""{HEAD}
def forward(x, z, w):
    return w * normed(x * z * sigmoid(z))[0]

def backward(dy, x, z, w):
    sigma = sigmoid(z)
    s, slope = z * sigma, sigma * (1 + z * (1 - sigma))
    u_hat, r = normed(x * s)
    g = w * dy
    du = r * (g - u_hat * mean(g * u_hat))
    return du * s, du * x * slope, (dy * u_hat).sum(0)
"""
SLOPES = [
    ("sigma * (1 + z * (1 - sigma))", "sigma", "only its factor z is derived"),
    ("sigma * (1 + z * (1 - sigma))", "z * sigma * (1 - sigma)", "only its factor σ(z) is derived"),
    ("sigma * (1 + z * (1 - sigma))", "sigma * (1 - sigma)", "it has the slope of σ"),
    ("sigma * (1 + z * (1 - sigma))", "z * sigma", "silu stands where its slope belongs"),
    (" * slope", "", "the slope of silu is forgotten"),
    ("(1 + z * (1 - sigma))", "(1 + z)", "1 - σ(z) is forgotten"),
    ("(1 - sigma)", "(1 - z * sigma)", "silu(z) stands where σ(z) belongs"),
]
OTHER = {
    NORM_FIRST: GATE_FIRST.split("w):\n")[2],
    GATE_FIRST: NORM_FIRST.split("w):\n")[2],
}
PLANTED = {
    NORM_FIRST: [
        *SLOPES,
        ("w * dy * s\n", "w * dy\n", "the gate is forgotten in g"),
        ("x_hat * s).sum", "x_hat).sum", "the gate is forgotten in the weight's gradient"),
        ("w * dy * x_hat * slope", "dy * x_hat * slope", "the weight is forgotten in ds"),
        ("dy * x_hat * slope", "dy * x * slope", "x stands where û belongs"),
        ("w * dy * s\n", "dy * s\n", "the weight is forgotten in g"),
        ("r * (g - x_hat * mean(g * x_hat))", "r * g", "the path through r is dropped"),
        ("mean(g * x_hat)", "(g * x_hat).mean(-1, keepdims=True)", "over the whole row"),
    ],
    GATE_FIRST: [
        *SLOPES,
        ("du * s,", "du,", "the gate is forgotten at the end"),
        ("du * x * slope", "w * dy * x * slope", "the gate does not go through the norm"),
        ("w * dy\n", "dy\n", "the weight is forgotten in g"),
        ("g - u_hat", "g + u_hat", "the sign of the path through r is wrong"),
    ],
}
NAMES = {NORM_FIRST: "norm-first", GATE_FIRST: "gate-first"}


def inputs():
    rng = np.random.default_rng(0)
    return (*rng.normal(0.5, 1.5, (2, 2, 6)), rng.uniform(0.5, 2.0, 6))


@pytest.mark.parametrize("source", PLANTED, ids=NAMES.values())
def test_a_right_backward_is_right_and_recognized(source):
    found = diagnose(pair(source), inputs())
    assert found.passed, str(found)
    assert found.like == "gated_rms_norm"


@pytest.mark.parametrize("source", PLANTED, ids=NAMES.values())
def test_the_backward_of_the_other_order_is_named(source):
    body = source.split("w):\n")[2]
    found = diagnose(pair(source, body, OTHER[source]), inputs())
    assert not found.passed
    assert "it is the gradient of the other order" in str(found)


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [(source, *planted) for source, all_ in PLANTED.items() for planted in all_],
    ids=[f"{NAMES[source]}-{k}" for source, all_ in PLANTED.items() for k in range(len(all_))],
)
def test_a_planted_mistake_is_named(source, old, new, words):
    found = diagnose(pair(source, old, new), inputs())
    assert not found.passed
    assert words in str(found)
