"""The values of a tensor in a few short lines, as drawings show them."""

import hypothesis
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinygrad_norm.learn.array_summary import summarize


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (numpy.float32(0.5), ["0.500"]),
        (numpy.float32([[1, -2], [30, 0]]), [" 1.00  -2.00", "30.00      0"]),
        (numpy.float64([1e-9, 2.0]), ["1e-09  2.000"]),
        (numpy.float64([1e-9, -2e-9]), ["1.00e-09  -2.00e-09"]),
        (numpy.float64([123456.0]), ["1.23e+05"]),
        (numpy.float32([numpy.nan, numpy.inf, 1.0]), ["nan  inf  1.000"]),
        (numpy.array([True, False]), ["True  False"]),
        (numpy.array([1, -20]), ["1  -20"]),
        (numpy.zeros((0, 3)), ["empty"]),
        (numpy.zeros((8, 8)), ["0 everywhere"]),
        (numpy.arange(100), ["0 … 99"]),
        (numpy.arange(100) < 30, ["30 of 100 True"]),
        (numpy.array([-1.0, 1.0] * 10), ["0 ± 1.000  -1.000 … 1.000"]),
        (
            numpy.array([1.0, 3.0] * 10 + [numpy.nan] * 3 + [numpy.inf]),
            ["2.000 ± 1.000  1.000 … 3.000  3 NaN  1 inf"],
        ),
        (numpy.full(30, numpy.nan), ["30 NaN"]),
        (numpy.array([5.0] * 29 + [numpy.nan]), ["5.000 elsewhere  1 NaN"]),
        (numpy.array([1e308, -1e308] * 10), ["0 ± 1.00e+308  -1.00e+308 … 1.00e+308"]),
    ],
)
def test_a_summary_reads_well(values, lines):
    assert summarize(numpy.asarray(values)) == lines


def test_a_mean_that_only_rounding_keeps_from_zero_is_zero():
    x = numpy.random.default_rng(0).normal(size=(16, 16))
    x -= x.mean()
    assert x.mean() != 0
    assert summarize(x)[0].startswith("0 ± ")


@given(
    arrays.arrays(
        st.sampled_from([numpy.float16, numpy.float32, numpy.float64]), arrays.array_shapes(max_side=7)
    )
)
@hypothesis.example(numpy.full((2, 3, 1), numpy.inf, numpy.float16))
def test_a_summary_is_short_and_shows_no_nonzero_value_as_zero(x):
    lines = summarize(x)
    assert len(lines) <= 4
    assert max(map(len, lines)) <= 72
    told = "±" in lines[0] or "where" in lines[0] or not numpy.isfinite(x).any()
    if not told and x.size <= 20 and x.shape[-1] <= 5:
        shown = [cell for line in lines for cell in line.split()]
        assert [cell == "0" for cell in shown] == list((x == 0).ravel())
