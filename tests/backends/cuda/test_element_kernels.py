"""Kernels over all elements: activations, erf, and gradients from results; on all numbers, in all dtypes."""

import math
import shutil

import numpy as np
import pytest
from kernels import CURVES

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import KERNELS, emulator, to_numpy
from tinygrad_norm.backends.cuda.elements import ElementSource
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.activation import gated

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
SLOW = pytest.mark.slow
NAMES = [name for names in CURVES.values() for name in names]
NUMBERS = {
    "exponential_unit": (1.05, 1.67, 0.7),
    "softplus": (2.0, 20.0),
    "hardtanh": (-0.25, 1.4),
    "leaky_relu": (0.1,),
    "threshold": (0.1, 2.0),
    "softcap": (1.3,),
}
TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6, "float64": 1e-14}
SIZES = 0.0, math.inf, math.nan, 1e-40, 1e-30, 3e38, 1e4, 88.0, 25.0


def drawn(name, count=40):
    """Values around the kinks and tails, then extremes; results of a root are not negative."""
    x = np.concatenate((np.random.default_rng(0).normal(size=count) * 4, SIZES, np.negative(SIZES)))
    return abs(x) if name.startswith("sqrt") else x


def both(name, dtype, checked=False, seed=0):
    """The result of the kernel in `dtype`, and of the body in float64 from the same numbers."""
    made = KERNELS[name]
    numbers = NUMBERS.get(name.rpartition("_")[0], ())
    with np.errstate(all="ignore"):
        x = drawn(name).astype(dtype)
        dy = np.random.default_rng(1).normal(size=x.shape).astype(dtype)
        given = (dy, x) if name.endswith("_backward") else (x,)
        expected = made.numpy_version(*(a.astype(np.float64) for a in given), *numbers)
        order = emulator.schedule(seed=seed, checked=checked)
        with tn.use_backend("emulator"), order, emulator.record() as launches:
            found = to_numpy(made(*map(emulator.asarray, given), *numbers))
    assert [launch.name.partition("<")[0] for launch in launches] == [name]
    assert found.dtype == dtype
    return found.astype(np.float64), expected


def check(name, dtype, **schedule):
    found, expected = both(name, dtype, **schedule)
    largest = {"float16": 65504, "float64": math.inf}.get(np.dtype(dtype).name, 3.4e38)
    finite = np.isfinite(expected) & (abs(expected) < largest)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isfinite(found), finite)
    found, expected = found[finite], expected[finite]
    difference = abs(found - expected) / np.maximum(abs(expected), 1)
    assert difference.max() <= TOLERANCE[np.dtype(dtype).name]


QUICK = "erf_forward", "gelu_forward", "gelu_backward", "silu_backward", "relu_backward", "logistic"


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=SLOW) for n in NAMES])
def test_every_kernel_agrees_with_its_body(name):
    check(name, np.float32)


@SLOW
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_in_every_dtype(name, dtype, checked):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16: pip install ml_dtypes").bfloat16
    for seed in range(3):
        check(name, dtype, checked=checked, seed=seed)


def test_gelu_has_an_accurate_left_tail():
    x = np.linspace(-12, -3, 64).astype(np.float32)
    exact = np.array([value * math.erfc(-value / math.sqrt(2)) / 2 for value in x.astype(float)])
    with tn.use_backend("emulator"):
        found = to_numpy(KERNELS["gelu_forward"](emulator.asarray(x)))
    np.testing.assert_allclose(found, exact, rtol=2e-5)


@pytest.mark.parametrize("size", [1, 7, 1024, 1030])
def test_packs_and_single_values(size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    with tn.use_backend("emulator"), emulator.schedule(checked=True), emulator.record() as launches:
        found = to_numpy(KERNELS["silu_forward"](emulator.asarray(x)))
        off = to_numpy(KERNELS["silu_forward"](emulator.asarray(np.append(0, x).astype(np.float32))[1:]))
    np.testing.assert_allclose(found, x / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_array_equal(found, off)
    assert [launch.name for launch in launches] == [
        f"silu_forward<float, {1 if size % 4 else 4}>",
        "silu_forward<float, 1>",
    ]


FUNCTIONS = {
    "gelu": lambda x: F.gelu(x),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "celu": lambda x: F.celu(x, 0.5),
    "softplus": lambda x: F.softplus(x, 2.0),
    "threshold": lambda x: F.threshold(x, 0.1, 2.0),
    "relu": lambda x: F.relu(x),
    "erf": lambda x: x.erf(),
    "sigmoid": lambda x: x.sigmoid(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_one_launch_each_way(name, dtype):
    """Of any layout; its gradient is that of NumPy."""

    def run():
        drawn = np.random.default_rng(0).normal(size=(6, 4)).astype(dtype)
        x = Tensor(drawn, requires_grad=True)
        y = FUNCTIONS[name](x.T)
        return [to_numpy(y.array), to_numpy(grad(y, x, np.ones((4, 6), dtype))[0].array)]

    expected = run()
    with tn.use_backend("emulator"), emulator.record() as launches:
        found = run()
    assert len(launches) == (1 if name == "relu" else 2)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=2e-3 if dtype is np.float16 else 2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A(0.39894228040143267794)", "A(0.3989)"),
        ("x > A(0) ? A(1) - tail : tail", "A(1) - (x > A(0) ? tail : A(1) - tail)"),
    ],
    ids=["wrong constant", "cancellation"],
)
def test_planted_errors_are_seen(old, new, tmp_path):
    source = ElementSource(gated.__file__)
    wrong = tmp_path / "gated.cu"
    wrong.write_text(source.path.read_text().replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    x = np.linspace(-9, 9, 64).astype(np.float32)
    with tn.use_backend("emulator"):
        given = (emulator.asarray(np.ones_like(x)), emulator.asarray(x))
        right, found = (to_numpy(one.each("gelu_backward", given)) for one in (gated._kernels, source))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, right, rtol=1e-5)
