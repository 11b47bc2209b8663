"""What must not mislead a proof: roots of squares, writes, exceptions, and cases with nothing to compare."""

import numpy as np
import pytest

from tinygrad_norm.autograd import Function
from tinygrad_norm.proof.proving import NOT_TESTED, PROVED, REFUTED, prove_op
from tinygrad_norm.registry import Case, Op, fixed

MATRIX = (Case(((3, 4),)),)


def verdicts(forward, backward, cases=MATRIX, seeds=6):
    """The verdicts on y = forward(x) with dx = backward(dy, x), one for each seed."""

    class Planted(Function):
        def forward(self, x):
            self.saved = (x,)
            return forward(x)

        def backward(self, dy):
            return backward(dy, *self.saved)

    return {prove_op(Op("planted", Planted.apply, None, cases), 1, seed).verdict for seed in range(seeds)}


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: np.sqrt((x - 0.5) ** 2),
        lambda x: np.sqrt((x - 0.5) * (x - 0.5)),
        lambda x: ((x - 0.5) ** 4) ** 0.25,
        lambda x: np.sqrt((x - 0.5) ** 2 / 4) * 2,
    ],
    ids=["power", "product", "fourth root", "quotient"],
)
def test_the_root_of_a_square_has_the_sign_of_the_real_value(forward):
    assert verdicts(forward, lambda dy, x: dy * np.sign(x - 0.5)) == {PROVED}
    assert verdicts(forward, lambda dy, x: dy * 1) == {REFUTED}


def test_a_square_that_does_not_show_its_root_is_neither_proved_nor_refuted():
    def forward(x):
        return np.sqrt(x * x + 2 * x + 1)

    assert verdicts(forward, lambda dy, x: dy * np.sign(x + 1)) == {NOT_TESTED}
    assert verdicts(forward, lambda dy, x: dy * 1) == {NOT_TESTED}


def test_a_backward_may_write_to_dy_and_nothing_is_hidden_by_it():
    def tripled(dy, x):
        dy *= 3
        return dy

    assert verdicts(lambda x: 3 * x, tripled) == {PROVED}
    assert verdicts(lambda x: x * 1, tripled) == {REFUTED}


def test_a_forward_that_writes_to_x_does_not_move_the_point():
    def doubled(x):
        x *= 2
        return x

    assert verdicts(doubled, lambda dy, x: 2 * dy) == {PROVED}
    assert verdicts(doubled, lambda dy, x: 3 * dy) == {REFUTED}


def test_an_exception_in_one_case_is_no_proof():
    def backward(dy, x):
        if x.ndim == 1:
            raise IndexError("planted")
        return 2 * dy * x

    assert verdicts(lambda x: x * x, backward, (*MATRIX, Case(((3,),)))) == {NOT_TESTED}


def test_a_case_without_a_gradient_proves_nothing():
    assert verdicts(lambda x: x * x, lambda dy, x: 77 * dy, (Case((fixed(np.ones(3) / 2),)),)) == {NOT_TESTED}


def test_an_input_of_zeros_is_drawn_like_others():
    zeros = (Case((fixed(np.zeros((2, 3)), differentiable=True),)),)
    assert verdicts(lambda x: x * x, lambda dy, x: 2 * dy * x, zeros) == {PROVED}
    assert verdicts(lambda x: x * x, lambda dy, x: 3 * dy * x, zeros) == {REFUTED}
