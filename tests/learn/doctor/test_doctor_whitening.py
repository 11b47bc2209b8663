"""The doctor names planted mistakes in whitening, also those of a fraction of a percent."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

ZCA = """
def forward(x):
    c = x - x.mean(0)
    values, U = np.linalg.eigh(c.T @ c / len(x) + 1e-5 * np.eye(x.shape[1]))
    return c @ (U / values**0.5 @ U.T)

def backward(dy, x):
    n, c = len(x), x - x.mean(0)
    values, U = np.linalg.eigh(c.T @ c / n + 1e-5 * np.eye(x.shape[1]))
    root = values**0.5
    W = U / root @ U.T
    dW = dy.T @ c
    dW = (dW + dW.T) / 2
    K = -1 / (root * root[:, None] * (root + root[:, None]))
    dS = U @ (K * (U.T @ dW @ U)) @ U.T
    dc = dy @ W + 2 / n * c @ dS
    return dc - dc.mean(0)
"""
ITERATION = """
def forward(x):
    c, P = x - x.mean(0), np.eye(x.shape[1])
    S = c.T @ c / len(x) + 1e-5 * P
    for _ in range(5):
        P = 1.5 * P - 0.5 * P @ P @ P @ S / np.trace(S)
    return c @ P / np.trace(S)**0.5

def backward(dy, x):
    n, c, P, before = len(x), x - x.mean(0), np.eye(x.shape[1]), []
    S = c.T @ c / n + 1e-5 * P
    t = np.trace(S)
    S = S / t
    for _ in range(5):
        before.append(P)
        P = 1.5 * P - 0.5 * P @ P @ P @ S
    W, dW, dS = P / t**0.5, dy.T @ c, 0
    dP = dW / t**0.5
    for P in before[::-1]:
        H = dP @ S
        dS = dS - 0.5 * P @ P @ P @ dP
        dP = 1.5 * dP - 0.5 * (H @ P @ P + P @ H @ P + P @ P @ H)
    dt = -0.5 * (dW * W).sum() / t - (dS * S).sum() / t
    dS = (dS + dS.T) / 2 / t + dt * np.eye(x.shape[1])
    dc = dy @ W + 2 / n * c @ dS
    return dc - dc.mean(0)
"""


def diagnosis(source, old="", new=""):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 3)) @ rng.normal(size=(3, 3)) + 1
    return diagnose(pair(source, old, new), (x,))


@pytest.mark.parametrize("source", [ZCA, ITERATION], ids=["eigenvectors", "iteration"])
def test_a_right_backward_passes(source):
    assert diagnosis(source).passed


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        (ZCA, " + 2 / n * c @ dS", "", "the path through Σ is dropped"),
        (ZCA, "2 / n", "1 / n", "c is in Σ twice"),
        (ZCA, "2 / n", "2", "the division by n is forgotten"),
        (ZCA, "dc - dc.mean(0)", "dc", "the path through the mean is dropped"),
        (ZCA, "K * (U.T", "K * np.eye(3) * (U.T", "only the eigenvalues are followed"),
        (ZCA, "K = -1", "K = 1", "the sign of K is wrong"),
        (ITERATION, "-0.5 * (dW * W).sum() / t - (dS * S).sum() / t", "0", "the trace is held constant"),
        (ITERATION, " - (dS * S).sum() / t", "", "constant where Σ is divided by it"),
        (ITERATION, "-0.5 * (dW * W)", "-1 * (dW * W)", "the root's factor 1/2 is forgotten"),
    ],
    ids=["no path", "no 2", "no n", "no mean", "diagonal", "sign", "trace", "trace of Σ", "root"],
)
def test_planted_mistakes_are_named(source, old, new, words):
    assert words in str(diagnosis(source, old, new))
