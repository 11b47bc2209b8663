"""Which inputs the doctor checks, which it takes for constants, and which it cannot check."""

import numpy as np
import pytest

from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.learn import diagnose

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))
M, B = RNG.uniform(0.5, 2.0, (4, 5)), RNG.normal(size=(4, 5))


def product(x, m, b):
    return x * m + b, x, m


def kl(mu, logvar):
    return 0.5 * (np.exp(logvar) + mu * mu - 1 - logvar).sum(), mu, logvar


def layer_norm(x, w, b):
    c = x - x.mean(-1, keepdims=True)
    r = (np.mean(c * c, -1, keepdims=True) + 1e-5) ** -0.5
    return w * c * r + b, c * r, r, w


def layer_norm_backward(dy, x_hat, r, w):
    g = w * dy
    dx = r * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))
    return dx, (dy * x_hat).sum(0), dy.sum(0)


def evaluation(x, mean, var):
    r = (var + 1e-5) ** -0.5
    return (x - mean) * r, (x - mean) * r, r


# -- a name alone makes no input a constant


def test_an_input_called_m_is_checked():
    right = product, lambda dy, x, m: (dy * m, dy * x, dy)
    assert diagnose(right, (X, M, B)).passed
    for dm in (lambda dy, x: None, lambda dy, x: 0 * x):
        wrong = diagnose((product, lambda dy, x, m, dm=dm: (dy * m, dm(dy, x), dy)), (X, M, B))
        assert [finding.gradients for finding in wrong.findings] == [("dm",)]


def test_mu_of_a_loss_is_checked():
    def backward(dy, mu, logvar):
        return dy * mu, dy * 0.5 * (np.exp(logvar) - 1)

    assert diagnose((kl, backward), (X, M)).passed
    assert not diagnose((kl, lambda dy, mu, logvar: (0 * mu, backward(dy, mu, logvar)[1])), (X, M)).passed


def test_inputs_called_u_and_v_are_checked():
    found = diagnose((lambda u, v: u * v, lambda dy, u, v: (dy * v, dy * u)), (X, X + 1))
    assert found.passed
    assert not diagnose((lambda u, v: u * v, lambda dy, u, v: (dy * v, None)), (X, X + 1)).passed


def test_constants_of_a_derivation_are_listed():
    given = X, B[0], M[0]
    found = diagnose((evaluation, lambda dy, x_hat, r: (r * dy, None, None)), given)
    assert found.passed
    assert "not checked: mean (a constant), var (a constant)" in str(found)


def test_their_gradients_are_checked_if_there_are_any():
    given = X, B[0], M[0]

    def all_right(dy, x_hat, r):
        return r * dy, -(r * dy).sum(0), -0.5 * r**2 * (dy * x_hat).sum(0)

    assert diagnose((evaluation, all_right), given).passed
    wrong = diagnose((evaluation, lambda dy, x_hat, r: (r * dy, (r * dy).sum(0), None)), given)
    assert "dmean: backward gives a gradient to running statistics" in str(wrong)


def test_only_tensors_that_require_grad_are_checked():
    w, b = M[0], B[0]
    inputs = Tensor(X, requires_grad=True), Tensor(w), Tensor(b)
    found = diagnose((layer_norm, layer_norm_backward), inputs)
    assert found.passed, found
    assert found.unchecked == ("w (does not require grad)", "b (does not require grad)")


def test_integers_are_listed():
    found = diagnose((lambda x, t: x * t, lambda dy, x, t: (dy * t, None)), (X, np.arange(5)))
    assert found.passed
    assert "not checked: t (integers)" in str(found)


def test_numbers_do_not_hide_a_missing_gradient():
    given = X, 2.0
    for dw in (lambda dy, x: None, lambda dy, x: (dy * x).sum()):
        found = diagnose((lambda x, w: x * w, lambda dy, x, w, dw=dw: (dy * w, dw(dy, x))), given)
        assert "dw was not checked, because w is the number 2: pass it as an array" in str(found)
    found = diagnose((lambda x, alpha: x * alpha, lambda dy, x, alpha: (dy * alpha, None)), given)
    assert not found.warnings
    found = diagnose((lambda x, alpha: x * alpha, lambda dy, x, alpha: (dy * alpha, dy.sum())), given)
    assert "dalpha was not checked" in str(found)


# -- inputs that cannot be checked


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((0, 3)), r"y is empty, with x \(0, 3\): pass inputs that are not"),
        (np.ones((50, 50)), "have 2500 numbers and y has 2500, .* 1000 each: pass smaller inputs"),
        (np.arange(3), "no input of square can be checked: pass at least one array of floating-point"),
    ],
    ids=["empty", "large", "integers"],
)
def test_inputs_that_cannot_be_checked(inputs, words):
    def square(x):
        return x * x * 1.0

    with pytest.raises(ValueError, match=words):
        diagnose((square, lambda dy, x: 7 * dy), inputs)


def test_empty_inputs_of_an_output_that_is_not():
    with pytest.raises(ValueError, match="every input to check is empty"):
        diagnose((lambda x: x.sum(), lambda dy, x: dy * np.ones_like(x)), np.zeros((0, 3)))
