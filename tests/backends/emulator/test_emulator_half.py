"""The 16-bit formats: exact on every pattern, and rounded as the hardware rounds."""

from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import RawModule, asarray, empty

f4, i4 = np.float32, np.int32
PATTERNS = np.arange(65536, dtype=np.uint16)


@pytest.fixture(scope="module")
def half(compiler):
    names = [
        f"{name}{instance.format(T)}"
        for T in ("__half", "__nv_bfloat16")
        for name, instance in (
            ("widen", "<{}>"),
            ("narrow", "<float, {}>"),
            ("narrow", "<double, {}>"),
            ("narrow", "<int, {}>"),
            ("arithmetic", "<{}>"),
        )
    ]
    code = (Path(__file__).parent / "half.cu").read_text()
    return RawModule(code=code, name_expressions=names)


def run(kernel, x, dtype):
    y = empty(x.shape, dtype)
    kernel((-(-x.size // 256),), (256,), (asarray(x), y, i4(x.size)))
    return np.asarray(y)


def bfloat16_to_float(bits):
    return (bits.astype(np.uint32) << 16).view(f4)


def nearest_bfloat16(x):
    """The bits of the bfloat16 nearest to each double, ties to even, by comparing the two candidates."""
    finite = bfloat16_to_float(PATTERNS[:0x7F80]).astype(np.float64)  # 0 and up, ascending
    grid = np.append(finite, 2.0**128)  # values from halfway to this one on become infinite
    size = np.minimum(np.abs(x), grid[-1])
    above = np.searchsorted(grid, size).clip(1)
    up, down = grid[above] - size, size - grid[above - 1]
    bits = np.where((up < down) | ((up == down) & (above % 2 == 0)), above, above - 1)
    return (bits + np.where(np.signbit(x), 0x8000, 0)).astype(np.uint16)


def samples(dtype):
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        floats = rng.integers(0, 2**32, 40_000, dtype=np.uint32).view(f4)
        halves = PATTERNS.view(np.float16).astype(f4)
        ties = (halves[:-1] + halves[1:]) / 2
        bfloats = bfloat16_to_float(PATTERNS)
        special = f4([65519.99, 65520, 65504, 6e-8, 2.98e-8, 3e-8, 0, -0.0, np.inf, -np.inf, np.nan])
        values = np.concatenate([floats, halves, ties, bfloats, special])
        return values.astype(dtype)


def test_every_half_becomes_a_float_exactly(half):
    y = run(half.get_function("widen<__half>"), PATTERNS.view(np.float16), f4)
    assert np.array_equal(y, PATTERNS.view(np.float16).astype(f4), equal_nan=True)
    assert np.array_equal(np.signbit(y), PATTERNS >= 0x8000)


def test_every_bfloat16_becomes_a_float_exactly(half):
    y = run(half.get_function("widen<__nv_bfloat16>"), PATTERNS, f4)
    assert np.array_equal(y.view(np.uint32), bfloat16_to_float(PATTERNS).view(np.uint32))


@pytest.mark.parametrize(("source", "dtype"), [("float", f4), ("double", np.float64)])
def test_floats_round_to_the_nearest_half(half, source, dtype):
    x = samples(dtype)
    with np.errstate(all="ignore"):
        if source == "double":  # close to a tie, where rounding to float first would be wrong
            x = np.concatenate([x, x * (1 + 2.0**-40), x * (1 - 2.0**-40)])
        expected = x.astype(np.float16)
    y = run(half.get_function(f"narrow<{source}, __half>"), x, np.float16)
    assert np.array_equal(np.isnan(y), np.isnan(x))
    known = ~np.isnan(x)
    assert np.array_equal(y.view(np.uint16)[known], expected.view(np.uint16)[known])


@pytest.mark.parametrize(("source", "dtype"), [("float", f4), ("double", np.float64)])
def test_floats_round_to_the_nearest_bfloat16(half, source, dtype):
    x = samples(dtype)
    x = x[~np.isnan(x)]
    if source == "double":
        x = np.concatenate([x, x * (1 + 2.0**-40), x * (1 - 2.0**-40)])
    y = run(half.get_function(f"narrow<{source}, __nv_bfloat16>"), x, np.uint16)
    assert np.array_equal(y, nearest_bfloat16(x.astype(np.float64)))
    nan = run(half.get_function(f"narrow<{source}, __nv_bfloat16>"), np.array([np.nan], x.dtype), np.uint16)
    assert nan[0] == 0x7FFF


def test_integers_round_once(half):
    x = np.array([0, 1, -7, 2049, 2051, 65519, 65520, 257, 259, 2**24 + 1, -(2**31)], i4)
    with np.errstate(over="ignore"):
        assert np.array_equal(run(half.get_function("narrow<int, __half>"), x, "f2"), x.astype(np.float16))
    bits = run(half.get_function("narrow<int, __nv_bfloat16>"), x, np.uint16)
    assert np.array_equal(bits, nearest_bfloat16(x.astype(float)))


@pytest.mark.parametrize("T", ["__half", "__nv_bfloat16"])
def test_arithmetic_rounds_every_result(half, T):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5000))
    if T == "__half":
        a, b = asarray(a.astype(np.float16)), asarray(b.astype(np.float16))
        wide = [np.asarray(v).astype(float) for v in (a, b)]
    else:
        a, b = asarray(nearest_bfloat16(a)), asarray(nearest_bfloat16(b))
        wide = [bfloat16_to_float(np.asarray(v)).astype(float) for v in (a, b)]
    results = [empty(5000, a.dtype) for _ in range(4)]
    half.get_function(f"arithmetic<{T}>")((20,), (256,), (a, b, *results, i4(5000)))
    x, y = wide
    for result, exact in zip(results, (x + y, x - y, x * y, x / y), strict=True):
        expected = exact.astype(np.float16) if T == "__half" else nearest_bfloat16(exact)
        assert np.array_equal(np.asarray(result).view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize(("name", "bits"), [("swap_halves", np.float16), ("swap_bfloats", np.uint16)])
def test_pairs(half, name, bits):
    x = asarray((PATTERNS[:64] + 0x3C00).view(bits))
    y = empty(64, bits)
    half.get_function(name)((1,), (32,), (x, y))
    assert np.array_equal(y, np.asarray(x).reshape(16, 2, 2)[:, ::-1, ::-1].ravel())


def test_halves_by_value(half):
    y = empty(2, f4)
    half.get_function("by_value")((1,), (1,), (np.float16(0.1), np.uint16(0x3F80), y))
    assert np.asarray(y).tolist() == [np.float16(0.1), 1.0]
    with pytest.raises(TypeError, match="expected float16"):
        half.get_function("by_value")((1,), (1,), (f4(0.1), np.uint16(0), y))
