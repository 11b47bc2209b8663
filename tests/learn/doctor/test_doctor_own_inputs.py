"""Inputs of the doctor's own choice: what they must show, and that a right backward passes with them."""

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.learn import diagnose


def mean(a):
    return a.mean(-1, keepdims=True)


def layer_norm(x):
    c = x - mean(x)
    r = (mean(c * c) + 1e-5) ** -0.5
    return c * r, c * r, r


def batch_norm(x, running_mean, running_var, training):
    m, v = (x.mean(0), x.var(0)) if training else (running_mean, running_var)
    r = (v + 1e-5) ** -0.5
    return (x - m) * r, (x - m) * r, r, training


def batch_norm_backward(dy, x_hat, r, training):
    trained = dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0)
    return (r * (trained if training else dy), None, None)


# -- numbers are no way to hide


@pytest.mark.parametrize(
    "db", [lambda dy, x_hat: None, lambda dy, x_hat: (dy * x_hat).sum(0)], ids=["missing", "right"]
)
def test_g_is_an_array_before_it_is_a_number(db):
    def forward(x, g):
        r = (mean(x * x) + 1e-5) ** -0.5
        return g * x * r, x * r, r, g

    def backward(dy, x_hat, r, g):
        gdy = g * dy
        return r * (gdy - x_hat * mean(gdy * x_hat)), db(dy, x_hat)

    found = diagnose((forward, backward))
    assert found.passed == (db(np.ones(1), np.ones(1)) is not None)
    assert found.like == "rms_norm"


def test_g_may_be_the_number_of_groups():
    def forward(x, g):
        parts = x.reshape(len(x), g, -1)
        return layer_norm(parts)[0].reshape(x.shape), parts

    def backward(dy, parts):
        _, x_hat, r = layer_norm(parts)
        d = dy.reshape(parts.shape)
        dx = r * (d - mean(d) - x_hat * mean(d * x_hat))
        return dx.reshape(dy.shape), None

    found = diagnose((forward, backward))
    assert (found.passed, found.warnings) == (True, ()), found


# -- shapes that the doctor invents


@pytest.mark.parametrize(
    "pair",
    [
        (lambda a, b: a * b, lambda dy, a, b: (dy * b, dy * a)),
        (lambda a, b: a @ b, lambda dy, a, b: (dy @ b.T, a.T @ dy)),
        (lambda a, b: a @ b.T, lambda dy, a, b: (dy @ b, dy.T @ a)),
        (lambda a, b: a * np.tanh(b), lambda dy, a, b: (dy * np.tanh(b), dy * a / np.cosh(b) ** 2)),
        (lambda x, w: np.tanh(x) * w, lambda dy, x, w: (dy * w / np.cosh(x) ** 2, (dy * np.tanh(x)).sum(0))),
        (lambda u, v: u * v, lambda dy, u, v: (dy * v, dy * u)),
    ],
    ids=["product", "matrices", "transposed", "unknown", "weight", "u and v"],
)
def test_functions_of_two_arguments(pair):
    forward, backward = pair
    found = diagnose(pair)
    assert found.passed, found
    for wrong in (
        lambda dy, a, b: (backward(dy, a, b)[0], None),
        lambda dy, a, b: (2 * backward(dy, a, b)[0], backward(dy, a, b)[1]),
    ):
        assert not diagnose((forward, wrong)).passed


def test_a_weight_that_is_not_summed_does_not_pass_by_equal_shapes():
    (finding,) = diagnose(
        (lambda x, w: np.tanh(x) * w, lambda dy, x, w: (dy * w / np.cosh(x) ** 2, dy * np.tanh(x)))
    ).findings
    assert finding.gradients == ("dw",)
    assert "it is not summed over the axes along which the input is broadcast" in finding.what


# -- what one set of inputs hides


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (
            layer_norm,
            lambda dy, x_hat, r: (
                r * (dy - dy.sum(-1, keepdims=True) / 5 - x_hat * (dy * x_hat).sum(-1, keepdims=True) / 5)
            ),
        ),
        (lambda x, b: x + b, lambda dy, x, b: (dy, 4 * dy.mean(0))),
        (lambda x: np.clip(x, 0, 6), lambda dy, x: dy * (x > 0)),
        (
            batch_norm,
            lambda dy, x_hat, r, training: (
                r * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0)),
                None,
                None,
            ),
        ),
    ],
    ids=["features", "rows", "relu6", "training"],
)
def test_a_second_set_of_inputs(forward, backward):
    found = diagnose((forward, backward))
    assert not found.passed
    assert "; it is right for x" in found.checked


def test_what_only_finite_differences_cannot_do_is_not_wrong():
    def curve(x):
        return 0.5 * x * (1 + np.tanh(0.8 * (x + 0.05 * x**3)))  # at -9 it is 1 - 1, but for rounding

    def backward(dy, x):
        t = np.tanh(0.8 * (x + 0.05 * x**3))
        return dy * 0.5 * (1 + t + x * (1 - t * t) * 0.8 * (1 + 0.15 * x * x))

    found = diagnose((curve, backward))
    assert found.passed, found
    assert found.checked == "x (4, 5); and with x (6, 3)"


def test_both_values_of_a_flag():
    found = diagnose((batch_norm, batch_norm_backward))
    assert found.passed
    assert found.checked.endswith("training False")
    assert found.unchecked == ("running_mean (a constant)", "running_var (a constant)")


# -- what forward can take


@pytest.mark.parametrize(
    "pair",
    [
        (lambda x: np.log(x), lambda dy, x: dy / x),
        (lambda x: np.sqrt(x), lambda dy, x: dy / 2 / np.sqrt(x)),
        (
            lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)),
            lambda dy, p, t: (dy * (p - t) / (p - p * p), dy * np.log((1 - p) / p)),
        ),
    ],
    ids=["log", "sqrt", "cross entropy"],
)
def test_positive_x(pair):
    assert diagnose(pair).passed


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(7, 3),
        pytest.param(nn.Conv2d(2, 3, 2), marks=pytest.mark.slow),
        nn.Embedding(10, 4),
        nn.BatchNorm1d(6),
        pytest.param(nn.LSTM(3, 2), marks=pytest.mark.slow),
        pytest.param(nn.MultiheadAttention(4, 2), marks=pytest.mark.slow),
    ],
    ids=lambda module: type(module).__name__,
)
def test_modules_of_known_sizes(module):
    found = diagnose(module)
    assert found.passed, found
