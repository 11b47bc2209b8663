"""On numbers of 50 digits, forms and gradients agree to 30 digits, and small mistakes show as few digits."""

import numpy as np
import pytest

from tinygrad_norm.autograd import Function
from tinygrad_norm.backends import namespace
from tinygrad_norm.gradient_check.registered import check
from tinygrad_norm.nn.activation.softmax import softmax_composed
from tinygrad_norm.proof.errors import NotAlgebraic
from tinygrad_norm.proof.identity import Recorded
from tinygrad_norm.proof.numberarray import numbers
from tinygrad_norm.proof.residues import Residue
from tinygrad_norm.registry import REGISTRY, Case, Op, fixed

pytest.importorskip("mpmath")

from tinygrad_norm.proof.agreement import LARGEST, allowed, digits_of

NOT_ALGEBRAIC = """
    attention batch_norm_lstm binary_cross_entropy binary_cross_entropy_with_logits cross_entropy ctc_loss
    decorrelated_batch_norm dynamic_erf elu erf erfc exp expm1 gaussian_nll_loss gelu gru kl_div
    layer_norm_lstm log log1p log_softmax logaddexp logsigmoid logsumexp lp_norm lstm matrix_sqrt_pool mish
    norm normalize orthogonal_weight_norm pow rnn scaled_dot_product_attention seed_norm selu sigmoid silu
    sin sinkhorn softmax softplus switchable_norm tan tanh
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", NOT_ALGEBRAIC)
def test_thirty_digits_of_fifty_agree(name):
    found = digits_of(REGISTRY[name])
    assert found.verdict == "agrees", found.worst
    assert found.worst.digits >= 30 == allowed(50)
    assert not found.skipped
    with_gradient = [case for case in REGISTRY[name].cases if all(x[0].size for x in case.draw() if x)]
    assert len(found.agreements) == len(with_gradient) - found.large


FLOATS = {
    "interpolate": "positions in the input are differences of floats",
    "local_contrast_norm": "the weights of its window are floats",
    "sinusoidal_positions": "its table is made of floats",
    "subtractive_norm": "the weights of its window are floats",
}
"""Ops that compute constants with floats, and why no more than 16 digits agree."""


@pytest.mark.slow
def test_no_op_differs():
    found = {name: digits_of(op) for name, op in REGISTRY.items()}
    assert not [each.worst for each in found.values() if each.verdict == "differs"]
    assert not [each.skipped for each in found.values() if each.skipped]
    assert {name for name, each in found.items() if each.verdict == "rounded"} == set(FLOATS)
    agreeing = [a.digits for each in found.values() for a in each.agreements if a.verdict == "agrees"]
    assert min(agreeing) >= 30
    assert len(agreeing) > 1000


@pytest.mark.slow
def test_every_op_differs_if_its_gradient_is_wrong_by_1e_13(monkeypatch):
    right = Recorded.gradients

    def wrong(self, run, dys):
        return {i: dx * 1.0000000000001 for i, dx in right(self, run, dys).items()}

    monkeypatch.setattr(Recorded, "gradients", wrong)
    passed = {name for name, op in REGISTRY.items() if digits_of(op).verdict != "differs"}
    assert passed == {"argsort", "ceil", "floor", "one_hot", "round", "sign", "trunc"}  # their gradient is 0


def test_more_digits_agree_if_more_are_asked_for():
    few, many = (digits_of(REGISTRY["tanh"], digits).worst.digits for digits in (20, 100))
    assert allowed(20) == 12 <= few <= 20
    assert allowed(100) == 60 <= many <= 100


def test_the_same_seed_gives_the_same_digits():
    first, again, other = (digits_of(REGISTRY["softmax"], seed=seed).worst for seed in (0, 0, 1))
    assert first == again
    assert first.digits != other.digits


class SlightlyWrongExp(Function):
    """y = exp(x) · dx = dy·y·(1 + 1e-13), which is wrong"""

    def forward(self, x):
        y = namespace(x).exp(x)
        self.saved = (y,)
        return y

    def backward(self, dy):
        return dy * self.saved[0] * 1.0000000000001


class SlightlyWrongSoftmax(Function):
    """y = exp(x)/Σ exp(x) · dx = y·(dy - Σ dy·y·(1 + 1e-13)), which is wrong"""

    def forward(self, x, *, dim):
        e = namespace(x).exp(x)
        y = e / e.sum(dim, keepdims=True)
        self.saved = y, dim
        return y

    def backward(self, dy):
        y, dim = self.saved
        return y * (dy - 1.0000000000001 * (dy * y).sum(dim, keepdims=True))


class WrongTerm(Function):
    """y = tanh(x) + 1e-13·x · dx = dy·(1 - tanh(x)²), without the term of 1e-13"""

    def forward(self, x):
        y = namespace(x).tanh(x)
        self.saved = (y,)
        return y + 1e-13 * x

    def backward(self, dy):
        return dy * (1 - self.saved[0] ** 2)


PLANTED = {
    "exp": Op("wrong", SlightlyWrongExp.apply, None, (Case(((3, 4),)),)),
    "softmax": Op(
        "wrong",
        lambda x, dim: SlightlyWrongSoftmax.apply(x, dim=dim),
        softmax_composed,
        (Case(((3, 4),), {"dim": 1}),),
    ),
    "tanh": Op("wrong", WrongTerm.apply, None, (Case(((3, 4),)),)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_of_1e_13_leaves_13_digits_and_passes_every_gradient_check(name):
    assert not check(PLANTED[name]).failures
    found = digits_of(PLANTED[name])
    assert found.verdict == "differs"
    assert 12 <= found.worst.digits < 14.5
    assert found.worst.what.startswith("gradient against")


def test_a_forward_that_is_not_the_composed_form():
    op = Op("wrong", REGISTRY["exp"].function, lambda x: x.exp() * (1 + 1e-12), (Case(((3, 4),)),))
    found = digits_of(op)
    assert found.verdict == "differs"
    assert 11 < found.worst.digits < 12.5


def test_a_gradient_that_is_missing():
    class Forgets(Function):
        def forward(self, x):
            return namespace(x).exp(x)

        def backward(self, dy):
            return 0 * dy

    found = digits_of(Op("wrong", Forgets.apply, None, (Case(((3,),)),)))
    assert found.worst.digits == 0


def test_floats_that_come_in_limit_the_digits_and_are_named():
    rate = np.exp(0.1234)

    def scaled(x):
        return x * float(rate)

    def composed(x):
        return x.exp().log() * float(np.nextafter(rate, 2))

    found = digits_of(Op("rounds", scaled, composed, (Case(((3,),)),)))
    assert found.verdict == "rounded"
    assert 14 <= found.worst.digits < 18
    assert float(rate) in found.worst.floats


def test_a_body_that_makes_floats_is_not_run_and_the_line_is_told():
    class Rounds(Function):
        def forward(self, x):
            return x * float(x.max())

        def backward(self, dy):
            return dy

    found = digits_of(Op("rounds", Rounds.apply, None, (Case(((3,),)),)))
    assert found.verdict == "not run"
    (skipped,) = found.skipped
    assert "made a float, which would round it, at test_digits_agree.py:" in skipped.reason


def test_large_and_empty_cases_are_left_out():
    cases = Case(((LARGEST + 1,),)), Case(((0, 3),)), Case(((2,),)), Case((fixed(np.arange(3)),))
    found = digits_of(Op("some", lambda x: x * x if x.is_floating_point() else x, None, cases))
    assert (len(found.agreements), found.large, found.skipped) == (1, 1, ())


def test_without_numbers_of_many_digits_exp_is_not_algebraic():
    digits_of(REGISTRY["exp"])
    with pytest.raises(NotAlgebraic, match="exp is not algebraic"):
        np.exp(numbers([Residue(1, 1.0), 0]))


@pytest.mark.parametrize("digits", [0, 3, -1, 19, 1001, 10_000])
def test_impossible_digits(digits):
    with pytest.raises(ValueError, match=f"digits must be between 20, .* and 1000, got {digits}"):
        digits_of(REGISTRY["exp"], digits)


@pytest.mark.parametrize("digits", [True, 50.0, "50", None], ids=["bool", "float", "str", "None"])
def test_digits_that_are_no_int(digits):
    with pytest.raises(TypeError, match="digits must be an int, got"):
        digits_of(REGISTRY["exp"], digits)
