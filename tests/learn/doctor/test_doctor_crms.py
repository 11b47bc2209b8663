"""The doctor names mistakes in CRMS normalization."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SOURCE = """
def parts(x):
    s, D = x.sum(-1, keepdims=True), x.shape[-1] + 1
    r = (((x * x).sum(-1, keepdims=True) + s * s) / D + 1e-5) ** -0.5
    return s, r, D

def forward(x):
    return x * parts(x)[1]

def backward(dy, x):
    s, r, D = parts(x)
    c = (dy * x * r).sum(-1, keepdims=True) / D
    return r * (dy - (x + s) * r * c)
"""
PLANTED = [
    ("(x + s) * r * c", "x * r * c", "the entry that is not stored is forgotten"),
    ("- (x + s)", "- (x - s)", "the entry that is not stored has the wrong sign"),
    ("keepdims=True) / D", "keepdims=True) / (D - 1)", "the mean is over the stored entries"),
    (" - (x + s) * r * c", "", "the path through r is dropped"),
    ("dy - (x", "dy + (x", "the sign of the path through r is wrong"),
    ("(x + s) * r * c", "(x + s) * c", "x + s stands where"),
    ("(x + s) * r * c", "(dy * x * r).mean(-1, keepdims=True) * x * r", "gradient of plain RMS"),
    ("r * (dy", "(dy", "r is forgotten"),
]


def inputs():
    return (np.random.default_rng(0).normal(0.5, 1.5, (3, 4)),)


@pytest.mark.parametrize("given", [None, inputs()], ids=["own", "given"])
def test_a_right_backward_is_right_and_recognized(given):
    found = diagnose(pair(SOURCE), given)
    assert found.passed, str(found)
    assert found.like == "crms_norm"


@pytest.mark.parametrize(("old", "new", "words"), PLANTED, ids=[str(k) for k in range(len(PLANTED))])
def test_a_planted_mistake_is_named(old, new, words):
    found = diagnose(pair(SOURCE, old, new), inputs())
    assert not found.passed
    assert words in str(found)
