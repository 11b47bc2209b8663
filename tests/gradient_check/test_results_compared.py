"""What the checks of registered ops rely on: results that differ anywhere are seen to differ."""

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.registered import (
    Failure,
    Result,
    check,
    cotangent,
    differences,
    draw,
    evaluate,
    places_of_nan,
    relative_error,
)
from tinygrad_norm.registry import REGISTRY


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [
        ([2.0, 4.0], [2.0, 5.0], 0.2),
        ([2.0, 5.0], [2.0, 4.0], 0.2),
        ([2.0, -4.0], [2.0, 4.0], 2.0),
        ([0.0, 4.0], [1e-6, 4.0], 1e-6 / 4e-3),  # below a thousandth of the largest, or of 1
        ([0.0, 0.5], [1e-6, 0.5], 1e-6 / 1e-3),
        ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([1.0, 2.0], [[1.0, 2.0]], np.inf),
        ([], [], 0.0),
    ],
)
def test_relative_error(a, b, error):
    assert relative_error(np.array(a), np.array(b)) == pytest.approx(error, rel=1e-12)


def test_integers_and_flags_are_equal_or_not():
    assert relative_error(np.array([1, 2]), np.array([1, 2])) == 0
    assert relative_error(np.array([1, 2]), np.array([1, 3])) == np.inf
    assert relative_error(np.array([True]), np.array([False])) == np.inf


def test_differences_name_every_output_and_gradient():
    right = Result((numbers(2), numbers(3)), {0: numbers(2), 2: numbers(4)})
    wrong = Result((numbers(2), numbers(3) * 1.5), {0: numbers(2) * 3, 2: numbers(4)})
    found = differences(wrong, right)
    assert list(found) == ["output 0", "output 1", "gradient of input 0", "gradient of input 2"]
    assert list(found.values()) == pytest.approx([0, 1 / 3, 2 / 3, 0])


def test_places_of_nan_are_counted():
    result = Result((np.array([np.nan, 1.0]), np.array([1, 2])), {1: np.array([[np.nan, np.nan, 0.0]])})
    assert places_of_nan(result) == {
        "output 0": "NaN in 1 of 2 places",
        "gradient of input 1": "NaN in 2 of 3 places",
    }


def test_dy_is_another_one_for_each_output_and_seed_and_is_not_the_input():
    drawn = [cotangent((4,), k, seed) for k in range(2) for seed in range(2)]
    drawn.append(np.random.default_rng(0).normal(size=4))
    for i, a in enumerate(drawn):
        assert all(abs(a - b).min() > 1e-6 for b in drawn[:i])


def test_a_result_has_the_outputs_and_gradients_of_the_call_with_that_dy():
    op = REGISTRY["mul"]
    case = op.cases[0]
    x, y = (one.numpy() for one in draw(case))
    result = evaluate(op, op.function, case)
    dy = cotangent(result.values[0].shape, 0)
    np.testing.assert_array_equal(result.values[0], x * y)
    if x.shape == y.shape:
        np.testing.assert_array_equal(result.gradients[0], dy * y)
        np.testing.assert_array_equal(result.gradients[1], dy * x)
    single = evaluate(op, op.function, case, np.float32)
    assert {a.dtype.name for a in (*single.values, *single.gradients.values())} == {"float32"}


# -- a whole op


def off(factor, nan=False):
    """The op layer_norm whose closed form is off by a factor, or NaN in one place."""
    op = REGISTRY["layer_norm"]

    def function(*args, **options):
        y = op.composed(*args, **options) * factor
        if nan and y.size:
            y.array.reshape(-1)[0] = np.nan
        return y

    return replace(op, function=function, cases=op.cases[:2])


def test_a_right_op_passes_and_every_case_advances():
    calls = []
    verdict = check(off(1.0), lambda: calls.append(1))
    assert (verdict.failures, verdict.cases, len(calls)) == ((), 2, 2)
    assert (verdict.name, verdict.kind) == ("layer_norm", "normalization")
    assert verdict.composed_error <= verdict.worst == max(verdict.composed_error, verdict.numeric_error)
    assert verdict.numeric_error < 1e-7
    assert 0 < verdict.seconds < 60


def test_a_closed_form_that_differs_from_the_composed_one_fails():
    verdict = check(off(1.25))
    assert verdict.composed_error == pytest.approx(0.2)
    assert verdict.worst == verdict.composed_error
    lines = [failure.message for failure in verdict.failures]
    assert sum("output 0 of the closed form differs from the composed form's" in line for line in lines) == 2
    assert any("gradient of input 0 of the closed form differs" in line for line in lines)
    case = " ".join(str(off(1.0).cases[0]).split())
    assert verdict.failures[0].text == f"layer_norm, case {case}: {lines[0]}"
    assert verdict.failures[0].summary == f"layer_norm, case {case}: {lines[0]}"


def test_nan_fails():
    verdict = check(off(1.0, nan=True))
    assert any(
        "output 0 of the closed form is NaN in 1 of" in failure.message for failure in verdict.failures
    )


def test_an_exception_fails():
    def function(*_, **__):
        raise ZeroDivisionError("oh")

    verdict = check(replace(off(1.0), function=function))
    assert [failure.message for failure in verdict.failures] == ["ZeroDivisionError: oh"] * 2


def test_a_failure_names_the_op_the_case_and_the_form():
    failure = Failure("relu", "2x3", "closed form", "first line\nsecond line")
    assert failure.text == "relu, case 2x3, closed form: first line\nsecond line"
    assert failure.summary == "relu, case 2x3, closed form: first line"
    assert replace(failure, form="").text == "relu, case 2x3: first line\nsecond line"


class Scaled(Function):
    """y = x · dx = 1.01·dy, wrong by one percent"""

    def forward(self, x):
        return x.copy()

    def backward(self, dy):
        return 1.01 * dy


def test_a_gradient_that_differs_from_finite_differences_fails():
    op = REGISTRY["layer_norm"]
    wrong = replace(
        off(1.0), function=lambda *args, **options: Scaled.apply(op.composed(*args, **options)), composed=None
    )
    verdict = check(wrong)
    assert verdict.composed_error is None
    assert verdict.worst == verdict.numeric_error == pytest.approx(0.01 / 1.01)
    assert len(verdict.failures) == 2
    for failure in verdict.failures:
        assert failure.form == "closed form"
        assert failure.entry.relative_error == failure.relative_error == pytest.approx(0.01 / 1.01)
        assert failure.text.endswith(failure.entry.text)
        assert failure.summary.endswith(failure.entry.summary)
