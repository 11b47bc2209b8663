"""Numbers of many digits: their functions, the floats that they are given, and arrays of them."""

import math
import sys

import numpy as np
import pytest

from tinygrad_norm.proof.errors import NotExact
from tinygrad_norm.proof.numberarray import numbers

pytest.importorskip("mpmath")

from tinygrad_norm.proof.constants import constant
from tinygrad_norm.proof.reals import Real, exact, mp, precise, written

FUNCTIONS = """
    exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan arcsin arccos arctan sinh cosh tanh
    arcsinh arctanh
""".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def fifty_digits():
    with precise(50):
        yield


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_numpy_to_all_digits(name):
    x = np.array([0.3, 0.7])
    y = getattr(np, name)(numbers([exact(a) for a in x]))
    assert np.allclose([a.v for a in y], getattr(np, name)(x), rtol=1e-14)
    with precise(70):
        more = getattr(np, name)(numbers([exact(a) for a in x]))
    assert all(abs(a.x - b.x) < mp.mpf(10) ** -48 for a, b in zip(y, more, strict=True))


def test_functions_of_two_numbers():
    a, b = (numbers([exact(x)]) for x in (0.5, -1.25))
    assert np.logaddexp(a, b)[0].v == pytest.approx(np.logaddexp(0.5, -1.25))
    assert np.arctan2(a, b)[0].v == pytest.approx(np.arctan2(0.5, -1.25))
    assert np.power(a, b)[0].v == pytest.approx(0.5**-1.25)
    assert np.logaddexp(-math.inf, a)[0] == a[0]
    assert np.logaddexp.reduce(numbers([-math.inf, exact(0.5), exact(0.5)])).item().v == pytest.approx(
        0.5 + math.log(2)
    )


def test_erf_is_a_method_of_arrays():
    assert numbers([exact(0.5), 0.0]).erf()[0].v == pytest.approx(math.erf(0.5), rel=1e-15)


def test_where_a_function_is_not_real_it_is_nan():
    x = numbers([exact(-2.0)])
    for name in ("log", "sqrt", "arcsin", "arctanh", "arccosh"):
        assert math.isnan(getattr(np, name)(x)[0].v)
    assert math.isnan((x**0.5)[0].v)


def test_zero_and_infinity_are_those_of_ieee():
    zero, one = exact(0.0), exact(1.0)
    assert (one / zero).v == math.inf
    assert (-one / zero).v == -math.inf
    assert math.isnan((zero / zero).v)
    assert (zero**-1).v == math.inf
    assert np.log(numbers([zero]))[0].v == -math.inf
    assert np.exp(numbers([exact(-math.inf)]))[0] == 0


def test_a_float_or_an_integer_of_numpy_fits_in():
    x = exact(0.5)
    assert (x + np.float64(0.25), np.int64(2) * x, True + x, 2**x) == (0.75, 1.0, 1.5, exact(2.0) ** x)


def test_a_number_times_an_array_is_an_array():
    y = exact(0.5) * numbers([exact(2.0), 4])
    assert [a.v for a in y] == [1.0, 2.0]
    assert (exact(1.0) < numbers([exact(2.0), 0])).tolist() == [True, False]
    assert (exact(2.0) == numbers([exact(2.0), 0])).tolist() == [True, False]


@pytest.mark.parametrize("make", [float, int, round, math.floor, lambda x: [1, 2][x]])
def test_nothing_is_rounded_silently(make):
    with pytest.raises(NotExact, match="which would round it"):
        make(exact(0.5))


def test_what_is_no_number_is_named():
    with pytest.raises(NotExact, match="met a str"):
        exact(0.5) + "x"


def test_eigenvalues_and_eigenvectors():
    a = np.random.default_rng(0).normal(size=(2, 3, 3))
    S = a + a.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(numbers([exact(x) for x in S.ravel()]).reshape(S.shape))
    again = (vectors * values[:, None]) @ vectors.swapaxes(1, 2)
    assert max(abs(x.x - mp.mpf(float(y))) for x, y in zip(again.ravel(), S.ravel(), strict=True)) < 1e-45


FLOATS = {
    "short decimal": (1e-5, lambda: mp.mpf(1) / 10**5),
    "fraction": (1 / 3, lambda: mp.mpf(1) / 3),
    "negative": (-0.1, lambda: -mp.mpf(1) / 10),
    "root": (math.sqrt(1 / 6), lambda: mp.sqrt(mp.mpf(1) / 6)),
    "cube root": (12 ** (-1 / 3), lambda: 1 / mp.cbrt(12)),
    "pi": (math.pi, lambda: +mp.pi),
    "slope of erf": (2 / math.sqrt(math.pi), lambda: 2 / mp.sqrt(mp.pi)),
    "scale of gelu": (math.sqrt(2 / math.pi), lambda: mp.sqrt(2 / mp.pi)),
    "cubic of gelu": (2 * math.sqrt(2 / math.pi) * 0.044715, lambda: mp.sqrt(2 / mp.pi) * 8943 / 10**5),
    "log 2": (math.log(2), lambda: +mp.ln2),
    "1/log 10": (1 / math.log(10), lambda: 1 / mp.ln10),
    "likelihood": (0.5 * math.log(2 * math.pi), lambda: mp.log(2 * mp.pi) / 2),
    "positions": (-math.log(10000) / 6, lambda: -mp.ln10 * 2 / 3),
}


@pytest.mark.parametrize("name", FLOATS)
def test_constants_are_read_to_all_digits(name):
    value, meant = FLOATS[name]
    assert abs(constant(value, mp.prec) - meant()) <= abs(meant()) * mp.mpf(10) ** -49
    assert not Real.unread


def test_constants_of_selu():
    for value, digits in (
        (1.0507009873554805, "1.0507009873554804934193349852946"),
        (1.6732632423543772, "1.6732632423543772848170429916717"),
        (1.0507009873554805 * 1.6732632423543772, "1.7580993408473768599402175208123"),
    ):
        assert mp.nstr(constant(value, mp.prec), 32) == digits


def test_infinity_and_nan_are_themselves():
    assert written(math.inf).v == math.inf
    assert math.isnan(written(math.nan).v)


def test_other_floats_are_taken_as_they_are_and_noted():
    x = math.exp(0.1234)
    assert constant(x, mp.prec) is None
    assert (exact(1.0) * x).x == mp.mpf(x)
    assert Real.unread == [x]
    assert exact(x).x == mp.mpf(x)
    assert Real.unread == [x]  # a number of the point is meant as it is


@pytest.fixture
def without_mpmath(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpmath", None)
    for name in ("mpmath_package", "constants", "reals", "agreement"):
        monkeypatch.delitem(sys.modules, f"tinygrad_norm.proof.{name}", raising=False)


@pytest.mark.usefixtures("without_mpmath")
def test_without_mpmath_the_error_names_the_extra():
    with pytest.raises(RuntimeError, match=r"need the package mpmath: pip install 'tinygrad_norm\[exact\]'"):
        from tinygrad_norm.proof.agreement import digits_of  # noqa: F401
