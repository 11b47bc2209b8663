"""erfc: the digits of the small tail, and the gradient there."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn

X = np.concatenate([np.linspace(-7, 27.5, 2001), [0.0, -0.0, 1e-300, 300.0]])


@pytest.mark.parametrize(("dtype", "units"), [("float64", 8), ("float32", 1), ("float16", 1)])
def test_erfc_is_accurate_where_it_is_small(dtype, units):
    x = X.astype(dtype)
    found = tn.tensor(x).erfc()
    assert found.dtype == dtype
    exact = np.array([math.erfc(value) for value in x.astype(float)])
    smallest = np.finfo(dtype).tiny
    np.testing.assert_allclose(found.numpy(), exact, rtol=units * np.finfo(dtype).eps, atol=smallest)


def test_infinity_nan_and_integers():
    np.testing.assert_array_equal(tn.tensor([math.inf, -math.inf, math.nan]).erfc().numpy(), [0, 2, math.nan])
    assert tn.erfc(tn.tensor([0, 100])).tolist() == [1, 0]


def test_its_gradient_is_that_of_pytorch(torch):
    gradients = []
    for m in (tn, torch):
        x = m.tensor(X, requires_grad=True)
        m.erfc(x).backward(m.tensor(np.linspace(1, 2, len(X))))
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-13, atol=1e-300)
