"""//, % and fmod: values, signs, dtypes, gradients and errors are those of PyTorch."""

import operator

import numpy as np
import pytest

import tinygrad_norm as tn

A = np.array([7.5, -7.5, 7.5, -7.5, 0.0, -0.0, 6.0, np.inf, np.nan])
B = np.array([2.0, 2.0, -2.0, -2.0, 3.0, 3.0, -3.0, 2.0, 1.0])
CALLS = {
    "//": lambda m, a, b: a // b,
    "%": lambda m, a, b: a % b,
    "fmod": lambda m, a, b: m.fmod(a, b),
    "// by a number": lambda m, a, b: a // -2,
    "% by a number": lambda m, a, b: a % -2,
    "fmod by a number": lambda m, a, b: a.fmod(-2),
    "a number //": lambda m, a, b: 7 // b,
    "a number %": lambda m, a, b: 7 % b,
    "floor_divide": lambda m, a, b: m.floor_divide(a, b),
    "remainder": lambda m, a, b: a.remainder(b),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32"])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_dtypes_are_those_of_pytorch(name, dtype, torch):
    finite = slice(None) if dtype.startswith("float") else slice(7)
    a, b = A[finite].astype(dtype), B[finite].astype(dtype)
    mine, other = (CALLS[name](m, m.tensor(a), m.tensor(b)).numpy() for m in (tn, torch))
    assert mine.dtype == other.dtype
    np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", ["%", "remainder", "fmod", "% by a number", "fmod by a number"])
def test_gradients_are_those_of_pytorch(name, torch):
    found = []
    for m in (tn, torch):
        a, b = (m.tensor(array[:4], requires_grad=True) for array in (A, B))
        y = CALLS[name](m, a, b)
        if y.requires_grad:
            y.backward(m.tensor(np.array([1.0, -2.0, 0.5, 3.0])))
        found.append([np.zeros(4) if t.grad is None else t.grad.numpy() for t in (a, b)])
    np.testing.assert_allclose(*found)


def test_the_gradient_of_a_quotient_rounded_down_is_0():
    x = tn.tensor([7.5, -7.5], requires_grad=True)
    (x // 2 + x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_the_gradient_of_a_number_modulo_a_tensor():
    for number in (7, 7.0):
        b = tn.tensor([2.0, -2.0], requires_grad=True)
        (number % b).backward(tn.tensor([1.0, 10.0]))
        assert b.grad.tolist() == [-3, 40]


@pytest.mark.parametrize("call", [operator.mod, operator.floordiv, lambda a, b: a.fmod(b)])
def test_errors(call, torch):
    for m in (tn, torch):
        for divisor in (0, m.tensor([1, 0])):
            with pytest.raises((ZeroDivisionError, RuntimeError), match=r"by 0|ZeroDivisionError"):
                call(m.tensor([3, 4]), divisor)
        with pytest.raises(TypeError):
            call(m.tensor([3.0]), "2")
    assert np.isnan(call(tn.tensor([3.0]), 0).item()) or call is operator.floordiv


def test_bools_have_no_remainder(torch):
    for m in (tn, torch):
        with pytest.raises((TypeError, RuntimeError), match=r"not for bools|not implemented for 'Bool'"):
            m.tensor([True]) % m.tensor([True])


def test_an_operand_of_another_class_answers():
    class Mine:
        def __rmod__(self, other):
            return "mod"

        def __rfloordiv__(self, other):
            return "floordiv"

    assert (tn.ones(2) % Mine(), tn.ones(2) // Mine()) == ("mod", "floordiv")
