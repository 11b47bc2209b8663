"""The doctor names mistakes where samples share a weight: tables looked up by class, and demodulation."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

EMBEDDING = """
def forward(c, w):
    return w[c]

def backward(dy, c, w):
    d = np.zeros_like(w)
    np.add.at(d, c, dy)
    return None, d
"""
CONDITIONAL = """
def x_hat_of(x):
    m, v = x.mean(AXES, keepdims=True), x.var(AXES, keepdims=True)
    return (x - m) / np.sqrt(v + 1e-3), 1 / np.sqrt(v + 1e-3)

def forward(x, c, w, b):
    return w[c][:, :, None] * x_hat_of(x)[0] + b[c][:, :, None]

def backward(dy, x, c, w, b):
    (x_hat, r), rows = x_hat_of(x), w[c][:, :, None]
    g = rows * dy
    dx = r * (g - g.mean(AXES, keepdims=True) - x_hat * (g * x_hat).mean(AXES, keepdims=True))
    dw, db = np.zeros_like(w), np.zeros_like(b)
    np.add.at(dw, c, (dy * x_hat).sum(2))
    np.add.at(db, c, dy.sum(2))
    return dx, None, dw, db
"""
DEMODULATION = """
def forward(w, s):
    u = s[:, None, :, None] * w
    return u / np.sqrt((u * u).sum((2, 3), keepdims=True) + 1e-8)

def backward(dy, w, s):
    style = s[:, None, :, None]
    u = style * w
    d = 1 / np.sqrt((u * u).sum((2, 3), keepdims=True) + 1e-8)
    W = u * d
    du = d * (dy - W * (dy * W).sum((2, 3), keepdims=True))
    return (style * du).sum(0), (w * du).sum((1, 3))
"""
BATCH = CONDITIONAL.replace("AXES", "(0, 2)")
INSTANCE = CONDITIONAL.replace("AXES", "2")
OF_TABLES = [
    ("np.add.at(dw, c, (dy * x_hat).sum(2))", "dw[c] += (dy * x_hat).sum(2)", "labels that repeat overwrite"),
    ("np.add.at(db, c, dy.sum(2))", "db[c] += dy.sum(2)", "labels that repeat overwrite"),
    (
        "return dx, None, dw",
        "return dx, None, dw / np.maximum(np.bincount(c, minlength=len(w)), 1)[:, None]",
        "a mean over the samples of a class",
    ),
    ("dw, db\n", "-dw, db\n", "the sign is wrong"),
    ("x_hat * (g * x_hat).mean", "0 * (g * x_hat).mean", "the path through the variance is dropped"),
]
PLANTED = {
    EMBEDDING: [
        ("np.add.at(d, c, dy)", "d[c] += dy", "labels that repeat overwrite each other: d[c] += keeps only"),
        ("return None, d", "return None, -d", "the sign is wrong"),
    ],
    BATCH: [
        *OF_TABLES,
        (
            "g = rows * dy\n    dx = r * (",
            "g = dy\n    dx = rows * r * (",
            "the weight is applied at the end instead of inside the means",
        ),
    ],
    INSTANCE: OF_TABLES,
    DEMODULATION: [
        ("(dy * W).sum((2", "(dy * W).mean((2", "a mean stands where the sum of dy·W belongs"),
        ("(style * du).sum(0)", "(style * du)[0]", "the gradient of one sample only"),
        ("d * (dy - W * (dy * W).sum((2, 3), keepdims=True))", "d * dy", "the path through d is dropped"),
        ("(style * du).sum(0)", "du.sum(0)", "the style is forgotten"),
        ("(w * du)", "du", "the weight is forgotten"),
        ("dy - W * (", "dy - u * (", "u stands where W belongs"),
        ("du = d * (", "du = (", "d is forgotten"),
        ("dy - W * (", "dy + W * (", "the sign of the path through d is wrong"),
    ],
}
NAMES = {
    EMBEDDING: "embedding",
    BATCH: "conditional_batch_norm",
    INSTANCE: "conditional_instance_norm",
    DEMODULATION: "weight_demodulation",
}


def inputs(source):
    rng, c = np.random.default_rng(0), np.array([2, 0, 2, 2, 0])
    if source == EMBEDDING:
        return c, rng.normal(size=(4, 3))
    if source == DEMODULATION:
        return rng.normal(size=(3, 4, 2)), rng.normal(size=(2, 4))
    w = rng.uniform(0.5, 2.0, (4, 3)) * np.where(rng.random((4, 3)) < 0.3, -1, 1)
    return rng.normal(0.5, 1.5, (5, 3, 4)), c, w, rng.normal(size=(4, 3))


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
