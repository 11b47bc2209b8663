"""The precision of gradcheck: no size, neighbour, rounding or border hides a mistake, or looks like one."""

import warnings

import numpy as np
import pytest
from gradients import WrongSquare, leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.check import gradcheck, jacobians
from tinygrad_norm.gradient_check.error import GradcheckError

F = tn.nn.functional


def worst(func, *inputs, **options):
    return max(pair.worst for pair in jacobians(func, inputs, **options))


def test_right_gradients_agree_to_1e_9():
    assert worst(lambda a, b: tn.tanh(a @ b) / (1 + tn.exp(a).mean()), leaf(3, 4), leaf(4, 2)) < 1e-9


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0, 1e8])
def test_the_size_of_the_function_does_not_matter(scale):
    right = lambda x: WrongSquare.apply(x, scale=scale, factor=2.0)  # noqa: E731
    slightly_off = lambda x: WrongSquare.apply(x, scale=scale, factor=2.000001)  # noqa: E731
    assert gradcheck(right, leaf(4))
    with pytest.raises(GradcheckError):
        gradcheck(slightly_off, leaf(4))


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_the_size_of_the_input_does_not_matter(scale):
    assert gradcheck(lambda x: x / (scale + x * x / scale), leaf(5, scale=scale))


def test_a_normalization_far_from_0_is_right():
    """Steps that are powers of two are added to large numbers without rounding."""
    x = Tensor(np.random.default_rng(0).normal(size=(2, 4)) + 1e6, requires_grad=True)
    assert gradcheck(lambda x: tn.nn.functional.layer_norm(x, (4,)), (x,))


class Shifted(Function):
    """y = x + shift · dx = factor·dy, right for factor = 1"""

    def forward(self, x, *, shift, factor):
        self.factor = factor
        return x + shift

    def backward(self, dy):
        return self.factor * dy


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(("shift", "off"), [(1e4, 1e-7), (1e8, 1e-3), (1e10, 0.1), (1e11, 1.0)])
def test_a_large_output_hides_no_more_than_its_rounding(shift, off, fast_mode):
    func = lambda x, factor: Shifted.apply(x, shift=shift, factor=factor)  # noqa: E731
    assert gradcheck(lambda x: func(x, 1.0), leaf(4), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="relative error"):
        gradcheck(lambda x: func(x, 1.0 - off), leaf(4), rtol=min(off / 2, 1e-7), fast_mode=fast_mode)


def test_one_huge_output_does_not_hide_a_wrong_small_one():
    def huge_beside_wrong(x):
        return WrongSquare.apply(x, factor=2.0) * 1e12, WrongSquare.apply(x)

    with pytest.raises(GradcheckError, match="output 1"):
        gradcheck(huge_beside_wrong, leaf(3))
    with pytest.raises(GradcheckError, match=r"output 0\[[12]\]"):
        gradcheck(lambda x: WrongSquare.apply(x) + Tensor(np.array([1e12, 0.0, 0.0])), leaf(3))


def test_one_huge_slope_does_not_hide_a_wrong_small_one():
    x = leaf(3)
    start, slopes = Tensor(x.array.copy()), Tensor(np.array([1e12, 0.0, 0.0]))

    def huge_beside_slightly_off(x):
        return WrongSquare.apply(x, factor=2.00001) + slopes * (x - start)

    with pytest.raises(GradcheckError, match=r"output 0\[[12]\]"):
        gradcheck(huge_beside_slightly_off, x)


def test_one_infinite_output_does_not_hide_its_wrong_gradient():
    class Masked(Function):
        """y = -inf at the first entry, x elsewhere · dx = dy, which is wrong at the first"""

        def forward(self, x):
            y = x.copy()
            y[0] = -np.inf
            return y

        def backward(self, dy):
            return dy

    with pytest.raises(GradcheckError, match=r"output 0\[0\] with respect to input 0\[0\]"):
        gradcheck(Masked.apply, leaf(3))


def test_an_input_near_a_kink_or_a_border_is_checked_with_smaller_steps():
    x = Tensor(np.array([1e-4, -3e-4, 2.0]), requires_grad=True)
    assert gradcheck(lambda x: tn.clamp(x, min=0), x)
    assert gradcheck(tn.log, Tensor(np.array([1e-5, 1e-2]), requires_grad=True))
    assert gradcheck(tn.sqrt, Tensor(np.array([1e-6, 1.0]), requires_grad=True))


VACUOUS = [
    lambda x: F.layer_norm(x, (8,)).sum(),
    lambda x: F.layer_norm(x, (8,)).mean(),
    lambda x: F.layer_norm(x, (8,)).sum(-1),
    lambda x: tn.nn.BatchNorm1d(8).double()(x).sum(),
    lambda x: 1e9 * F.layer_norm(x, (8,)).sum(),
    lambda x: F.layer_norm(x + 1e6, (8,)).sum(),
]


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("func", VACUOUS)
def test_a_loss_that_is_constant_up_to_rounding_is_right(func, seed, fast_mode):
    assert gradcheck(func, leaf(3, 8, seed=seed), fast_mode=fast_mode)


@pytest.mark.parametrize("slope", [1e-4, 1.0, 1e6])
def test_rounding_hides_no_slope(slope):
    def beside_rounding(x):
        return F.layer_norm(x, (8,)).sum() + slope * WrongSquare.apply(x, factor=2.0)[0, 0]

    def slightly_off(x):
        return F.layer_norm(x, (8,)).sum() + slope * WrongSquare.apply(x, factor=2.001)[0, 0]

    assert gradcheck(beside_rounding, leaf(3, 8))
    with pytest.raises(GradcheckError, match=r"input 0\[0, 0\]"):
        gradcheck(slightly_off, leaf(3, 8))


def test_a_gradient_beside_a_loss_that_only_rounds_is_wrong():
    class NotNothing(Function):
        """y = Σ(x - mean(x)) · dx = 1e-9, which is wrong: it is 0"""

        def forward(self, x):
            self.saved = (x.shape,)
            return (x - x.mean()).sum()

        def backward(self, dy):
            return dy * np.full(self.saved[0], 1e-9)

    with pytest.raises(GradcheckError, match="wrong gradient"):
        gradcheck(NotNothing.apply, leaf(3, 8))


# -- where the first derivative is continuous, and the second jumps

CURVES = {
    "relu²": lambda x: F.relu(x) ** 2,
    "x·|x|": lambda x: x * tn.abs(x),
    "relu² and a slope": lambda x: F.relu(x) ** 2 + 3 * x,
    "relu²·exp": lambda x: F.relu(x).square() * x.exp(),
    "sin of relu²": lambda x: (5 * F.relu(x) ** 2).sin() + x.cos(),
    "summed": lambda x: (F.relu(x) ** 2).sum(),
}


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_a_jump_of_the_second_derivative_is_no_mistake(curve, fast_mode):
    x = tn.tensor(np.array([0.0, 1.5, -0.5, 0.0]), requires_grad=True)
    assert gradcheck(curve, x, fast_mode=fast_mode)


class WrongAtZero(Function):
    """y = max(x, 0)² · dx = dy·(2·max(x, 0) + error)"""

    def forward(self, x, *, error):
        self.saved = x, error
        return np.maximum(x, 0) ** 2

    def backward(self, dy):
        x, error = self.saved
        return dy * (2 * np.maximum(x, 0) + error * (x == 0))


@pytest.mark.parametrize("error", [1.0, -1e-3, 1e-6])
def test_a_mistake_where_the_second_derivative_jumps_is_found(error):
    x = tn.tensor(np.array([0.0, 1.5, -0.5, 0.0]), requires_grad=True)
    assert not gradcheck(lambda x: WrongAtZero.apply(x, error=error), x, raise_exception=False)


# -- values at the ends of the range


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_cannot_move_raises(value):
    x = tn.tensor(np.array([[1.0, value]]), requires_grad=True)
    with pytest.raises(ValueError, match=rf"input 0 is {value} at \(0, 1\)"):
        gradcheck(lambda x: x * 2, x)


def test_large_values_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(tn.exp, tn.tensor(np.array([709.7]), requires_grad=True))


# -- progress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_check_reports_on_a_terminal(terminal, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setattr("tinygrad_norm.gradient_check.progress.QUIET", 0.0)
    assert gradcheck(lambda x: x.sum(), leaf(5))
    written = capsys.readouterr().err
    assert ("gradcheck: input 0: 0 of 5 entries" in written) == terminal
    assert written.endswith("\n") == terminal
