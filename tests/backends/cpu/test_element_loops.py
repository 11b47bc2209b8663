"""Loops over elements: any layout, any number of threads, and what they leave to the body."""

import math

import numpy
import pytest
from loop_runs import MODES, needs_numba

import tinygrad_norm as tn
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.element_loops import CurveLoop, ElementLoop
from tinygrad_norm.backends.cpu.loop_helpers import helper
from tinygrad_norm.nn.functional import celu, elu, gelu, hardsigmoid, hardswish, selu, silu


@helper
def scaled_square(x, scale):
    return scale * x * x, 2.0 * scale * x


@helper
def scaled_product(dy, x, scale):
    return scale * dy * x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_formula_runs_over_all_elements(mode, dtype):
    x = numpy.arange(6, dtype=dtype).reshape(2, 3)
    read_only = x.copy()
    read_only.flags.writeable = False
    with tn.use_loops(mode):
        for given in (x, x.T, x[::-1, ::2], x[0, 1], read_only):
            y, slope = CurveLoop(scaled_square)(numpy.asarray(given), 3.0)
            assert y.dtype == slope.dtype == dtype
            assert y.shape == given.shape
            numpy.testing.assert_array_equal(y, 3 * given**2)
            numpy.testing.assert_array_equal(slope, 6 * given)
            (alone,) = CurveLoop(scaled_square)(numpy.asarray(given), 3.0, slope=False)
            numpy.testing.assert_array_equal(alone, y)
            product = ElementLoop(scaled_product, arrays=2)(
                numpy.asarray(given + 1), numpy.asarray(given), 2.0
            )
            numpy.testing.assert_array_equal(product, 2 * (given + 1) * given)


def test_other_arrays_are_left_to_the_body():
    loop = ElementLoop(scaled_product, arrays=2)
    x = numpy.ones((2, 3))
    for dy in (numpy.ones((2, 3), numpy.float32), numpy.ones(3), 1.0):
        assert loop(x, dy, 2.0) is NotImplemented
    for dtype in (numpy.float16, numpy.longdouble, int):
        assert CurveLoop(scaled_square)(x.astype(dtype), 1.0) is NotImplemented
    assert CurveLoop(scaled_square)(x[:0], 1.0) is NotImplemented


@needs_numba
def test_threads_do_not_change_results():
    x = numpy.random.default_rng(0).normal(size=(3, 250_001)).astype(numpy.float32)
    with tn.use_loops("compiled"):
        found = []
        for threads in (1, 2):
            with blocks.settings(threads=threads):
                t = tn.Tensor(x, requires_grad=True)
                y = gelu(t)
                (y * y).sum().backward()
            found.append((y.numpy(), t.grad.numpy()))
        for alone, together in zip(*found, strict=True):
            numpy.testing.assert_array_equal(together, alone)


@needs_numba
def test_half_types_are_computed_in_float32():
    x = numpy.linspace(-4, 4, 50).astype(numpy.float16)
    with tn.use_loops("compiled"):
        t = tn.Tensor(x, requires_grad=True)
        y = silu(t)
        y.sum().backward()
    wide = x.astype(float)
    numpy.testing.assert_array_equal(y.numpy(), (wide / (1 + numpy.exp(-wide))).astype(numpy.float16))
    assert t.grad.numpy().dtype == numpy.float16


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dtype", "digits"), [("float32", 1e-5), ("float64", 5e-14)])
def test_the_left_tail_of_gelu_keeps_its_digits(mode, dtype, digits):
    x = numpy.linspace(-12, 0, 60).astype(dtype)
    with tn.use_loops(mode):
        y = gelu(tn.Tensor(x)).numpy()
    # Rounding of x²/2 moves exp(-x²/2) by up to 72 units in the last place, in the reference too.
    right = [z * 0.5 * math.erfc(-z * math.sqrt(0.5)) for z in x.astype(float)]
    numpy.testing.assert_allclose(y, right, rtol=digits, atol=1e-37)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_sums_by_loops(mode, dtype):
    random, tolerance = numpy.random.default_rng(0), 1e-6 if dtype == "float32" else 1e-14
    x, weights = random.normal(size=(2, 3, 5, 40)).astype(dtype)
    x[0, 0, 7], x[1, 1, 30], weights[2, 2, 20] = math.inf, math.nan, -math.inf
    for given in (x, x[:, ::-1], x[..., ::-1]):
        with tn.use_loops(mode):
            t = tn.Tensor(given, requires_grad=True)
            y = t.cumsum(-1)
            (y * tn.Tensor(weights)).sum().backward()
        right = given.astype(float).cumsum(2), weights.astype(float)[..., ::-1].cumsum(2)[..., ::-1]
        for found, expected in zip((y.numpy(), t.grad.numpy()), right, strict=True):
            numpy.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)


@needs_numba
def test_a_long_row_keeps_its_digits():
    x = numpy.full((1, 3_000_000), 0.1, numpy.float32)
    with tn.use_loops("compiled"):
        y = tn.Tensor(x).cumsum(1).numpy()
    numpy.testing.assert_allclose(y[0, -1], 3e6 * numpy.float64(x[0, 0]), rtol=1e-7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [elu, celu, selu])
def test_the_slope_of_an_exponential_keeps_its_digits(function, dtype, mode):
    x = numpy.linspace(-80, 0, 60).astype(dtype)
    slopes = {}
    for which in ("off", mode):
        with tn.use_loops(which):
            t = tn.tensor(x, requires_grad=True)
            function(t).sum().backward()
            slopes[which] = t.grad.numpy()
    numpy.testing.assert_allclose(slopes[mode], slopes["off"], rtol=8 * numpy.finfo(dtype).eps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [hardsigmoid, hardswish])
def test_a_hard_gate_is_exact_at_its_knots(function, dtype, mode):
    with tn.use_loops(mode):
        x = tn.tensor(numpy.array([-3, 0, 3], dtype), requires_grad=True)
        y = function(x)
        y.sum().backward()
    if function is hardsigmoid:
        assert y.tolist() == [0, 0.5, 1]
    else:
        assert y.tolist() == [0, 0, 3]
        assert x.grad.tolist() == [0, 0.5, 1]
