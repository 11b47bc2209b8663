"""The derivative of a black box: its value, the estimate of its error, and kinks and rounding detected."""

import numpy as np
import pytest

from tinygrad_norm.gradient_check.numeric import above_curve, above_rounding, derivative, with_bend


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda t: np.exp(1 + t), np.exp(1)),
        (lambda t: 1 / (0.05 + t), -400.0),
        (lambda t: np.sqrt(1e-3 + t), 0.5 / np.sqrt(1e-3)),
        (lambda t: np.log(1e-5 + t), 1e5),
        (lambda t: np.sin(20 * (1 + t)), 20 * np.cos(20)),
        (lambda t: np.maximum(2e-4 + t, 0.0), 1.0),
        (lambda t: np.sign(2e-5 + t) + t, 1.0),
        (lambda t: 1e4 + 0 * t, 0.0),
    ],
)
def test_a_derivative_is_right_and_its_error_estimate_honest(f, expected):
    value, error, step, *_ = derivative(lambda t: np.atleast_1d(f(t)), 1e-3)
    assert abs(value - expected) <= 1e-9 * max(abs(expected), 1)
    assert abs(value - expected) <= 10 * error
    assert 0 < step <= 1e-3


def test_every_entry_keeps_its_own_best_step():
    smooth_and_kinked = derivative(lambda t: np.array([np.sin(1 + t), np.maximum(1e-4 + t, 0)]), 1e-3)
    np.testing.assert_allclose(smooth_and_kinked.value, [np.cos(1), 1], rtol=1e-10)
    assert smooth_and_kinked.step[0] > smooth_and_kinked.step[1]


def test_a_function_without_finite_values_has_an_infinite_error():
    assert derivative(lambda t: np.array([np.nan]), 1e-3).error == np.inf


def test_an_infinity_that_does_not_move_has_derivative_0():
    value, error, *_ = derivative(lambda t: np.array([-np.inf, t]), 1e-3)
    np.testing.assert_allclose(value, [0, 1])
    assert np.isfinite(error).all()


def test_what_only_rounds_has_a_floor_above_it_and_what_moves_has_not():
    numbers = np.random.default_rng(0).normal(size=20)

    def f(t):
        moved = np.concatenate([[1 + t], numbers])
        return np.array([(moved - moved.mean()).sum(), np.sin(1 + t), 1e-9 * t, np.sign(t)])

    found = derivative(f, 1e-3)
    rounds, moves, crawls, jumps = range(4)
    examined = above_rounding(f, 1e-3, found)
    assert abs(found.value[rounds]) < examined.floor[rounds] < 1e-10
    assert abs(examined.value[rounds]) <= 10 * examined.error[rounds]
    for entry in moves, crawls, jumps:
        assert examined.floor[entry] == found.floor[entry] == 0
        assert examined.value[entry] == found.value[entry]


@pytest.mark.parametrize("slope", [1e-6, 1.0, 1e6])
def test_a_kink_is_where_the_slope_jumps(slope):
    def f(t):
        return np.array([np.maximum(slope * t, 0), abs(t) + t * t, np.sin(20 + 20 * t), np.maximum(t, 0.1)])

    found = with_bend(f, derivative(f, 1e-3))
    np.testing.assert_allclose(found.bend[:2], [slope, 2], rtol=1e-6)
    assert (abs(found.bend[2:]) < 1e-8).all()


def test_a_slope_is_extrapolated_where_the_second_derivative_jumps_and_there_alone():
    """|t|^1.9 has no second derivative at 0: its differences converge too, but not by 4 at each step."""

    def f(t):
        return np.array([t + max(t, 0.0) ** 2, t + np.sign(t) * abs(t) ** 1.9, np.sin(1 + t)])

    found = derivative(f, 1e-3)
    examined = above_curve(f, 1e-3, found)
    assert abs(examined.value[0] - 1) <= 1e-11 < abs(found.value[0] - 1)
    for part, before in zip(examined, found, strict=True):
        np.testing.assert_array_equal(part[1:], before[1:])
