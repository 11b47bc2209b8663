"""What floats stand for: short numbers are read, others hardly ever, be they small or large."""

import math
import random
from fractions import Fraction

import pytest

from tinygrad_norm.proof import written
from tinygrad_norm.proof.errors import NotExact
from tinygrad_norm.proof.written import as_fraction, as_written, is_short

WIDER = 10_000
"""Floats are read so many times too generously here, so that a few are read by chance."""


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (0.1, Fraction(1, 10)),
        (1e-5, Fraction(1, 100_000)),
        (1 / 3 * 1e-9, Fraction(1, 3 * 10**9)),
        (1 / 3 + 2**-53, Fraction(1, 3)),
        (1e6 / 3, Fraction(10**6, 3)),
        (1 / 4095, Fraction(1, 4095)),
        (0.1 + 0.2, Fraction(3, 10)),
        (1234.5678, Fraction(12345678, 10000)),
        (2.0**70, Fraction(2**70)),
    ],
)
def test_a_short_number_is_read(value, fraction):
    assert as_written(value) == (1, fraction, False)
    assert as_written(-value) == (-1, fraction, False)


@pytest.mark.parametrize("square", [Fraction(2), Fraction(1, 2), Fraction(6, 5), Fraction(1000, 3)])
def test_a_root_of_a_short_number_is_read(square):
    assert as_written(math.sqrt(square)) == (1, square, True)


@pytest.mark.parametrize("value", [1e9 + 0.123456789, 123456.7891234567, math.pi, 1e6 * math.e])
def test_other_floats_are_not_read(value):
    with pytest.raises(NotExact, match="came in on the way"):
        as_written(value)


def test_a_float_is_read_by_chance_once_in_a_million_at_any_magnitude(monkeypatch):
    monkeypatch.setattr(written, "ULPS", WIDER * written.ULPS)
    rng, of_magnitude = random.Random(0), 400
    read, tried = {}, 0
    for magnitude in range(-12, 12):
        for value in (rng.uniform(1, 10) * 10.0**magnitude for _ in range(of_magnitude)):
            if is_short(value):  # written in full
                continue
            tried += 1
            try:
                as_written.__wrapped__(value)
            except NotExact:
                continue
            read[magnitude] = read.get(magnitude, 0) + 1
    assert sum(read.values()) <= tried * WIDER * 1e-6
    assert 0 < max(read.values(), default=0) <= 12


@pytest.mark.parametrize("value", [0.00100000000000085, 1 / 4096 * (1 + 3e-12), 0.5 * (1 + 1e-13)])
def test_an_entry_next_to_a_fraction_is_not_that_fraction(value):
    assert as_fraction(value) is None


def test_an_entry_that_a_difference_has_rounded_is_a_fraction():
    assert as_fraction(1 - 0.9) == Fraction(1, 10)
    assert as_fraction(0.02941176470588225) == Fraction(1, 34)
