"""The doctor names planted mistakes in an LSTM cell and in Batch Renorm."""

import numpy as np
import pytest

from tinygrad_norm.learn import diagnose

LSTM = """
def sigmoid(a):
    return 1 / (1 + np.exp(-a))

def forward(x, h, c, w_ih, w_hh, b):
    a_i, a_f, a_g, a_o = np.split(x @ w_ih.T + h @ w_hh.T + b, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    after = f * c + i * g
    t = np.tanh(after)
    return np.concatenate([o * t, after], axis=1), x, h, c, w_ih, w_hh, i, f, g, o, t

def backward(dy, x, h, c, w_ih, w_hh, i, f, g, o, t):
    dh, dc = np.split(dy, 2, axis=1)
    do, dc = dh * t, dc + dh * o * (1 - t**2)
    di, df, dg, dc = dc * g, dc * c, dc * i, dc * f
    gates = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)]
    da = np.concatenate(gates, axis=1)
    return da @ w_ih, da @ w_hh, dc, da.T @ x, da.T @ h, da.sum(0)
"""
RENORM = """
def forward(x, running_mean, running_var, weight, bias):
    rstd, s = (x.var(0) + 1e-5) ** -0.5, (running_var + 1e-5) ** 0.5
    r = np.clip(1 / rstd / s, 1 / 3, 3)
    d = np.clip((x.mean(0) - running_mean) / s, -5, 5)
    x_hat = (x - x.mean(0)) * rstd
    return weight * (x_hat * r + d) + bias, x_hat, rstd, r, d, s, weight

def backward(dy, x_hat, rstd, r, d, s, weight):
    g = weight * r * dy
    dx = rstd * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
    return dx, None, None, (dy * (x_hat * r + d)).sum(0), dy.sum(0)
"""
NAMES = {LSTM: "lstm_cell", RENORM: "batch_renorm"}
PLANTED = {
    LSTM: [
        ("dc + dh * o * (1 - t**2)", "dc", "the path through h⁺ to c⁺ is dropped"),
        ("dc + dh * o * (1 - t**2)", "dh * o * (1 - t**2)", "the direct path to c⁺ is dropped"),
        ("(1 - t**2)", "1", "the derivative of tanh(c⁺) is forgotten"),
        ("df * f * (1 - f)", "df * f", "1 - f is forgotten"),
        ("di * i * (1 - i)", "di", "the derivative of σ is forgotten"),
        ("dg * (1 - g**2)", "dg * g * (1 - g)", "the derivative of σ stands where that of tanh belongs"),
        ("o * (1 - o)]", "(1 - o**2)]", "the derivative of tanh stands where that of σ belongs"),
        ("dc * f\n", "dc * i\n", "i stands where f belongs"),
        ("dc * f\n", "dc\n", "f is forgotten"),
        ("(gates", "(gates[1::-1] + gates[2:]", "da_i and da_f are exchanged"),
        ("da.T @ x", "x.T @ da", "transpose it"),
    ],
    RENORM: [
        ("weight * r * dy", "weight * dy", "r is forgotten in g"),
        ("weight * r * dy", "r * dy", "the weight is forgotten in g"),
        ("g - g.mean(0)", "g", "the path through the mean is dropped"),
        (" - x_hat * (g * x_hat).mean(0)", "", "the path through the variance is dropped"),
        ("(g * x_hat).mean(0)", "(g * x_hat).sum(0)", "a sum stands where the mean of g·x̂ belongs"),
        ("rstd * (g", "(g", "1/√(v + eps) is forgotten"),
        ("return dx", "return weight / s * dy", "it is the gradient of evaluation"),
        ("dy * (x_hat * r + d)", "dy * x_hat * r", "d is forgotten in dw"),
        ("dy * (x_hat * r + d)", "dy * x_hat", "r and d are forgotten in dw"),
        ("dy.sum(0)", "dy.mean(0)", "db is a mean"),
    ],
}


def pair(source, old="", new=""):
    assert old in source, old
    names = {"np": np}
    exec(source.replace(old, new), names)
    return names["forward"], names["backward"]


def inputs(source, seed):
    rng = np.random.default_rng(seed)
    if source == LSTM:
        return [rng.normal(size=size) for size in ((3, 2), (3, 1), (3, 1), (4, 2), (4, 1), (4,))]
    far = np.array([5.0, -1000.0, -3.0]), np.array([1e-4, 1e4, 1e-4])  # r and d at their limits
    return [rng.normal(size=(5, 3)), *far, rng.uniform(0.5, 2, 3), rng.normal(size=3)]


@pytest.mark.parametrize("source", PLANTED, ids=NAMES.get)
def test_a_right_backward_passes(source):
    found = diagnose(pair(source), inputs(source, 0))
    assert found.passed
    assert found.like == NAMES[source]


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        pytest.param(source, *edit, id=f"{NAMES[source]}, {edit[1]}".replace("\n", ""))
        for source in PLANTED
        for edit in PLANTED[source]
    ],
)
def test_a_planted_mistake_is_named(source, old, new, words):
    found = diagnose(pair(source, old, new), inputs(source, 1), like=NAMES[source])
    assert not found.passed
    assert words in str(found)
    assert "no way that the catalogue knows" not in str(found)
