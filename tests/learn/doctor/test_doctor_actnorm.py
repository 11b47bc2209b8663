"""The doctor names mistakes in activation normalization, also in the gradient of its second output."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm import nn
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.learn import diagnose

SOURCE = """
def forward(x, s, t):
    return np.exp(s)[:, None] * (x + t[:, None])

def backward(dy, x, s, t, d=np.zeros(1)):
    e, y = np.exp(s)[:, None], forward(x, s, t)
    ds = (dy * y).sum((0, 2)) + x.shape[2] * d.sum()
    return e * dy, ds, (e * dy).sum((0, 2))
"""
PLANTED = [
    ("e * dy, ds", "dy, ds", "e^s is forgotten"),
    ("e * dy, ds", "np.log(e) * dy, ds", "s stands where e^s belongs"),
    ("(e * dy).sum", "dy.sum", "t is added before the scale"),
    ("dy * y", "dy * y / e", "x + t stands where y belongs"),
    ("dy * y", "dy * e * x", "x stands where x + t belongs"),
    ("dy * y", "dy * e * y", "e^s counts twice"),
    ("dy * y", "-dy * y", "the sign is wrong"),
]
OF_LOG_DET = [
    ("x.shape[2] * d.sum()", "0 * e[:, 0]", "the part of log|det| is forgotten"),
    ("+ x.shape", "- x.shape", "the sign of the part of log|det|"),
    ("x.shape[2] * d.sum()", "d.sum()", "S is forgotten"),
    ("d.sum()", "d.mean()", "samples have a mean"),
    ("* d.sum()", "* d.sum() * e[:, 0]", "e^s is a factor of the part"),
]


def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 1.5, (2, 3, 4)), rng.uniform(-0.6, 0.7, 3), rng.normal(size=3)


def with_log_det(old="", new=""):
    forward, backward = pair(SOURCE, old, new)

    class Flow(Function):
        """y = e^s·(x + t), log|det| = S·Σ s"""

        def forward(self, x, s, t):
            self.saved = x, s, t
            return forward(x, s, t), np.full(len(x), x.shape[2] * s.sum())

        def backward(self, dy, d):
            return backward(dy, *self.saved, d)

    return Flow


@pytest.mark.parametrize(
    ("function", "given"),
    [(pair(SOURCE), inputs()), (with_log_det(), inputs()), (nn.ActNorm(3).train(), inputs()[:1])],
    ids=["pair", "two-outputs", "module"],
)
def test_a_right_backward_is_right_and_recognized(function, given):
    if isinstance(function, nn.ActNorm):
        function.initialized.fill_(True)
    found = diagnose(function, given)
    assert found.passed, str(found)
    assert found.like == "activation_norm"


@pytest.mark.parametrize(("old", "new", "words"), PLANTED, ids=[str(k) for k in range(len(PLANTED))])
def test_a_planted_mistake_is_named(old, new, words):
    found = diagnose(pair(SOURCE, old, new), inputs())
    assert not found.passed
    assert words in str(found)


@pytest.mark.parametrize(("old", "new", "words"), OF_LOG_DET, ids=[str(k) for k in range(len(OF_LOG_DET))])
def test_a_mistake_in_the_part_of_log_det_is_named(old, new, words):
    found = diagnose(with_log_det(old, new), inputs())
    assert not found.passed
    assert words in str(found)
    assert "ds through output 1" in str(found)
