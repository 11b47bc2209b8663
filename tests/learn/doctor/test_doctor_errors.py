"""What cannot be diagnosed: one clear error, whatever the code that is examined raises, and when."""

import itertools
import re

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.learn import diagnose


def square(x):
    return x * x


def square_backward(dy, x):
    return 2 * x * dy


def failing_later(error):
    """A forward that raises at its second call."""
    calls = itertools.count()

    def forward(x):
        if next(calls):
            raise error
        return x * x

    return forward


class FailingLater(nn.Module):
    """y = w·x, once · dx = w·dy"""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(np.array([2.0, 3.0]))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise KeyError("lost")
        return self.w * x


X = np.array([[1.0, 2.0], [3.0, 4.5]])


@pytest.mark.parametrize("error", [KeyError("lost"), TimeoutError("slow")], ids=["key", "timeout"])
def test_a_forward_that_raises_at_a_later_call(error):
    told = rf"^the forward of forward, called with x \(2, 2\), raised {type(error).__name__}: {error}"
    with pytest.raises(ValueError, match=told):
        diagnose((failing_later(error), square_backward), X)
    with pytest.raises(ValueError, match=told):
        diagnose(failing_later(error), X)


def test_a_module_that_raises_at_a_later_call():
    with pytest.raises(
        ValueError, match=r"^the forward of FailingLater, called with x \(2, 2\), raised KeyError"
    ):
        diagnose(FailingLater(), X)


def test_a_forward_and_a_backward_that_raise_timeout_error():
    def late(*arrays):
        raise TimeoutError("the server is slow")

    with pytest.raises(
        ValueError, match=r"forward of late, called with .* raised TimeoutError: the server is slow"
    ):
        diagnose((late, square_backward), (X,))
    found = diagnose((square, late), X)
    assert found.failed
    assert re.search("late.* raised TimeoutError: the server is slow", str(found))


@pytest.mark.parametrize("inputs", [2.0, 3, True, "x"], ids=["float", "int", "bool", "str"])
def test_inputs_that_are_not_arguments(inputs):
    with pytest.raises(TypeError, match=rf"^inputs are forward's arguments: .* got {inputs!r}$"):
        diagnose((square, square_backward), inputs)


def test_a_forward_without_arguments():
    def nothing():
        return np.ones(2)

    for function in (nothing, (nothing, square_backward)):
        with pytest.raises(ValueError, match=r"^the forward of nothing names no arguments"):
            diagnose(function)
        with pytest.raises(ValueError, match=r"^no input of nothing can be checked"):
            diagnose(function, ())


def test_a_forward_of_any_number_of_arguments_needs_inputs():
    def added(*arrays):
        return sum(arrays)

    with pytest.raises(
        ValueError, match=r"^the forward of added names no arguments: name them, or pass inputs"
    ):
        diagnose((added, lambda dy, *arrays: (dy,) * len(arrays)))
    assert diagnose((added, lambda dy, *arrays: (dy,) * len(arrays)), (X, X)).passed


@pytest.mark.parametrize(
    "inputs",
    [np.arange(3), (np.arange(3), 2.0), (2.0,), (), (Tensor(np.arange(3)),)],
    ids=["array", "number too", "number", "none", "tensor"],
)
def test_inputs_without_a_floating_point_array(inputs):
    with pytest.raises(ValueError, match=r"^no input of <lambda> can be checked: pass at least one array"):
        diagnose((lambda x=1.0, factor=1.0: x * x, square_backward), inputs)


def test_inputs_that_are_not_finite():
    with pytest.raises(ValueError, match=r"^x is nan at \(0, 1\): choose finite inputs"):
        diagnose((square, square_backward), np.array([[1.0, np.nan]]))
