"""Loops of pooling: which of equal entries is taken, where NaN and infinity go, and threads."""

import numpy as np
import pytest
from loop_runs import MODES, needs_numba

import tinygrad_norm as tn
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.nn import functional as F

WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 2), "padding": (1, 1)},
    {"kernel_size": 3, "stride": 4, "padding": 1, "ceil_mode": True},
    {"kernel_size": 1, "stride": 3},
    {"kernel_size": (9, 7)},
]


def few_values(shape, dtype, values):
    return np.random.default_rng(5).choice(np.array(values, dtype), shape)


def forward_and_backward(function, x, mode, **options):
    """All outputs, and the gradient of x."""
    with tn.use_loops(mode):
        input = tn.Tensor(x, requires_grad=True)
        outputs = function(input, **options)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        dy = np.random.default_rng(6).standard_normal(outputs[0].shape).astype(x.dtype)
        outputs[0].backward(tn.Tensor(dy))
        return [*[y.array for y in outputs], input.grad.array]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("values", [[0, 1], [-np.inf, 3], [-np.inf, -2, 5, np.nan], [np.inf, np.nan]])
@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_max_pool_takes_the_same_entries(options, values, dtype, mode):
    x = few_values((2, 3, 9, 7), dtype, values)
    options = {**options, "return_indices": True}
    found = forward_and_backward(F.max_pool2d, x, mode, **options)
    for a, b in zip(found, forward_and_backward(F.max_pool2d, x, "off", **options), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, (4, 3), (9, 7), (2, 10)])
def test_adaptive_max_pool_takes_the_same_entries(size, mode):
    x = few_values((2, 3, 9, 7), "float32", [-np.inf, -2, 5, 5, np.nan])
    options = {"output_size": size, "return_indices": True}
    found = forward_and_backward(F.adaptive_max_pool2d, x, mode, **options)
    for a, b in zip(found, forward_and_backward(F.adaptive_max_pool2d, x, "off", **options), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("function", "options"),
    [
        (F.avg_pool2d, {"kernel_size": 2}),
        (F.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        (F.avg_pool2d, {"kernel_size": 3, "stride": 1, "padding": 1, "divisor_override": 4}),
        (F.adaptive_avg_pool2d, {"output_size": (4, 3)}),
    ],
)
def test_means_where_x_is_not_finite(function, options, mode):
    x = np.random.default_rng(7).standard_normal((2, 3, 9, 7)).astype("float32")
    x[0, 0, 4, 4], x[0, 1, 0, 0], x[1, 2, 8, 6] = np.nan, np.inf, -np.inf
    found = forward_and_backward(function, x, mode, **options)
    for a, b in zip(found, forward_and_backward(function, x, "off", **options), strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6, strict=True)


@needs_numba
def test_a_mean_of_large_numbers_does_not_overflow():
    x = np.full((1, 1, 4, 4), 3e38, "float32")
    for function, options in (
        (F.avg_pool2d, {"kernel_size": 2}),
        (F.adaptive_avg_pool2d, {"output_size": 1}),
    ):
        y, _ = forward_and_backward(function, x, "compiled", **options)
        np.testing.assert_array_equal(y, np.float32(3e38))


@needs_numba
def test_a_mean_over_many_positions_keeps_its_digits():
    x = np.random.default_rng(8).uniform(1, 2, (1, 1, 1000, 1000)).astype("float32")
    y, _ = forward_and_backward(F.avg_pool2d, x, "compiled", kernel_size=1000)
    np.testing.assert_allclose(y.item(), x.mean(dtype=np.float64), 1e-7)


@needs_numba
@pytest.mark.parametrize("function", [F.max_pool2d, F.avg_pool2d])
def test_pools_are_the_same_for_any_number_of_threads(function):
    x = few_values((8, 17, 64, 64), "float32", np.arange(40) / 7)
    assert x.size >= blocks.MANY
    expected = forward_and_backward(function, x, "compiled", kernel_size=3, stride=2)
    with blocks.settings(threads=3):
        found = forward_and_backward(function, x, "compiled", kernel_size=3, stride=2)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
