"""The hints of gradcheck at their limits: how close is close, how few are too few, and what has no hint.

test_gradcheck_mistakes.py shows which mistakes are named.
"""

import numpy as np
import pytest
from gradients import WrongSquare, at, hint, leaf

from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.check import jacobians


def replaced(forward, backward):
    """A function of x from two functions: y from x, and dx from dy and x."""

    class Replaced(Function):
        def forward(self, x):
            self.saved = (x,)
            return forward(x)

        def backward(self, dy):
            return backward(dy, *self.saved)

    return Replaced.apply


def layer_norm(mean=1.0, variance=1.0, factor=lambda std: 1.0):
    """Layer normalization with factors of the paths of its backward, and of all of it."""

    def parts(x):
        centred = x - x.mean(1, keepdims=True)
        std = np.sqrt((centred * centred).mean(1, keepdims=True) + 1e-12)
        return centred / std, std

    def backward(dy, x):
        x_hat, std = parts(x)
        through_mean = mean * dy.mean(1, keepdims=True)
        through_variance = variance * x_hat * (dy * x_hat).mean(1, keepdims=True)
        return factor(std) * (dy - through_mean - through_variance) / std

    return replaced(lambda x: parts(x)[0], backward)


@pytest.mark.parametrize("scale", [1e-12, 1e12], ids=["tiny", "large"])
def test_numbers_are_close_relative_to_their_size(scale):
    def off(x, factor):
        return WrongSquare.apply(x, scale=scale, factor=factor)

    assert hint(lambda x: off(x, -2.0), leaf(3)) == "the sign is flipped"
    assert hint(lambda x: off(x, 1.0), leaf(3)).startswith("the analytic gradient is 0.5 × the numeric one")


@pytest.mark.parametrize(("off", "named"), [(1.0008, True), (1.0015, False)])
def test_a_factor_is_a_statistic_within_a_tenth_of_a_percent(off, named):
    missing = hint(layer_norm(factor=lambda std: off * std), leaf(4, 8))
    doubled = hint(layer_norm(factor=lambda std: off / std), leaf(4, 8))
    assert ("it is" in missing, "1 / the standard deviation" in doubled) == (False, named)
    assert ("the standard deviation of x along axis 1 (within 0.1 %)" in missing) is named


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.7e-5, "is missing: "),
        (1.5e-5, "is 1.5e-05 ×"),
        (-1 + 0.7e-5, "has the wrong sign"),
        (-1 + 1.5e-5, "is -0.9999"),
    ],
    ids=["hardly any", "a little", "nearly the opposite", "not quite the opposite"],
)
def test_a_path_is_missing_or_of_the_wrong_sign_up_to_a_hundred_thousandth(share, words):
    assert hint(layer_norm(mean=share), leaf(4, 8)).startswith(f"the path through the mean {words}")
    assert hint(layer_norm(variance=share), leaf(4, 8)).startswith(f"the path through the variance {words}")


def test_three_entries_are_too_few_to_measure_a_share():
    """Beside the entry where dy is 1 there are two: a number and a multiple of x̂ fit any two numbers."""
    assert hint(layer_norm(mean=0.0), leaf(4, 3)).startswith("the path through the mean is missing or wrong")
    assert hint(layer_norm(mean=0.0), leaf(4, 4)).startswith("the path through the mean is missing: ")


def test_only_a_square_has_a_transpose_of_its_shape():
    turned = replaced(lambda x: x * 2, lambda dy, x: 2 * dy.T.reshape(x.shape))
    assert "over the last two axes" in hint(turned, leaf(3, 3))
    assert "over the last two axes" not in hint(turned, leaf(3, 4))


def test_one_row_of_what_is_no_broadcast_is_not_called_one():
    """y of shape (3, 2) from x of shape (1, 4), of which backward takes the last row alone."""
    factors = np.array([[1.0], [2.0], [3.0]])

    def backward(dy, x):
        return np.repeat(factors[2] * dy[2], 2)[None]

    wrong = replaced(lambda x: factors * x.reshape(2, 2).sum(1), backward)
    assert "broadcast" not in hint(wrong, leaf(1, 4))
    stretched = replaced(lambda x: factors * x, lambda dy, x: factors[2] * dy[2:])
    assert "right at index 2 of the output's axis 0" in hint(stretched, leaf(1, 4))


@pytest.mark.parametrize("slope", [1e-3, 1e3])
def test_the_slopes_beside_a_kink_are_those_of_a_kink(slope):
    kinked = replaced(lambda x: slope * abs(x), lambda dy, x: slope * dy * np.where(x < 0, -1.0, 1.0))
    found = hint(kinked, at([1.0, 0.0, -2.0]))
    assert f"its slope is {-slope:.4g} on one side and {slope:.4g} on the other" in found


def test_what_only_a_mixture_of_dys_gives_is_an_error_of_that_size():
    """Beside a function that is 0 there is nothing that the error could be relative to."""

    def backward(dy, x):
        return np.full(2, dy[0] * dy[1])

    (pair,) = jacobians(replaced(lambda x: 0.0 * x, backward), leaf(2))
    assert not pair.analytic.any()
    mixed = pair.backward.mixed
    assert (abs(mixed) > 1).all()
    np.testing.assert_array_equal(pair.relative_nonlinearity, abs(mixed))
