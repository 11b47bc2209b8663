"""The doctor names mistakes in reversible instance normalization, at both ends."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SECOND = """
def forward(o, m, s, w, b):
    return s * (o - b) / (w + 1e-10) + m

def backward(dy, o, m, s, w, b):
    q = w + 1e-10
    do = dy * s / q
    ds = (dy * (o - b) / q).sum(1, keepdims=True)
    dw = -(dy * s * (o - b) / q**2).sum((0, 1))
    db = -(dy * s / q).sum((0, 1))
    return do, dy.sum(1, keepdims=True), ds, dw, db
"""
FIRST = """
def parts(x):
    std = (x.var(1, keepdims=True) + 1e-5) ** 0.5
    return (x - x.mean(1, keepdims=True)) / std, std

def forward(x, w, b):
    return w * parts(x)[0] + b

def backward(dy, x, w, b):
    x_hat, std = parts(x)
    g = w * dy
    dx = g - g.mean(1, keepdims=True) - x_hat * (g * x_hat).mean(1, keepdims=True)
    return dx / std, (dy * x_hat).sum((0, 1)), dy.sum((0, 1))
"""
PLANTED = {
    SECOND: [
        ("dy * s / q\n", "dy * s\n", "the weight is forgotten at this end"),
        ("dy * s / q\n", "dy * s * q\n", "q is a factor"),
        ("dy * s / q\n", "dy / q\n", "σ is forgotten"),
        ("dy * s / q\n", "dy / s / q\n", "σ is divided by"),
        ("(o - b) / q)", "(o - b))", "the weight is forgotten"),
        ("(o - b) / q)", "o / q)", "the bias is forgotten at this end"),
        ("q**2", "q", "q stands where q² belongs"),
        ("-(dy * s * (o - b) / q**2)", "(dy * (o - b) / q)", "it is the gradient of the first end"),
        ("s * (o - b) / q**2", "s * o / q**2", "the bias is forgotten at this end"),
        ("-(dy * s / q).sum", "dy.sum", "where b is added"),
        ("-(dy * s / q).sum", "-(dy * s).sum", "b, too, is divided by q"),
        ("-(dy * s / q).sum", "-(dy / q).sum", "σ is forgotten: b is subtracted"),
        ("-(dy * s / q).sum", "(dy * s / q).sum", "the sign is wrong"),
        ("dy.sum(1,", "dy.mean(1,", "it is a mean, but every step has it"),
    ],
    FIRST: [
        ("g = w * dy", "g = dy", "the weight is forgotten"),
        ("- x_hat * (g", "- 0 * (g", "the path through the variance is dropped"),
    ],
}
NAMES = {SECOND: "second", FIRST: "first"}


def inputs(source):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0.5, 2.0, 3), rng.normal(size=3)
    if source == FIRST:
        return rng.normal(0.5, 1.5, (2, 4, 3)), *vectors
    return rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 1, 3)), rng.uniform(0.5, 2.0, (2, 1, 3)), *vectors


def test_a_right_way_back_is_right_and_recognized():
    found = diagnose(pair(SECOND), inputs(SECOND))
    assert found.passed, str(found)
    assert found.like == "reversible_instance_denorm"


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [(source, *planted) for source, all_ in PLANTED.items() for planted in all_],
    ids=[f"{NAMES[source]}-{k}" for source, all_ in PLANTED.items() for k in range(len(all_))],
)
def test_a_planted_mistake_is_named(source, old, new, words):
    found = diagnose(pair(source, old, new), inputs(source))
    assert not found.passed
    assert words in str(found)
