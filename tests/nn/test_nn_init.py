"""Initializers: distributions, bounds, and exact properties."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.nn import init


def empty(*shape, dtype=np.float32):
    return Tensor(np.full(shape, np.nan, dtype))


def test_fill_in_place_and_return_the_tensor_itself():
    for fill, value in (
        (lambda t: init.constant_(t, 2.5), 2.5),
        (init.ones_, 1.0),
        (init.zeros_, 0.0),
    ):
        tensor = empty(2, 3)
        array = tensor.array
        assert fill(tensor) is tensor
        assert tensor.array is array
        assert (array == value).all()


def test_eye():
    np.testing.assert_array_equal(init.eye_(empty(2, 3)).array, np.eye(2, 3))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 8, 4, 3), (6, 3, 1, 2, 5)], ids=str)
def test_dirac_is_pytorchs(shape, groups, torch):
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(init.dirac_(empty(*shape), groups).array, expected)


def test_a_dirac_convolution_changes_nothing():
    layer, x = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), tn.randn(1, 4, 5, 5)
    init.dirac_(layer.weight, 2)
    np.testing.assert_array_equal(layer(x).array, x.array)


def test_sparse_zeros_the_same_number_in_every_column():
    x = init.sparse_(empty(25, 400), 0.33, std=2.0).array
    np.testing.assert_array_equal((x == 0).sum(0), 9)
    np.testing.assert_allclose((x == 0).mean(1), 9 / 25, atol=0.1)
    np.testing.assert_allclose(x[x != 0].std(), 2.0, rtol=0.03)
    assert init.sparse_(empty(3, 2), 0.0).array.all()
    assert not init.sparse_(empty(3, 2), 1.0).array.any()


UNIFORM = {
    "uniform_": (lambda t: init.uniform_(t, -2.0, 1.0), (-2.0, 1.0)),
    "xavier_uniform_": (lambda t: init.xavier_uniform_(t, gain=2.0), 2 * math.sqrt(6 / (400 + 200))),
    "kaiming_uniform_": (lambda t: init.kaiming_uniform_(t), math.sqrt(6 / 400)),
    "kaiming_uniform_ fan_out": (
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="linear"),
        math.sqrt(3 / 200),
    ),
}
NORMAL = {
    "normal_": (lambda t: init.normal_(t, 3.0, 0.5), (3.0, 0.5)),
    "xavier_normal_": (lambda t: init.xavier_normal_(t), math.sqrt(2 / (400 + 200))),
    "kaiming_normal_": (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), math.sqrt(2 / 400)),
    "kaiming_normal_ slope": (lambda t: init.kaiming_normal_(t, a=1.0), math.sqrt(1 / 400)),
}


@pytest.mark.parametrize(("fill", "bounds"), UNIFORM.values(), ids=UNIFORM.keys())
def test_uniform(fill, bounds):
    low, high = bounds if isinstance(bounds, tuple) else (-bounds, bounds)
    x = fill(empty(50, 100, 4)).array
    assert x.dtype == np.float32
    width = high - low
    assert low <= x.min() < low + 0.001 * width
    assert high - 0.001 * width < x.max() <= high
    np.testing.assert_allclose(x.std(), width / math.sqrt(12), rtol=0.02)


@pytest.mark.parametrize(("fill", "moments"), NORMAL.values(), ids=NORMAL.keys())
def test_normal(fill, moments):
    mean, std = moments if isinstance(moments, tuple) else (0.0, moments)
    x = fill(empty(50, 100, 4)).array
    np.testing.assert_allclose(x.std(), std, rtol=0.02)
    assert abs(x.mean() - mean) < 0.02 * std
    assert abs(x - mean).max() > 3.5 * std


def test_truncated_normal():
    x = init.trunc_normal_(empty(300, 300), mean=1.0, std=2.0, a=-1.0, b=3.5).array
    assert x.min() >= -1
    assert x.max() <= 3.5
    assert -1 < x.min() < -0.99
    inside = np.random.default_rng(5).normal(1, 2, 10**6)
    inside = inside[(inside >= -1) & (inside <= 3.5)]
    np.testing.assert_allclose([x.mean(), x.std()], [inside.mean(), inside.std()], rtol=0.02)
    with pytest.raises(ValueError, match="widen the interval"):
        init.trunc_normal_(empty(2), std=0.01, a=1.0, b=2.0)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)], ids=str)
def test_orthogonal(shape):
    matrix = init.orthogonal_(empty(*shape, dtype=np.float64), gain=3.0).array.reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 9 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_has_no_preferred_sign():
    diagonal = [init.orthogonal_(empty(2, 2)).array[0, 0] for _ in range(200)]
    assert 60 < sum(d > 0 for d in diagonal) < 140


def test_gains_are_pytorchs(torch):
    for name in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3)
    )


def test_a_generator_of_ones_own():
    first, second = (init.normal_(empty(5), generator=np.random.default_rng(1)).array for _ in range(2))
    assert np.array_equal(first, second)
    tn.manual_seed(1)
    assert np.array_equal(init.normal_(empty(5)).array, first)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: init.calculate_gain("swish"), "unknown nonlinearity 'swish'"),
        (lambda: init.kaiming_uniform_(empty(3)), "fan_in and fan_out"),
        (lambda: init.kaiming_normal_(empty(3, 3), mode="fan"), "'fan_in' or 'fan_out'"),
        (lambda: init.xavier_normal_(empty(3)), "fan_in and fan_out"),
        (lambda: init.orthogonal_(empty(3)), "2 axes"),
        (lambda: init.eye_(empty(3)), "matrix"),
        (lambda: init.dirac_(empty(3, 3)), "weight"),
        (lambda: init.dirac_(empty(3, 3, 3), 2), "divide the 3 output channels"),
        (lambda: init.sparse_(empty(3), 0.5), "matrix"),
        (lambda: init.sparse_(empty(3, 3), 1.5), "between 0 and 1"),
    ],
)
def test_bad_calls_raise(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_parameter_stays_trainable():
    layer = nn.Linear(3, 2)
    init.xavier_uniform_(layer.weight)
    layer(Tensor(np.ones((1, 3), np.float32))).sum().backward()
    assert layer.weight.grad is not None
