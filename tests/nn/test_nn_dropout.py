"""Dropout: which entries are kept, how often, and when."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F


def test_entries_are_zeroed_or_scaled_and_the_gradient_the_same():
    x = Tensor(np.full((40, 50), 3.0), requires_grad=True)
    y = F.dropout(x, 0.25)
    assert set(np.unique(y.array)) == {0.0, 4.0}
    dx = grad(y, x, np.full((40, 50), 6.0))[0].array
    np.testing.assert_array_equal(dx, y.array * 2)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_p_is_the_probability_of_zero_and_the_mean_stays(p):
    y = F.dropout(Tensor(np.ones((300, 1000), np.float32)), p).array
    assert y.dtype == np.float32
    assert abs((y == 0).mean() - p) < 0.005
    assert abs(y.mean() - 1) < 0.02


def test_evaluation_and_p_0_return_the_input_itself():
    x = Tensor(np.ones(5))
    layer = nn.Dropout(0.7)
    assert F.dropout(x, 0.7, training=False) is x
    assert layer.eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    assert layer.train()(x) is not x


def test_p_1_zeroes_everything_and_its_gradient():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = F.dropout(x, 1.0)
    assert not y.array.any()
    assert not grad(y, x, np.ones(2))[0].array.any()


def test_the_seed_decides_and_calls_differ():
    x = Tensor(np.ones(200))
    tn.manual_seed(7)
    first, second = F.dropout(x).array, F.dropout(x).array
    tn.manual_seed(7)
    assert np.array_equal(F.dropout(x).array, first)
    assert not np.array_equal(first, second)


def test_half_precision():
    y = F.dropout(Tensor(np.ones(100, np.float16)), 0.5)
    assert y.dtype == np.float16
    assert set(np.unique(y.array)) == {0.0, 2.0}


def test_repr():
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3)"
