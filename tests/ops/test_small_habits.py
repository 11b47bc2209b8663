"""Corners where PyTorch's rule is not the one NumPy has: dtypes, empty arguments, vectors of no axes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

torch = pytest.importorskip("torch")
F = nn.functional

SAME = {
    "linspace from a tensor": lambda m: m.linspace(m.tensor(0.1), 1, 3, dtype=m.float64),
    "linspace to a tensor": lambda m: m.linspace(0, m.tensor(0.3), 4, dtype=m.float64),
    "arange down to an integer": lambda m: m.arange(0.0, -8.000001, -4.0, dtype=m.int64),
    "arange further down": lambda m: m.arange(0.0, -8.5, -4.0, dtype=m.int64),
    "arange with a fraction at the end": lambda m: m.arange(0.0, 2.5, dtype=m.int64),
    "arange with a fraction everywhere": lambda m: m.arange(0.5, 3.6, 1.5, dtype=m.int64),
    "arange of floats": lambda m: m.arange(0.5, 3.6, 1.5),
    "arange of tensors": lambda m: m.arange(m.tensor(0), m.tensor(5), m.tensor(2)),
    "square of bools": lambda m: m.square(m.tensor([True, False])),
    "square of ints": lambda m: m.square(m.tensor([2, -3])),
    "masked_fill of bools, 0": lambda m: m.tensor([True, False]).masked_fill(m.tensor([True, False]), 0),
    "masked_fill of bools, 2": lambda m: m.tensor([True, False]).masked_fill(m.tensor([False, True]), 2),
    "masked_fill of bools, True": lambda m: m.tensor([False]).masked_fill(m.tensor([True]), True),
    "masked_fill of ints, True": lambda m: m.tensor([3, 4]).masked_fill(m.tensor([True, False]), True),
    "add of numbers": lambda m: m.add(2.0, 3.0),
    "sub of numbers": lambda m: m.sub(2.0, 3),
    "mul of ints": lambda m: m.mul(2, 3),
    "roll along no axes": lambda m: m.roll(m.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, ()),
    "flip along no axes": lambda m: m.flip(m.tensor([1.0, 2.0]), ()),
    "cosine of numbers": lambda m: m.nn.functional.cosine_similarity(m.tensor(-3.0), m.tensor(2.0), dim=0),
    "cosine of 0": lambda m: m.nn.functional.cosine_similarity(m.tensor(0.0), m.tensor(2.0), dim=-1),
}


@pytest.mark.parametrize("name", SAME)
def test_values_and_dtypes_are_those_of_pytorch(name):
    found, expected = SAME[name](tn).numpy(), SAME[name](torch).numpy()
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, 1e-6 if found.dtype == np.float32 else 1e-15)


def nothing_to_differentiate(m):
    y = m.tensor([1.0], requires_grad=True) * 2
    return (m.grad if m is tn else m.autograd.grad)(y, [])


REFUSED = {
    "flip": (lambda m: m.tensor([1.0]).flip(), TypeError),
    "reshape": (lambda m: m.tensor([1.0]).reshape(), TypeError),
    "view": (lambda m: m.tensor([1.0]).view(), TypeError),
    "tile": (lambda m: m.tensor([1.0]).tile(), TypeError),
    "repeat": (lambda m: m.tensor(1.0).repeat(), TypeError),
    "permute": (lambda m: m.tensor(1.0).permute(), TypeError),
    "expand": (lambda m: m.tensor(1.0).expand(), TypeError),
    "roll by nothing": (lambda m: m.roll(m.tensor([1.0]), (), ()), ValueError),
    "arange in steps of less than 1": (lambda m: m.arange(0, 1, 0.3, dtype=m.int64), ValueError),
    "grad of nothing": (nothing_to_differentiate, RuntimeError),
    "gain of a list": (lambda m: m.nn.init.calculate_gain("leaky_relu", [1]), ValueError),
    "gain of a text": (lambda m: m.nn.init.calculate_gain("leaky_relu", "1"), ValueError),
    "gain of True": (lambda m: m.nn.init.calculate_gain("leaky_relu", True), ValueError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses_is_refused(name):
    call, error = REFUSED[name]
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        call(torch)
    with pytest.raises(error):
        call(tn)


def test_the_gradient_of_the_cosine_of_numbers_is_0():
    x = tn.tensor(-3.0, requires_grad=True)
    F.cosine_similarity(x, tn.tensor(2.0), dim=0).backward()
    assert (x.grad.shape, x.grad.item()) == ((), 0.0)
