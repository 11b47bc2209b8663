"""The doctor names planted mistakes in softmax, attention, weight normalizations, Linear and a loss."""

import numpy as np
import pytest
from planted import pair

from tinygrad_norm.learn import diagnose

SOFTMAX = """
def forward(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

def backward(dy, x):
    y = forward(x)
    total = (dy * y).sum(-1, keepdims=True)
    return y * (dy - total)
"""
WEIGHT_NORM = """
def forward(v, g):
    return g * v / np.sqrt((v * v).sum(1, keepdims=True))

def backward(dw, v, g):
    n = np.sqrt((v * v).sum(1, keepdims=True))
    u = v / n
    dg = (dw * u).sum(1, keepdims=True)
    straight = g * dw / n
    through_n = -g * dg * u / n
    return straight + through_n, dg
"""
ATTENTION = """
def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

def forward(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v

def backward(dy, q, k, v):
    root = np.sqrt(q.shape[-1])
    p = softmax(q @ k.T / root)
    dp = dy @ v.T
    total = (dp * p).sum(-1, keepdims=True)
    ds = p * (dp - total)
    dq = ds @ k / root
    dk = ds.T @ q / root
    dv = p.T @ dy
    return dq, dk, dv
"""
SPECTRAL = """
def forward(w, u, v):
    return w / (u @ w @ v)

def backward(dy, w, u, v):
    sigma = u @ w @ v
    y = w / sigma
    inner = (dy * y).sum()
    straight = dy / sigma
    through = -inner / sigma * np.outer(u, v)
    return straight + through, None, None
"""
LINEAR = """
def forward(x, weight, bias):
    return x @ weight.T + bias, x, weight

def backward(dy, x, weight):
    return dy @ weight, dy.T @ x, dy.sum(0)
"""
CROSS_ENTROPY = """
def forward(x, t):
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    return -np.log(p[np.arange(len(t)), t]).mean(), x, p, t

def backward(dy, x, p, t):
    q = np.eye(p.shape[1])[t]
    return dy * (p - q) / len(p)
"""
PLANTED = {
    LINEAR: [
        ("dy @ weight", "dy @ weight.T", "w is transposed"),
        ("dy.T @ x", "x.T @ dy", "it is transposed"),
        ("dy.T @ x", "dy @ x", "dy is not transposed"),
        ("dy.T @ x", "dy.T @ x / len(x)", "a mean over the samples stands where their sum belongs"),
        ("dy.sum(0)", "dy.mean(0)", "a mean over the samples stands where their sum belongs"),
        ("dy.sum(0)", "dy", "is not summed over the axes along which the input is broadcast"),
        ("dy.sum(0)", "dy[0]", "it is that of the first sample only"),
        ("dy.sum(0)", "-dy.sum(0)", "the sign is wrong"),
        ("dy @ weight", "dy.sum(1, keepdims=True) + 0 * x", "w is missing"),
        ("dy.T @ x", "dy.sum(0)[:, None] + 0 * weight", "x is missing"),
    ],
    CROSS_ENTROPY: [
        (" / len(p)", "", "the mean is forgotten"),
        (" / len(p)", " / p.size", "the mean is taken over N·C entries"),
        (" / len(p)", " / p.shape[1]", "the number of classes stands where that of the samples belongs"),
        ("(p - q)", "p", "the target is not subtracted"),
        ("(p - q)", "-q", "the path through the softmax's sum is dropped"),
        ("(p - q)", "(q - p)", "the sign is wrong"),
        ("(p - q)", "(p - 1)", "1 is subtracted in every class"),
        ("(p - q)", "(p - 1) * q", "only the right class has a gradient"),
        ("(p - q)", "(x - q)", "the scores x stand where p = softmax(x) belongs"),
        ("(p - q)", "(np.exp(x) - q)", "exp(x) stands where p belongs"),
        ("(p - q)", "-q / p", "it is the gradient with respect to p"),
        (
            "(p - q)",
            "p * (p - q - (p * (p - q)).sum(1, keepdims=True))",
            "the softmax's backward is applied again",
        ),
        (
            "(p - q) / len(p)",
            "p",
            "the mean is forgotten: each of N samples has the share 1/N; and the target",
        ),
    ],
    SPECTRAL: [
        ("straight + through", "straight", "the path through σ is dropped"),
        ("through = -inner", "through = inner", "the sign of the path through σ is wrong"),
        ("return straight + through", "return -straight - through", "the sign is wrong"),
        (
            "return straight + through",
            "return (straight + through) * sigma",
            "the division by σ is forgotten",
        ),
        ("return straight + through", "return (straight + through) / sigma", "it is divided by σ twice"),
        ("(dy * y).sum()", "(dy * w).sum()", "σ stands where σ² belongs"),
        ("(dy * y).sum()", "dy.sum()", "Ŵ is missing in the sum"),
        ("np.outer(u, v)", "y", "Ŵ stands where u·vᵀ belongs"),
        ("(dy * y).sum()", "(dy * y).sum(0)", "the sum of dy∘Ŵ is taken over axis 0 alone"),
        ("through, None, None", "through, dy[:, 0], None", "or to the vectors of a σ"),
    ],
    SOFTMAX: [
        ("(dy - total)", "dy", "the path through the sum is missing"),
        ("(dy - total)", "(dy + total)", "the sign of the path through the sum is wrong"),
        ("y * (dy - total)", "-y * (dy - total)", "the sign is wrong"),
        (
            "(dy * y).sum(-1",
            "(dy * y).sum(0",
            "the sum is taken over axis 0, but the softmax is along axis 1",
        ),
        ("(dy * y).sum(-1, keepdims=True)", "(dy * y).sum()", "rows leak into each other"),
        ("(dy * y).sum", "dy.sum", "y is missing in the sum"),
        ("y * (dy - total)", "dy - total", "y is missing before the bracket"),
        ("y * (dy - total)", "dy * y - total", "y is missing before the sum"),
        ("y * (dy - total)", "y * (1 - y) * dy", "only the diagonal of the Jacobian is used"),
        ("(dy * y).sum", "(dy * y).mean", "a mean stands where the sum belongs"),
        ("y * (dy - total)", "y * y * (dy - total)", "y is applied twice"),
        ("(dy * y).sum", "(dy * x).sum", "x stands where y belongs in the sum"),
        ("y * (dy - total)", "dy - y * dy.sum(-1, keepdims=True)", "it is the backward of log_softmax"),
        ("y * (dy - total)", "dy - y * total", "y is missing in the straight path"),
        ("(dy * y).sum", "(dy * y * y).sum", "y² stands where y belongs in the sum"),
        ("(dy - total)", "(dy - 2 * total)", "the path through the sum is 2 times what it should be"),
        ("(dy - total)", "(dy / 2 - total)", "the straight path is 0.5 times what it should be"),
        ("(dy - total)", "-total", "the straight path is dropped"),
        ("(dy - total)", "(1 - total)", "dy must enter every term of a backward once"),
        (
            "y * (dy - total)",
            "y * y * (dy - total / y.shape[1])",
            "y is applied twice; and a mean stands where the sum belongs",
        ),
    ],
    WEIGHT_NORM: [
        ("straight + through_n", "straight", "the path through the norm ‖v‖ is dropped"),
        ("through_n = -g", "through_n = g", "the sign of the path through the norm is wrong"),
        ("return straight", "return -straight", "the sign of the straight path"),
        (
            "straight = g * dw / n\n    through_n = -g *",
            "straight = dw / n\n    through_n = -",
            "g is forgotten",
        ),
        ("through_n = -g * dg", "through_n = -dg", "g is forgotten in the path through the norm"),
        ("straight = g * dw", "straight = dw", "g is forgotten in the straight path"),
        (
            "return straight + through_n",
            "return (straight + through_n) * n",
            "the division by ‖v‖ is forgotten",
        ),
        ("return straight + through_n", "return (straight + through_n) / n", "it is divided by ‖v‖ twice"),
        ("-g * dg * u / n", "-g * dg * v / n", "n² stands where n³ belongs"),
        ("-g * dg * u / n", "-g * dg * (g * u) / n", "does w = g·u stand where u belongs?"),
        ("through_n, dg", "through_n, (dw * v).sum(1, keepdims=True)", "dg has v where u = v/‖v‖ belongs"),
        ("through_n, dg", "through_n, dw.sum(1, keepdims=True)", "dg lacks u"),
        ("through_n, dg", "through_n, g * dg", "g is a factor of it"),
        ("through_n, dg", "through_n, -dg", "the sign of dg is wrong"),
        ("through_n, dg", "through_n, dg / v.shape[1]", "dg is a mean"),
        ("through_n, dg", "through_n, dw * u", "is not summed"),
        ("-g * dg * u / n", "-g * dg * u / n**2", "n⁴ stands where n³ belongs"),
        ("-g * dg * u / n", "-g * dg / n + 0 * v", "u is missing"),
        ("return straight + through_n", "return -(straight + through_n)", "the sign is wrong"),
        ("return straight + through_n", "return g * (straight + through_n)", "g is applied twice"),
        ("-g * dg", "-g * (dw * u).sum(0, keepdims=True)", "the sum of dw·u is taken over axes (0,)"),
    ],
    ATTENTION: [
        ("(dp - total)", "dp", "the softmax's sum term is missing"),
        ("(dp - total)", "(dp + total)", "the softmax's sum term has the wrong sign"),
        ("(dp * p).sum(-1", "(dp * p).sum(-2", "over the queries instead of the keys"),
        ("p * (dp - total)", "dp", "the softmax's backward is left out"),
        ("p * (dp - total)", "dp - total", "p is missing before the softmax's bracket"),
        ("p * (dp - total)", "p * (1 - p) * dp", "only the diagonal of the softmax's Jacobian"),
        ("k / root\n    dk = ds.T @ q / root", "k\n    dk = ds.T @ q", "1/√d is forgotten, in dq and dk"),
        ("dq = ds @ k / root", "dq = ds @ k", "1/√d is forgotten, in dq"),
        ("dk = ds.T @ q / root", "dk = ds.T @ q", "1/√d is forgotten, in dk"),
        ("dk = ds.T @ q / root", "dk = ds.T @ q / root**2", "1/d stands where 1/√d belongs, in dk"),
        ("k / root\n    dk = ds.T @ q /", "k * root\n    dk = ds.T @ q *", "√d stands where 1/√d belongs"),
        ("dk = ds.T", "dk = ds", "ds is not transposed"),
        ("dv = p.T", "dv = p", "p is not transposed"),
        ("dv = p.T", "dv = -p.T", "the sign of dv is wrong"),
        ("ds.T @ q", "ds.T @ k", "k stands where q belongs"),
        ("ds @ k", "ds @ q", "q stands where k belongs"),
        ("ds @ k", "-ds @ k", "the sign of dq is wrong"),
        ("ds.T @ q", "-ds.T @ q", "the sign of dk is wrong"),
        ("dq = ds @ k", "dq = ds.T @ k", "ds is transposed"),
        ("(dp * p).sum(-1", "dp.sum(-1", "p is missing in the softmax's sum term"),
        (
            "(dp * p).sum(-1, keepdims=True)",
            "(dp * p).sum()",
            "the softmax's sum is taken over queries and keys",
        ),
    ],
}
NAMES = {
    LINEAR: "linear",
    CROSS_ENTROPY: "cross_entropy",
    SOFTMAX: "softmax",
    WEIGHT_NORM: "weight_norm",
    ATTENTION: "attention",
    SPECTRAL: "spectral_norm",
}


def inputs(source, seed, square):
    rng = np.random.default_rng(seed)
    if source == SOFTMAX:
        return (rng.normal(size=(4, 4) if square else (3, 5)),)
    if source == WEIGHT_NORM:
        return 1.5 * rng.normal(size=(3, 4)), rng.uniform(0.5, 2.0, (3, 1))
    if source == LINEAR:
        n = 4 if square else 3
        return rng.normal(size=(4, 4)), rng.normal(size=(n, 4)), rng.normal(size=n)
    if source == CROSS_ENTROPY:
        return rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    if source == SPECTRAL:
        w = rng.normal(size=(3, 4))
        left, _, right = np.linalg.svd(w)
        return w, left[:, 0], right[0]
    n = 4 if square else 5
    return rng.normal(size=(4, 4)), rng.normal(size=(n, 4)), rng.normal(size=(n, 4))


@pytest.mark.parametrize("source", PLANTED, ids=NAMES.get)
def test_a_right_backward_passes(source):
    for seed in range(5):
        found = diagnose(pair(source), inputs(source, seed, square=seed % 2))
        assert found.passed
        assert found.like == NAMES[source]
    assert diagnose(pair(source)).passed  # with inputs of its own


planted = pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        pytest.param(source, *mistake, id=f"{NAMES[source]}-{mistake[2]}")
        for source, mistakes in PLANTED.items()
        for mistake in mistakes
    ],
)


def check(source, old, new, words, seeds):
    square = source in (ATTENTION, LINEAR) and (
        ".T" in old + new or "queries" in words or " stands where " in words
    )
    for seed in seeds:
        found = diagnose(pair(source, old, new), inputs(source, seed, square))
        assert not found.passed
        text = str(found)
        assert any(words in finding.what for finding in found.findings), text
        assert len(found.findings) == 1, text


@planted
def test_a_planted_mistake_is_named(source, old, new, words):
    check(source, old, new, words, [0])


@pytest.mark.slow
@planted
def test_planted_mistakes_are_named_at_five_seeds(source, old, new, words, measured_once):
    check(source, old, new, words, range(5))


def test_an_attention_that_is_not_scaled_is_said_to_be():
    forward, _ = pair(ATTENTION.replace(" / np.sqrt(q.shape[-1])) @ v", ") @ v"))
    _, backward = pair(ATTENTION.replace("p = softmax(q @ k.T / root)", "p = softmax(q @ k.T)"))
    found = diagnose((forward, backward), inputs(ATTENTION, 0, False))
    assert "there is a factor 1/√d, which forward does not have, in dq and dk" in str(found)
    assert "warning: forward multiplies q @ kᵀ by nothing; the op has 1/√d" in str(found)


def test_a_length_of_one_hides_that_it_is_forgotten():
    v = np.random.default_rng(0).normal(size=(3, 4))
    forgotten = pair(
        WEIGHT_NORM, "straight = g * dw / n\n    through_n = -g *", "straight = dw / n\n    through_n = -"
    )
    found = diagnose(forgotten, (v, np.ones((3, 1))))
    assert found.passed  # these inputs cannot tell
    assert "g is 1 everywhere" in found.warnings[0]


# -- ops without a catalogue: the paths of their derivation


@pytest.mark.parametrize(
    ("dx", "what"),
    [
        ("dy / n", "the path through n is dropped"),
        ("dy / n + u * inner / n", "the sign of the path through n is wrong"),
        ("-u * inner / n", "the straight path is dropped"),
        ("dy / n - 2 * u * inner / n", "the path through n counts twice"),
        ("(u * inner - dy) / n", "the sign is wrong"),
    ],
)
def test_paths_of_any_registered_op(dx, what):
    names = {"np": np}
    exec(
        f"""
def forward(x):
    return x / np.sqrt((x * x).sum(1, keepdims=True))

def backward(dy, x):
    n = np.sqrt((x * x).sum(1, keepdims=True))
    u = x / n
    inner = (dy * u).sum(1, keepdims=True)
    return {dx}
""",
        names,
    )
    x = np.random.default_rng(0).normal(size=(3, 4))
    found = diagnose((names["forward"], names["backward"]), x, like="normalize")
    (finding,) = found.findings
    assert finding.what == what
    assert found.like == "normalize"
