"""Ops without a catalogue of their own: the doctor tries out the paths of their derivation."""

import re

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

LP = """
def forward(x, w):
    l = (abs(x).mean(-1, keepdims=True)**2 + 1e-5)**0.5
    return w * x / l

def backward(dy, x, w):
    n = abs(x).mean(-1, keepdims=True)
    l = (n * n + 1e-5)**0.5
    D = x.shape[-1]
    g = w * dy
    straight = g / l
    through = -n / l * np.sign(x) / D * (g * x / l).sum(-1, keepdims=True) / l
    dx = straight + through
    dw = (dy * x / l).sum(0)
    return dx, dw
"""
SCALE = """
def forward(x, w):
    return w * x / (x * x).sum(-1, keepdims=True)**0.5

def backward(dy, x, w):
    D = x.shape[-1]
    n = (x * x).sum(-1, keepdims=True)**0.5
    u = x / n
    g = w * dy
    straight = g / n
    through = -u * (g * u).sum(-1, keepdims=True) / n
    dx = straight + through
    dw = (dy * u).sum().reshape(1)
    return dx, dw
"""
RESPONSE = """
def forward(x, w, b, tau):
    r = ((x * x).mean(-1, keepdims=True) + 1e-6)**-0.5
    return np.maximum(w[:, None] * x * r + b[:, None], tau[:, None])

def backward(dy, x, w, b, tau):
    D = x.shape[-1]
    w, b, tau = w[:, None], b[:, None], tau[:, None]
    r = ((x * x).mean(-1, keepdims=True) + 1e-6)**-0.5
    over = w * x * r + b > tau
    dz = dy * over
    g = w * dz
    straight = r * g
    through = -r * x * r * (g * x * r).mean(-1, keepdims=True)
    dx = straight + through
    dw = (dz * x * r).sum((0, 2))
    db = dz.sum((0, 2))
    dtau = (dy * ~over).sum((0, 2))
    return dx, dw, db, dtau
"""
NAMES = {LP: "lp_norm", SCALE: "scale_norm", RESPONSE: "filter_response_norm"}
THROUGH = {LP: "the path through l", SCALE: "the path through n", RESPONSE: "the path through r"}
PLANTED = [
    ("dx = straight + through", "dx = straight", "THROUGH is dropped"),
    ("dx = straight + through", "dx = through", "the straight path is dropped"),
    ("dx = straight + through", "dx = straight - through", "the sign of THROUGH is wrong"),
    ("dx = straight + through", "dx = through - straight", "the sign of the straight path is wrong"),
    ("dx = straight + through", "dx = -straight - through", "the sign is wrong"),
    ("dx = straight + through", "dx = straight + 2 * through", "THROUGH counts twice"),
    ("dx = straight + through", "dx = straight + through / 2", "THROUGH counts half"),
    ("dx = straight + through", "dx = 2 * straight + through", "the straight path counts twice"),
    ("dx = straight + through", "dx = straight / 2 + through", "the straight path counts half"),
    ("dx = straight + through", "dx = straight + D * through", "does a sum of 5 stand where their mean"),
    ("dx = straight + through", "dx = straight + through / D", "does a mean of 5 stand where their sum"),
    ("dx = straight + through", "dx = 2 * (straight + through)", "it counts twice"),
    ("dx = straight + through", "dx = D * (straight + through)", "it is 5 times too large"),
    ("straight = ", "straight = 1 / w * ", "w is forgotten in the straight path"),
    ("straight = ", "straight = w * ", "w is applied .* in the straight path"),
    ("through = ", "through = w * ", "w is applied .* in THROUGH"),
    ("g = w * ", "g = ", "w is forgotten"),
    ("g = w * ", "g = w * w * ", "w is applied"),
    ("dw = ", "dw = -", "the sign is wrong"),
    ("dw = ", "dw = w.reshape(-1) * ", "w is applied once more at the end"),
    ("dw = ", "dw = 1 / (x.size // w.size) * ", "stand where their sum belongs"),
]
OF_RESPONSE = [
    ("over = w * x * r + b > tau", "over = np.array(True)", ""),
    ("dz = dy * over", "dz = dy", ""),
    ("dtau = ", "dtau = -", "the sign is wrong"),
    ("db = ", "db = 1 / 12 * ", ""),
]


def inputs(source, seed):
    rng = np.random.default_rng(seed)
    if source == RESPONSE:
        x, w = rng.normal(size=(2, 3, 5)), rng.uniform(0.5, 2.0, 3)
        return x, w, 0.5 * rng.normal(size=3), -0.5 + 0.2 * rng.normal(size=3)
    return rng.normal(size=(4, 5)), rng.uniform(0.5, 2.0, 1 if source == SCALE else 5)


CASES = [
    pytest.param(source, *mistake, id=f"{NAMES[source]}-{mistake[2]}-{number}")
    for source in NAMES
    for number, mistake in enumerate([*PLANTED, *(OF_RESPONSE if source == RESPONSE else ())])
]


def check(source, old, new, words, seeds):
    for seed in seeds:
        found = diagnose(pair(source, old, new), inputs(source, seed), like=NAMES[source])
        assert not found.passed
        told = [finding.what for finding in found.findings]
        assert any(re.search(words.replace("THROUGH", THROUGH[source]), what) for what in told), str(found)
        if words:
            assert found.like == NAMES[source]
            assert len(told) == 1


@pytest.mark.parametrize("source", NAMES, ids=NAMES.get)
def test_a_right_backward_passes(source):
    for seed in range(5):
        assert diagnose(pair(source), inputs(source, seed), like=NAMES[source]).passed


@pytest.mark.parametrize(("source", "old", "new", "words"), CASES[::7])
def test_a_planted_mistake_is_named(source, old, new, words):
    check(source, old, new, words, [0])


@pytest.mark.slow
@pytest.mark.parametrize(("source", "old", "new", "words"), CASES)
def test_planted_mistakes_are_named_at_five_seeds(source, old, new, words, measured_once):
    check(source, old, new, words, range(5))


def test_a_weight_of_one_hides_that_it_is_forgotten():
    x, w = inputs(LP, 0)
    found = diagnose(pair(LP, "g = w * ", "g = "), (x, np.ones_like(w)), like="lp_norm")
    assert found.passed  # these inputs cannot tell
    assert found.warnings == ("w is 1 everywhere: it would not show if it were forgotten",)


def test_another_forward_than_that_of_like_is_told():
    found = diagnose((lambda x: x * x, lambda dy, x: dy * x), inputs(LP, 0)[0], like="lp_norm")
    assert found.warnings == (
        "forward does not compute lp_norm for these inputs, so no known mistakes are tried",
    )
