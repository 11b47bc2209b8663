"""Convolution as loops, against the NumPy bodies."""

from itertools import product

import numpy as np
import pytest

from tinygrad_norm import use_loops
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.loop_mode import loop_mode
from tinygrad_norm.bench.rungs import runs_a_loop
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.convolution import conv_loops, conv_planes
from tinygrad_norm.registry import REGISTRY

NAMES = [f"conv{transposed}{axes}d" for transposed in ("", "_transpose") for axes in (1, 2, 3)]
CASES = [(name, k) for name in NAMES for k in range(len(REGISTRY[name].cases))]
NEEDS_NUMBA = pytest.mark.skipif(not loop_mode.compiled, reason="no Numba, or loops are off")
MODES = [
    "python",
    pytest.param("compiled", marks=NEEDS_NUMBA),
]


@pytest.fixture
def any_size(monkeypatch):
    """Small convolutions run as loops, too."""
    monkeypatch.setattr(conv_loops, "ENTRIES", (1, 1024))


def results(mode, function, arrays, **options):
    with use_loops(mode):
        inputs = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
        y = function(*inputs, **options)
        dy = np.random.default_rng(1).normal(size=y.shape).astype(y.array.dtype)
        return [y.array, *[g.array for g in grad([y], [t for t in inputs if t is not None], [dy])]]


def check(mode, function, arrays, **options):
    found = results(mode, function, arrays, **options)
    for a, b in zip(found, results("off", function, arrays, **options), strict=True):
        rtol = 1e-12 if a.dtype == np.float64 else 1e-5
        scale = np.abs(b[np.isfinite(b)]).max(initial=1)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "k"), CASES)
def test_loops_agree_with_the_bodies(any_size, mode, dtype, name, k):
    op, case = REGISTRY[name], REGISTRY[name].cases[k]
    arrays = [None if pair is None else pair[0].astype(dtype) for pair in case.draw()]
    check(mode, op.function, arrays, **case.options)


def arrays_of(N, side=6, dtype="float32"):
    rng = np.random.default_rng(N)
    return [rng.normal(size=s).astype(dtype) for s in ((N, 8, side, side), (5, 8, 3, 3), (5,))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0, 1, 2, (2, 0)])
def test_any_number_of_samples_and_any_padding(mode, padding):
    for N in (1, 6, 17) if mode == "python" else (1, 2, 16, 17, 32):
        check(mode, F.conv2d, arrays_of(N), padding=padding)


@pytest.mark.parametrize("mode", MODES)
def test_strided_reversed_and_read_only_arrays(mode):
    x, weight, bias = arrays_of(4)
    x.flags.writeable = weight.flags.writeable = False
    check(mode, F.conv2d, [x[:, :, ::-1, ::2], weight, bias], padding=1)
    check(mode, F.conv2d, [x.transpose(0, 1, 3, 2), weight[:, :, ::-1], bias[::-1]], padding=1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_through_and_stays_in_its_windows(mode, value):
    x, weight, bias = arrays_of(2)
    x[0, 3, 2, 0] = value
    with np.errstate(invalid="ignore"):
        check(mode, F.conv2d, [x, weight, bias], padding=1)


@NEEDS_NUMBA
@pytest.mark.parametrize("side", [6, 20])
def test_threads_change_no_bit(monkeypatch, side):
    monkeypatch.setattr(blocks, "MANY", 1)
    monkeypatch.setattr(conv_loops, "PART", 1 << 11)
    arrays = arrays_of(48, side)
    one = results("compiled", F.conv2d, arrays, padding=1)
    with blocks.settings(threads=2):
        two = results("compiled", F.conv2d, arrays, padding=1)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_loops_run_where_blas_is_slower():
    x, weight, bias = map(Tensor, arrays_of(2))
    with use_loops("python"):
        assert runs_a_loop(lambda: F.conv2d(x, weight, bias))
        assert runs_a_loop(lambda: F.conv2d(x, weight, bias, stride=2))
        assert runs_a_loop(lambda: F.conv2d(x[:, :5], weight[:, :1], bias, groups=5))
        assert runs_a_loop(lambda: F.conv_transpose2d(x[:, :5], weight, stride=2))
        assert not runs_a_loop(lambda: F.conv2d(x[:, :3], weight[:, :3], bias))  # 27 entries
        assert not runs_a_loop(lambda: F.conv2d(x, weight[:, :, :1, :1], bias))  # 1 copy
        assert not runs_a_loop(lambda: F.conv2d(x.half(), weight.half(), bias.half()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", list(product((1, 2, (3, 1)), (0, 1, (2, 0)), (1, 2), (1, 2))))
def test_any_stride_padding_dilation_and_groups(any_size, mode, options):
    """With several samples in a line, and one of fewer at the end."""
    options = dict(zip(("stride", "padding", "dilation", "groups"), options, strict=True))
    groups = options["groups"]
    if mode == "python" and groups == options["dilation"] == 2:
        return
    rng = np.random.default_rng(0)
    for N, kernel in ((1, (3, 3)), (5, (2, 1)), (3, (4, 2))):
        for function, shape in ((F.conv2d, (6, 4 // groups)), (F.conv_transpose2d, (4, 6 // groups))):
            check(
                mode,
                function,
                [rng.normal(size=s) for s in ((N, 4, 7, 8), (*shape, *kernel), (6,))],
                **options,
            )


@pytest.mark.parametrize("line", [1, 700])
def test_lines_of_any_length_give_the_same(monkeypatch, line):
    for planes in (conv_planes.planes_of, conv_planes.adjoint_planes_of):
        planes.cache_clear()
    monkeypatch.setattr(conv_planes, "LINE", line)
    check("python", F.conv2d, arrays_of(5, side=4), padding=1)  # two samples in a line, and one in the last
    for planes in (conv_planes.planes_of, conv_planes.adjoint_planes_of):
        planes.cache_clear()
