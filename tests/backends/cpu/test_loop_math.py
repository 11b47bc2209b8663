"""The functions for loops against those of NumPy in a wider type, on a dense grid with all extremes."""

import math
from typing import Any

import numpy
import pytest
from loop_runs import MODES

from tinygrad_norm.backends.cpu.loop_helpers import helper
from tinygrad_norm.backends.cpu.loop_math import (
    erf,
    exp,
    exp_of_negative,
    expm1,
    larger,
    log,
    log1p,
    sigmoid,
    softplus,
    tanh,
)
from tinygrad_norm.backends.cpu.loop_mode import use_loops
from tinygrad_norm.backends.cpu.loops import Loop

TYPES = (numpy.float32, numpy.float64)


def all_functions(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[0, i] = exp(x[i])
        y[1, i] = expm1(x[i])
        y[2, i] = log(x[i])
        y[3, i] = log1p(x[i])
        y[4, i] = tanh(x[i])
        y[5, i] = sigmoid(x[i])
        y[6, i] = softplus(x[i])
        y[7, i] = erf(x[i])


def exact(x: Any) -> Any:
    """Return the same in the widest type there is."""
    with numpy.errstate(all="ignore"):
        x = x.astype(numpy.longdouble)
        e = numpy.exp(-abs(x))
        return numpy.stack(
            [
                numpy.exp(x),
                numpy.expm1(x),
                numpy.log(x),
                numpy.log1p(x),
                numpy.tanh(x),
                numpy.where(x < 0, e, 1) / (1 + e),
                numpy.maximum(x, 0) + numpy.log1p(e),
                numpy.vectorize(math.erf)(x),
            ]
        )


def grid(dtype: Any, n: int) -> Any:
    """Numbers of every magnitude, most of them between 1/100 and the logarithm of the largest."""
    info, random = numpy.finfo(dtype), numpy.random.default_rng(0)
    spread = random.uniform(math.log2(info.smallest_subnormal), math.log2(info.max), n)
    near = random.uniform(-7, math.log2(math.log(info.max)) + 0.2, 9 * n)
    magnitudes = (2 ** numpy.concatenate([spread, near])).astype(dtype)
    extremes = [0.0, math.inf, math.nan, info.max, info.tiny, info.smallest_subnormal, 1.0, math.sqrt(0.5)]
    values = numpy.concatenate([magnitudes, numpy.array(extremes, dtype)])
    return numpy.concatenate([values, -values])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("mode", "n"), [("compiled", 20_000), ("python", 20)])
def test_all_functions_are_correct_to_the_last_digit(mode: str, n: int, dtype: Any) -> None:
    if mode == "compiled":
        pytest.importorskip("numba")
    x = grid(dtype, n)
    found = numpy.empty((8, x.size), dtype)
    with use_loops(mode):
        Loop(all_functions)(x, found)
    want = exact(x)
    with numpy.errstate(all="ignore"):
        rounded = want.astype(dtype)
        ulps = abs(found - want) / numpy.spacing(abs(rounded))
    same = (found == rounded) | (numpy.isnan(found) & numpy.isnan(rounded))
    same |= (
        (found == 0) & (rounded < 2 * numpy.finfo(dtype).tiny) & numpy.isin(numpy.arange(8), (5, 6))[:, None]
    )
    wide = numpy.finfo(numpy.longdouble).eps < numpy.finfo(dtype).eps
    worst = numpy.where(same, 0, ulps).max(1)
    assert (worst < (2.5 if wide else 3.5)).all(), worst
    zeros = x == 0
    assert (numpy.signbit(found[[1, 3, 4, 7]][:, zeros]) == numpy.signbit(x[zeros])).all()


def test_the_type_of_the_number_chooses_the_version_in_plain_python() -> None:
    assert exp(numpy.float32(1)).dtype == numpy.float32
    assert exp(numpy.float64(1)).dtype == numpy.float64
    assert exp(1.0) == pytest.approx(math.e, rel=1e-15)


def maxima(x: Any, y: Any) -> None:
    for n in range(len(x)):
        m = x[n, 0]
        for i in range(1, x.shape[1]):
            m = larger(m, x[n, i])
        y[n] = m


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["compiled", "python"])
def test_larger_finds_the_maximum_of_a_row_and_every_nan(mode: str, dtype: Any) -> None:
    if mode == "compiled":
        pytest.importorskip("numba")
    x = numpy.random.default_rng(0).normal(size=(80, 75)).astype(dtype)
    x[range(75), range(75)] = numpy.nan
    x[:40] *= -1  # the other NaN
    x[75], x[76, 3], x[77, :70] = -numpy.inf, numpy.inf, -numpy.inf
    y = numpy.empty(80, dtype)
    with use_loops(mode):
        Loop(maxima)(x, y)
    numpy.testing.assert_array_equal(y, x.max(1))


def exponentials(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = exp_of_negative(x[i])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["compiled", "python"])
def test_exp_of_negative_is_exp_without_subnormal_numbers(mode: str, dtype: Any) -> None:
    if mode == "compiled":
        pytest.importorskip("numba")
    x = -abs(grid(dtype, 20_000 if mode == "compiled" else 20))
    y = numpy.empty_like(x)
    with use_loops(mode):
        Loop(exponentials)(x, y)
    with numpy.errstate(all="ignore"):
        want = numpy.exp(x.astype(numpy.longdouble))
    normal = ~(want < 1.1 * numpy.finfo(dtype).tiny)
    assert numpy.isnan(y[numpy.isnan(x)]).all()
    assert (y[x == 0] == 1).all()
    assert (y[~normal] <= 1.1 * numpy.finfo(dtype).tiny).all()
    assert (y[x < -800] == 0).all()
    numpy.testing.assert_allclose(y[normal], want[normal].astype(dtype), rtol=1.5 * numpy.finfo(dtype).eps)


TENTH = 0.1


@helper
def scaled(x: Any) -> Any:
    return x * TENTH * 1.1


def all_scaled(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = scaled(x[i])


@pytest.mark.parametrize("mode", MODES)
def test_floats_in_a_helper_take_the_precision_of_its_argument(mode: str) -> None:
    with use_loops(mode):
        for dtype in TYPES:
            x, y = numpy.arange(100).astype(dtype), numpy.empty(100, dtype)
            Loop(all_scaled)(x, y)
            numpy.testing.assert_array_equal(y, x * dtype(0.1) * dtype(1.1))
    x, exact = numpy.arange(100).astype(numpy.float32), (numpy.arange(100) * 0.1 * 1.1).astype(numpy.float32)
    assert (x * numpy.float32(0.1) * numpy.float32(1.1) != exact).any()
