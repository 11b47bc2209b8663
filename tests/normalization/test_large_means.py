"""A mean that is large beside the standard deviation costs no digits: guards subtract before they round.

Kernels keep the mean of float32 numbers in float64. The reference is float64 on the float32 numbers.
"""

import shutil

import numpy as np
import pytest
from kernel_runs import row_case, run
from loop_runs import MODES

import tinygrad_norm as tn
from tinygrad_norm import use_loops
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn import functional as F
from tinygrad_norm.registry import REGISTRY, Case

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
SLOW = pytest.mark.slow
NORMS = {
    "batch": lambda x: F.batch_norm(x, training=True),
    "layer": lambda x: F.layer_norm(x, (10,)),
    "group": lambda x: F.group_norm(x, 2),
    "instance": lambda x: F.instance_norm(x),
}


@pytest.mark.parametrize("mode", ["off", *MODES])
@pytest.mark.parametrize(("mean", "std"), [(1e4, 1e-2), (1e4, 1.0), (-3e6, 7.0), (1e30, 1e25), (3e38, 1e33)])
@pytest.mark.parametrize("norm", NORMS)
def test_float32_has_the_digits_of_float64(norm, mean, std, mode):
    rng = np.random.default_rng(0)
    x = (mean + std * rng.normal(size=(16, 4, 10))).astype("float32")
    dy = rng.normal(size=x.shape)
    results = []
    for dtype in ("float32", "float64"):
        with use_loops(mode):
            given = tn.tensor(x.astype(dtype), requires_grad=True)
            y = NORMS[norm](given)
            (dx,) = grad(y, given, tn.tensor(dy.astype(dtype)))
        results.append([y.numpy().astype("float64"), dx.numpy().astype("float64")])
    for single, double in zip(*results, strict=True):
        assert abs(single - double).max() <= 1e-6 * abs(double).max()


# -- every normalization, on NumPy and in kernels


def around(mean, case, step=0.0):
    """A case's inputs in float32: x, and what has its shape, are `mean` ± 1e-2; a residual is far smaller.

    With a `step`, x and a residual are multiples of it, so that their sum is not rounded.
    """
    drawn = []
    for k, (one, spec) in enumerate(zip(case.draw(), case.inputs, strict=True)):
        values, wanted = (None, False) if one is None else one
        if values is not None and values.dtype.kind == "f":
            if spec == case.inputs[0]:
                values = 1e-2 * values + (mean if k == 0 or not step else 0)
                values = np.round(values / step) * step if step else values
            values = values.astype(np.float32)
        drawn.append((values, wanted))
    return drawn


def check(name, case, mean, backend, tolerance=1e-5):
    op, step = REGISTRY[name], 2.0**-10 if "residual" in REGISTRY[name].inputs else 0.0
    drawn = around(mean, case, step)
    wide = [(x if x is None or x.dtype.kind != "f" else x.astype(float), wanted) for x, wanted in drawn]
    exact = [to_numpy(a).copy() for a in run(op, wide, case.options)]
    with tn.use_backend(backend):
        found = [to_numpy(a).astype(float) for a in run(op, drawn, case.options)]
    for a, b in zip(found, exact, strict=True):
        least = 2e-7 * abs(b).max(initial=0)
        of_pool = b - b.mean() if name == "adaptive_instance_norm" else b  # whose y has the style's mean
        assert abs(a - b).max(initial=0) <= tolerance * abs(of_pool).max(initial=0) + least, case


def subtracts_a_mean(op, case):
    """Whether y stays as it is if all of x becomes larger by 1."""
    (x, wanted), *others = case.draw()
    if not x.size:
        return False
    others = [(None, False) if one is None else one for one in others]
    before, after = (to_numpy(run(op, [(one, wanted), *others], case.options)[0]) for one in (x, x + 1))
    return np.allclose(before, after, 0, 1e-9)


OPS = [op.name for op in REGISTRY.values() if op.kind == "normalization" and op.composed]


@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
@pytest.mark.parametrize("name", OPS)
def test_every_normalization_keeps_the_digits_of_its_input(name, backend):
    for case in REGISTRY[name].cases:
        if subtracts_a_mean(REGISTRY[name], case):
            for mean in (1e4, -1e4):
                check(name, case, mean, backend)


WITH_KERNELS = ["layer_norm", "add_layer_norm", "batch_norm", "group_norm", "instance_norm"]
SIZES = [1, 33, *[pytest.param(D, marks=SLOW) for D in (1023, 4096)]]


@needs_compiler
@pytest.mark.parametrize("D", SIZES)
@pytest.mark.parametrize("name", WITH_KERNELS)
def test_kernels_for_pools_of_every_size(name, D):
    if name == "instance_norm" and D == 1:
        pytest.skip("a channel needs more than one position")
    for mean, checked in ((1e4, False), (-1e4, True)):
        with emulator.schedule(checked=checked, seed=1):
            check(name, row_case(name, D), mean, "emulator")


LARGE = {
    "columns": Case(((70, 4), None, None, (4,), (4,)), {"training": True}),
    "pieces": Case(((1, 2, 9000), None, None, (2,), (2,)), {"training": True}),
}


@needs_compiler
@pytest.mark.parametrize("case", [LARGE["columns"], pytest.param(LARGE["pieces"], marks=SLOW)], ids=LARGE)
def test_channels_of_several_strips(case):
    for mean in (1e4, -1e4):
        check("batch_norm", case, mean, "emulator")


@SLOW
@needs_compiler
@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "instance_norm"])
def test_pools_that_registers_cannot_hold(name):
    check(name, row_case(name, 30_000), 1e4, "emulator")


@needs_compiler
@pytest.mark.parametrize("norm", NORMS)
def test_half_types_have_the_digits_of_their_input(norm):
    """float16 has steps of 1 at 1024."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(1500, 4, (16, 4, 10)).astype("float16"), rng.normal(size=(16, 4, 10)).astype("float16")
    results = []
    for backend, dtype in (("emulator", "float16"), ("numpy", "float64")):
        with tn.use_backend(backend):
            given = tn.tensor(x.astype(dtype), requires_grad=True)
            y = NORMS[norm](given)
            (dx,) = grad(y, given, tn.tensor(dy.astype(dtype)))
            results.append([y.numpy().astype(float), dx.numpy().astype(float)])
    for half, double in zip(*results, strict=True):
        assert abs(half - double).max() <= 1e-3 * abs(double).max()


@needs_compiler
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["an exact mean", "first far from the others", "one of many"])
def test_other_pools_are_as_good_as_before(norm, kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4, 10)).astype("float32")
    if kind == "an exact mean":
        x = np.round(x * 4)
        x[8:], x[:, 2:], x[..., 5:] = -x[:8], -x[:, :2], -x[..., :5]  # the mean of every pool is 0
    elif kind == "first far from the others":
        x[0], x[:, 0], x[..., 0] = x[0] + 1e4, x[:, 0] + 1e4, x[..., 0] + 1e4
    else:
        x = np.float32(4096) + 2.0**-11 * (rng.random(x.shape) < 0.1).astype("float32")  # of neighbours
    results, dy = [], rng.normal(size=x.shape)
    for backend, dtype in (("emulator", "float32"), ("numpy", "float64")):
        with tn.use_backend(backend):
            given = tn.tensor(x.astype(dtype), requires_grad=True)
            y = NORMS[norm](given)
            (dx,) = grad(y, given, tn.tensor(dy.astype(dtype)))
            results.append([y.numpy().astype(float), dx.numpy().astype(float)])
    for single, double in zip(*results, strict=True):
        assert abs(single - double).max() <= 1e-6 * abs(double).max()


@needs_compiler
def test_running_means_are_those_of_float64():
    x = (1e4 + 1e-2 * np.random.default_rng(0).normal(size=(33, 2, 3))).astype("float32")
    with tn.use_backend("emulator"):
        layer = tn.nn.BatchNorm1d(2, momentum=1.0)
        layer(tn.tensor(x))
        found = layer.running_mean.numpy(), layer.running_var.numpy()
    expected = x.astype(float).mean((0, 2)), x.astype(float).var((0, 2), ddof=1)
    np.testing.assert_allclose(found[0], expected[0], 6e-8)
    np.testing.assert_allclose(found[1], expected[1], 1e-5)
