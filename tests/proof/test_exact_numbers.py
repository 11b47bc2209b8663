"""Numbers of the field in kernels: the emulator's type does what the proofs' numbers do."""

import random
import shutil

import numpy as np
import pytest

from tinygrad_norm.backends.cuda.launch import HERE
from tinygrad_norm.proof.errors import NoRoot, NotAlgebraic, NotExact
from tinygrad_norm.proof.launches import exact_machine
from tinygrad_norm.proof.numberarray import numbers
from tinygrad_norm.proof.points import anywhere
from tinygrad_norm.proof.residues import lift

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")


@pytest.fixture
def rng():
    return random.Random(0)


def drawn(rng, size):
    return numbers([anywhere(rng, rng.uniform(-1, 1)) for _ in range(size)])


def launch(text, name, *args, threads=1):
    """Launch a kernel of a text whose first line is line 1 of kernel.cu."""
    exact_machine().load('#include "residue.h"\n#line 1 "kernel.cu"\n' + text, name)((1,), (threads,), args)


OPERATIONS = """
__global__ void operations(const double* a, const double* b, double* y) {
  const double x = a[threadIdx.x], z = b[threadIdx.x];
  double* const out = y + 9 * threadIdx.x;
  out[0] = x + z, out[1] = x - z, out[2] = x * z, out[3] = x / z;
  out[4] = -x, out[5] = fabs(x), out[6] = sqrt(x * x), out[7] = 0x1p-100 * x + 2.5;
  out[8] = (x < z) + 2 * (x <= z) + 4 * (x > z) + 8 * (x >= z) + 16 * (x == z) + 32 * (x - z + z == x);
}
"""


def test_operators_in_cpp_are_those_of_python(rng):
    a, b, y = drawn(rng, 5), drawn(rng, 5), np.empty((5, 9), object)
    launch(OPERATIONS, "operations", a, b, y, threads=5)
    for x, z, out in zip(a, b, y, strict=True):
        expected = [x + z, x - z, x * z, x / z, -x, abs(x), (x * x) ** 0.5, x / 2**100 + 2.5]
        order = 32 + (3 if x < z else 12)
        assert [number.n for number in out] == [number.n for number in expected] + [order]
        assert [number.v for number in out[:8]] == pytest.approx([number.v for number in expected])


def test_python_numbers_are_numbers_of_the_field(rng):
    text = """
__global__ void scaled(const double* x, double a, double b, long long n, double* y) { *y = *x * a + b / n; }
"""
    x, y = drawn(rng, 1), np.empty(1, object)
    launch(text, "scaled", x, 3, 0.1, np.int64(4), y)
    assert y[0].n == (x[0] * 3 + 1 / lift(40)).n


def test_lanes_and_shared_memory_move_numbers(rng):
    text = """
template <class T>
__global__ void sums(const T* x, T* y) {
  const T sum = reduce<64>(x[threadIdx.x], Sum{}), largest = reduce<64>(x[threadIdx.x], Max{});
  y[threadIdx.x] = sum * largest;
}
"""
    x, y = drawn(rng, 64), np.empty(64, object)
    launch((HERE / "reduce.cuh").read_text("utf-8") + text, "sums<double>", x, y, threads=64)
    assert {number.n for number in y} == {(sum(x) * max(x)).n}


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param("*y = *x * 0.1;", NotExact, r"more digits .* at kernel.cu:2", id="decimal"),
        pytest.param("*y = *y + *x;", NotExact, r"not written, at kernel.cu:2", id="unwritten"),
        pytest.param("*y = exp(*x) * 2;", NotAlgebraic, "exp is not algebraic", id="exp"),
        pytest.param("*y = -exp(*x);", NotAlgebraic, "exp is not algebraic", id="minus-exp"),
        pytest.param("*y = *x < exp(*x) ? 1 : 0;", NotAlgebraic, "exp", id="decided-by-exp"),
        pytest.param("*y = sqrt(-(*x * *x));", NoRoot, "^$", id="root"),
        pytest.param("for (*y = 0;;) *y += 1;", NotExact, "more numbers than", id="endless"),
    ],
)
def test_a_step_that_is_not_exact_is_reported(rng, body, error, words, monkeypatch):
    monkeypatch.setattr("tinygrad_norm.proof.launches.MOST_NUMBERS", 1000)
    text = f"__global__ void step(const double* x, double* y) {{\n{body}\n}}\n"
    with pytest.raises(error, match=words):
        launch(text, "step", drawn(rng, 1), np.empty(1, object))


def test_what_a_guard_throws_away_may_be_outside_of_the_field(rng):
    text = """
__global__ void guard(const double* x, double* y) {
  const double zero = *x - *x, r = 1 / zero, e = exp(*x) * r;
  y[0] = zero == 0 ? 0 : r + e, y[1] = r > 1e300;
}
"""
    y = np.empty(2, object)
    launch(text, "guard", drawn(rng, 1), y)
    assert [number.n for number in y] == [0, 1]
