"""Proofs of functions of one's own: right ones are proved, mistakes refuted, the rest is told."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Function
from tinygrad_norm.learn import diagnose
from tinygrad_norm.learn.ownproof import prove_own
from tinygrad_norm.learn.proofs import report

EPS = 1e-5


def mean(x):
    return x.mean(-1, keepdims=True)


def norm(x, w, b, eps=EPS):
    c = x - mean(x)
    return w * c / np.sqrt(mean(c * c) + eps) + b


def norm_backward(dy, x, w, b, eps=EPS, *, count=0, keep_mean=1, factor=1, kept_eps=1, inside=True):
    """The gradient of `norm`, with a mistake for each option."""
    n = x.shape[-1] - count
    c = x - mean(x)
    v = mean(c * c)
    r = 1 / np.sqrt(v + eps * kept_eps) if inside else 1 / (np.sqrt(v) + eps)
    x_hat, g = c * r, w * dy
    shared = keep_mean * g.sum(-1, keepdims=True) / n
    dx = factor * r * (g - shared - x_hat * (g * x_hat).sum(-1, keepdims=True) / n)
    return dx, (dy * x_hat).sum(0), dy.sum(0)


def std(x, ddof):
    c = x - x.mean(0)
    return c / np.sqrt((c * c).sum(0) / (len(x) - ddof) + EPS)


def std_backward(dy, x, ddof):
    c, n = x - x.mean(0), len(x) - ddof
    r = 1 / np.sqrt((c * c).sum(0) / n + EPS)
    return r * (dy - dy.mean(0) - c * r * (dy * c * r).sum(0) / n)


MISTAKES = {
    "D - 1 for D": {"count": 1},
    "mean path dropped": {"keep_mean": 0},
    "coefficient": {"factor": 1 + 1e-13},
    "eps dropped": {"kept_eps": 0},
    "eps outside the root": {"inside": False},
}


def with_mistake(**mistake):
    return norm, lambda dy, x, w, b: norm_backward(dy, x, w, b, **mistake)


def test_a_right_pair_is_proved():
    proof = prove_own((norm, norm_backward))
    assert (proof.name, proof.kind, proof.verdict) == ("norm", "own", "proved")
    assert proof.cases == 2  # of two sizes: a number written into the backward would be right for one
    assert not proof.skipped


@pytest.mark.parametrize("name", MISTAKES)
def test_planted_mistakes_are_refuted(name):
    proof = prove_own(with_mistake(**MISTAKES[name]))
    assert proof.verdict == "refuted"
    assert "the gradient of x is wrong at [0, 0]" in report(proof)


def test_a_coefficient_that_no_gradient_check_sees():
    pair = with_mistake(factor=1 + 1e-13)
    assert diagnose(pair).passed
    text = report(prove_own(pair))
    assert "gradcheck, which allows 1e-07, does not see it" in text


@pytest.mark.parametrize(
    ("forward", "backward", "verdict"),
    [(0, 0, "proved"), (1, 1, "proved"), (0, 1, "refuted"), (1, 0, "refuted")],
    ids=["biased", "unbiased", "unbiased gradient", "biased gradient"],
)
def test_biased_and_unbiased_variance(forward, backward, verdict):
    pair = lambda x: std(x, forward), lambda dy, x: std_backward(dy, x, backward)
    assert prove_own(pair, (np.arange(12.0).reshape(4, 3) ** 0.5,)).verdict == verdict


@pytest.mark.parametrize("seed", range(5))
def test_right_ones_never_are_refuted(seed):
    assert prove_own((norm, norm_backward), points=3, seed=seed).verdict == "proved"


def test_a_cache_loops_and_writes_in_place():
    def forward(x):
        y, lengths = np.zeros_like(x), []
        for i in range(len(x)):
            lengths.append(np.sqrt((x[i] * x[i]).sum()))
            y[i] = x[i] / lengths[i]
        return y, (y, lengths)

    def backward(dy, cache):
        y, lengths = cache
        dx = np.empty_like(dy)
        for i in range(len(dy)):
            dx[i] = dy[i] - y[i] * np.dot(y[i], dy[i])
            dx[i] /= lengths[i]
        return dx

    assert prove_own((forward, backward)).verdict == "proved"
    assert prove_own((forward, lambda dy, cache: dy - cache[0] * dy)).verdict == "refuted"


# -- Functions, modules, functions of tensors


class Center(Function):
    """y = x - mean(x) · dx = dy - mean(dy)"""

    def forward(self, x):
        self.saved = ()
        return x - mean(x)

    def backward(self, dy):
        return dy - mean(dy)


class CenterFunction(Center):
    """y = x - mean(x) · dx = dy - mean(dy)"""


def center_composed(x):
    return x - 0.999 * x.mean(-1, keepdim=True)


class Twin(Center):
    """y = x - mean(x) · dx = dy - mean(dy)"""

    @staticmethod
    def composed(x):
        return x - x.mean(-1, keepdim=True)


def test_a_function_without_a_twin_is_its_own_reference():
    assert prove_own(type("Alone", (Center,), {})).verdict == "proved"


def test_a_function_is_compared_with_its_twin():
    assert prove_own(Twin).verdict == "proved"
    for function in (Center, CenterFunction):  # both have center_composed, which is another function
        proof = prove_own(function)
        assert proof.verdict == "refuted"
        assert "output 0 is wrong at [0, 0]" in report(proof)


@pytest.mark.parametrize(
    ("twin", "words"),
    [
        (lambda x: x.mean(-1), "returns (4, 5), its composed form (4,)"),
        (lambda x: x.detach(), "nothing"),
    ],
    ids=["shape", "constant"],
)
def test_a_twin_of_another_shape(twin, words):
    own = type("Own", (Center,), {"composed": staticmethod(twin)})
    assert words in report(prove_own(own))


def test_a_twin_that_raises():
    own = type("Own", (Center,), {"composed": staticmethod(lambda x: x.lost)})
    with pytest.raises(ValueError, match=r"form of Own, raised AttributeError.*It takes tensors"):
        prove_own(own)


def test_a_module_and_a_function_of_tensors():
    assert prove_own(nn.LayerNorm(5)).verdict == "proved"
    assert prove_own(lambda x: Center.apply(2 * x)).verdict == "proved"

    class Wrong(Center):
        def backward(self, dy):
            return dy

    assert prove_own(lambda x: Wrong.apply(2 * x)).verdict == "refuted"


def test_a_function_without_a_backward():
    with pytest.raises(ValueError, match=r"has no backward of its own.*write own_backward"):
        prove_own(lambda x: x * x, name="own")


# -- what is no proof and no refutation


def test_a_body_that_does_something_else_on_exact_numbers():
    def forward(x):
        try:
            return x * float(x.sum())
        except TypeError:
            return x * 1

    def backward(dy, x):
        return dy * x.sum() + (dy * x).sum() if x.dtype == float else dy * x

    right = lambda dy, x: dy * x.sum() + (dy * x).sum()  # noqa: E731
    for pair, body in (((forward, right), "forward"), ((lambda x: x * x.sum(), backward), "backward")):
        proof = prove_own(pair)
        assert proof.verdict == "not tested"
        assert f"the {body} gives other values on exact numbers than on floats" in proof.reason


def same(dy, x):
    return dy


CANNOT = {
    "float": (lambda x: x * float(x.sum()), "leave the conversion out, at test_ownproof.py:"),
    "int": (lambda x: x * int(x.sum()), "leave the conversion out"),
    "float64": (lambda x: x * np.float64(x.sum()), "leave the conversion out"),
    "float32": (lambda x: x * np.float32(x.sum()), "leave the conversion out"),
    "overflow of an integer": (lambda x: x * (np.int64(2**62) * np.int64(x.shape[0])), "overflow"),
    "a library": (lambda x: np.linalg.inv(x.T @ x + np.eye(x.shape[1])) @ x.T, "cannot take"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_steps_that_exact_numbers_cannot_take(name):
    forward, words = CANNOT[name]
    proof = prove_own((forward, lambda dy, x: x), (np.arange(6.0).reshape(2, 3) ** 0.5 + 1,))
    assert proof.verdict == "not tested"
    assert words in proof.reason
    assert "test_ownproof.py" in proof.reason


def test_a_float_that_came_in_on_the_way():
    assert prove_own((lambda x: x * np.pi, lambda dy, x: dy * np.pi)).verdict == "proved"
    proof = prove_own((lambda x: x * (np.pi * np.e), lambda dy, x: dy * np.pi * np.e))
    assert proof.verdict == "not tested"  # what differs may be rounding
    assert re.search(r"the float [\d.]+ came in on the way, at test_ownproof.py:", report(proof))
    assert "such as x / n for x * (1 / n)" in report(proof)
    assert prove_own((lambda x: x * np.pi, lambda dy, x: dy * 3.14)).verdict == "refuted"


def test_an_array_to_write_to_that_is_of_floats():
    def forward(x):
        y = np.zeros(x.shape)
        y[:] = x * x
        return y

    proof = prove_own((forward, lambda dy, x: 2 * x * dy))
    assert "in “y[:] = x * x”: an array to write to must be of the numbers of x" in proof.reason


def test_integers_of_a_fixed_size_that_wrap_around():
    pair = lambda x, t: x * (t + 3) ** 40, lambda dy, x, t: (dy * (t + 3) ** 40, None)
    proof = prove_own(pair, (np.arange(1.0, 7), np.arange(6)))
    assert proof.verdict == "not tested"
    assert "numpy.power of int64 overflows" in proof.reason
    right = lambda x, t: x * (t + 3) ** 4, lambda dy, x, t: (dy * (t + 3) ** 4, None)
    assert prove_own(right, (np.arange(1.0, 7), np.arange(6))).verdict == "proved"


def test_a_function_that_is_not_algebraic():
    proof = prove_own((np.exp, lambda dy, x: dy * np.exp(x)), (np.ones(3),))
    assert (proof.verdict, proof.reason) == ("not algebraic", "exp")


def test_integers_that_wrap_around_where_they_meet_exact_numbers():
    forward = lambda x: x * (np.arange(x.shape[-1]) + 3) ** 40  # noqa: E731
    proof = prove_own((forward, lambda dy, x: forward(dy)))
    assert "a number of int64 is as large as" in proof.reason


def test_a_proof_says_where_it_depends_on_the_branch():
    relu = lambda x: np.maximum(x, 0), lambda dy, x: dy * (x > 0)
    proof = prove_own(relu)
    assert proof.verdict == "proved"
    assert [decision.partition(" at test_ownproof.py:")[0] for decision in proof.decisions] == ["maximum"]
    assert "proved for the branches that its inputs take: maximum at test_ownproof.py:" in report(proof)


def test_functions_of_numpy_that_return_plain_arrays():
    def forward(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def backward(dy, x):
        n = np.linalg.norm(x, axis=-1, keepdims=True)
        return (dy - x / n * (x / n * dy).sum(-1, keepdims=True)) / n

    assert prove_own((forward, backward)).verdict == "proved"
    root = np.cbrt, lambda dy, x: dy / 3 / np.cbrt(x) ** 2
    assert prove_own(root, (np.arange(1.0, 4),)).verdict == "proved"
    proof = prove_own((lambda x: np.exp(np.array(x)), lambda dy, x: dy))
    assert (proof.verdict, proof.reason) == ("not algebraic", "exp")


def test_a_division_by_zero():
    pair = lambda x: x / (x - x + 0).sum() if x.dtype == object else x, same
    assert prove_own(pair).verdict in ("refuted", "not tested")
    with pytest.raises(ValueError, match="NaN or infinite"):
        prove_own((lambda x: x / (x - x).sum(), same))


def test_what_draws_random_numbers_is_refused():
    rng = np.random.default_rng()
    with pytest.raises(ValueError, match=r"forward .* gives other numbers when it is called again"):
        prove_own((lambda x: x * rng.random(x.shape), same))
    with pytest.raises(ValueError, match=r"backward .* gives other numbers when it is called again"):
        prove_own((lambda x: x * x, lambda dy, x: dy * rng.random(x.shape)))


@pytest.mark.parametrize(
    ("backward", "words"),
    [
        (lambda dy, x, w: (dy * w, dy * x), "dw: it is not summed over the axes"),
        (lambda dy, x, w: None, "is `return` missing?"),
        (lambda dy, x, w: (dy * w, dy.sum(0), 3), "it returned 3 gradients for 2 inputs"),
        (lambda dy, x, w: (dy[:, :2], dy.sum(0)), "returned a gradient of shape (4, 2) for x"),
        (lambda dy, x, w: (1 / 0, dy.sum(0)), "division by zero (test_ownproof.py:"),
        (lambda dy: dy, "backward takes dy and then"),
    ],
    ids=["not summed", "no return", "three", "shape", "raises", "arguments"],
)
def test_a_backward_that_is_wrong_on_ordinary_numbers(backward, words):
    proof = prove_own((lambda x, w: x * w, backward))
    assert proof.verdict == "refuted"
    assert words in report(proof)


def test_without_inputs():
    with pytest.raises(ValueError, match="names no arguments"):
        prove_own((lambda: np.ones(3), same))
    with pytest.raises(ValueError, match=r"no input of .* can be checked"):
        prove_own((lambda n: np.ones(3) * n, same), (3,))
    with pytest.raises(TypeError, match="pass a Function class, a pair of functions"):
        prove_own(3)


def spectral(w, u, v):
    return w / (u @ w @ v)


def spectral_backward(dy, w, u, v):
    sigma = u @ w @ v
    return (dy - (dy * w).sum() / sigma * np.outer(u, v)) / sigma


def test_constants_of_the_derivation_have_no_gradient():
    proof = prove_own((spectral, spectral_backward))
    assert (proof.verdict, proof.constants) == ("proved", ("u", "v"))
    assert "spectral: u, v held constant, without a gradient." in report(proof)
    wrong = lambda dy, w, u, v: (spectral_backward(dy, w, u, v), u, v)  # noqa: E731
    proof = prove_own((spectral, wrong))
    assert "the gradient of u is wrong" in report(proof)


def test_numbers_none_and_constants_among_the_inputs():
    def forward(x, running_mean, w=None, power=2):
        c = x - running_mean
        return c**power if w is None else w * c**power

    def backward(dy, x, running_mean, w=None, power=2):
        return power * (x - running_mean) ** (power - 1) * dy, None

    x = np.arange(6.0).reshape(2, 3) + 0.25
    for inputs in ((x, x[0] + 1), (x, x[0] + 1, None, 3)):
        proof = prove_own((forward, backward), inputs)
        assert (proof.verdict, proof.constants) == ("proved", ("running_mean",))
    assert prove_own((forward, backward), (x, x[0] + 1, tn.tensor(2.0), 3)).verdict == "refuted"
