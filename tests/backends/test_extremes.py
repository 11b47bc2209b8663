"""The largest and the smallest numbers, in NumPy and in kernels: results are finite and agree with float64.

A difference is measured relative to the largest value, however small that is.
"""

import shutil

import numpy as np
import pytest
from kernel_runs import OPS, error, row_case, run

import tinygrad_norm as tn
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.registry import REGISTRY, Case

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
ON_A_GPU = pytest.param("cupy", marks=pytest.mark.cuda(stand_in="slow"))
pytestmark = pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("emulator", marks=needs_compiler), ON_A_GPU]
)

LARGE, LARGEST, SMALL, SUBNORMAL = 1e30, 3.4e38, 1e-30, 1e-40
UNIT = float(np.finfo(np.float32).smallest_subnormal)
SHAPES = {
    **{name: row_case(name, 64) for name in OPS},
    "batch_norm of columns": Case(((40, 4), None, None, (4,), (4,)), {"training": True}),
    "batch_norm in pieces": Case(((1, 2, 9000), None, None, (2,), (2,)), {"training": True}),
    "layer_norm read again": Case(((2, 65536), (65536,), (65536,)), {"normalized_shape": (65536,)}),
}


def draws(case, size):
    """A case's inputs in float32: x (and the residual) uniform in ±size, the others unchanged."""
    x = case.inputs[0]
    drawn = []
    for one, spec in zip(case.draw(), case.inputs, strict=True):
        values, wanted = (None, False) if one is None else one
        if values is not None and values.dtype.kind == "f":
            if spec == x:
                values = np.random.default_rng(len(drawn)).uniform(-size, size, x)
                # The sum of x and the residual must not overflow float32 either.
                values *= 0.5 if case.inputs.count(x) > 1 else 1
            values = values.astype(np.float32)
        drawn.append((values, wanted))
    return drawn


def results(op, drawn, options, dtype):
    typed = [(x.astype(dtype) if x is not None and x.dtype.kind == "f" else x, wanted) for x, wanted in drawn]
    return [to_numpy(a).astype(np.float64) for a in run(op, typed, options)]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [SUBNORMAL, SMALL, 1e18, LARGE, LARGEST])
def test_any_size_of_numbers_gives_right_results(name, size, backend):
    op, case = REGISTRY[name.partition(" ")[0]], SHAPES[name]
    # Differences of the largest numbers are too large for float32; half of them are not.
    drawn = draws(case, size / 2 if "log_softmax" in name or "cross_entropy" in name else size)
    options = {**case.options, "reduction": "none"} if name == "cross_entropy" else case.options
    exact = results(op, drawn, options, np.float64)
    with tn.use_backend(backend):
        found = results(op, drawn, options, np.float32)
    for a, b in zip(found, exact, strict=True):
        assert np.isfinite(a).all()
        # A mean can be wrong by half of UNIT; this is multiplied by 1/√eps and summed in dweight.
        assert abs(a - b).max() <= 1e-5 * abs(b).max() + 316 * UNIT * drawn[0][0].size


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"])
@pytest.mark.parametrize("size", [1e-37, SMALL, 1e-22, 1e-18, 1.0, 1e18, LARGE])
@pytest.mark.parametrize("offset", [0, 1])
def test_without_eps_any_size_is_normalized(name, size, offset, backend):
    """Also if the mean is as large as the numbers."""
    op, case = REGISTRY[name], row_case(name, 64)
    options = {**case.options, "eps": 0.0}
    (x, wanted), *rest = draws(case, size)
    drawn = [(x + np.float32(offset * size), wanted), *rest]
    exact = results(op, drawn, options, np.float64)
    with tn.use_backend(backend):
        found = results(op, drawn, options, np.float32)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


@pytest.mark.parametrize("size", [LARGE, LARGEST])
def test_batch_statistics_of_large_numbers(size, backend):
    """The mean is correct; a variance that is too large for float32 is infinite, as in NumPy."""
    x = np.random.default_rng(0).uniform(-size, size, (40, 3)).astype(np.float32)
    mean, var = (tn.tensor(np.zeros(3, np.float32)) for _ in range(2))
    with tn.use_backend(backend):
        running = [Tensor(a.numpy()) for a in (mean, var)]
        REGISTRY["batch_norm"].function(Tensor(x), *running, training=True, momentum=1.0)
    np.testing.assert_allclose(running[0].numpy(), x.astype(float).mean(0), rtol=1e-5)
    assert np.isinf(running[1].numpy()).all()


def test_an_infinite_running_variance_gives_the_bias(backend):
    x = np.random.default_rng(0).uniform(-LARGEST, LARGEST, (4, 2)).astype(np.float32)
    vectors = np.array([[0, 0], [np.inf, np.inf], [1, 2], [3, 4]], np.float32)
    with tn.use_backend(backend):
        xs = [Tensor(v, requires_grad=i not in (1, 2)) for i, v in enumerate((x, *vectors))]
        y = REGISTRY["batch_norm"].function(*xs)
        y.backward(np.ones((4, 2), np.float32))
        found = [y.numpy(), *(xs[i].grad.numpy() for i in (0, 3, 4))]
    for a, expected in zip(found, ([[3, 4]] * 4, np.zeros((4, 2)), [0, 0], [4, 4]), strict=True):
        np.testing.assert_array_equal(a, expected)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_a_large_row_leaves_its_neighbours_alone(name, backend):
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    x[1] *= 1e30
    expected = REGISTRY[name].function(Tensor(x.astype(np.float64)), (8,)).numpy()
    with tn.use_backend(backend):
        assert error(REGISTRY[name].function(Tensor(x), (8,)).array, expected) <= 1e-5


def test_a_large_channel_leaves_its_neighbours_alone(backend):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    x[:, 1] *= 1e30
    expected = REGISTRY["batch_norm"].function(Tensor(x.astype(np.float64)), training=True).numpy()
    with tn.use_backend(backend):
        y = REGISTRY["batch_norm"].function(Tensor(x), training=True).array
    assert error(y, expected) <= 1e-5


@pytest.mark.parametrize("value", [0.0, 1.0, 12345.678, -3e38, 1e18, 1e-40])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_constant_rows_become_zero(value, eps, backend):
    x = np.full((2, 33), value, np.float32)
    with tn.use_backend(backend):
        y = REGISTRY["layer_norm"].function(Tensor(x), (33,), eps=eps)
    assert not np.any(y.numpy())


def test_infinity_and_nan_stay_in_their_row(backend):
    x = np.ones((3, 8), np.float32) * np.arange(8, dtype=np.float32)
    x[0, 3], x[1, 2] = np.inf, np.nan
    with tn.use_backend(backend):
        y = REGISTRY["layer_norm"].function(Tensor(x), (8,)).numpy()
    assert np.isnan(y[:2]).any(1).all()
    assert np.isfinite(y[2]).all()


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "add_layer_norm"])
def test_pools_of_one_value_get_no_gradient(name, backend):
    """g - mean(g) is exactly 0, though 1/√eps would multiply any rounding error by 316."""
    if (name, backend) == ("group_norm", "numpy"):
        pytest.skip("NumPy sums dy instead of g: 0 up to rounding")
    shape = (64, 1) if name != "group_norm" else (64, 2, 1)
    affine = (shape[1],)
    case = Case(((*shape,), affine, affine), {"normalized_shape": affine})
    if name == "group_norm":
        case = Case((shape, affine, affine), {"num_groups": 2})
    if name == "add_layer_norm":
        case = Case((shape, shape, affine, affine), {"normalized_shape": affine})
    drawn = [(x.astype(np.float32), True) for x, _ in case.draw()]
    with tn.use_backend(backend):
        xs = [Tensor(x, requires_grad=True) for x, _ in drawn]
        result = REGISTRY[name].call(xs, case.options)
        y = result[0] if isinstance(result, tuple) else result
        dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
        y.backward(dy)
    assert not np.any(xs[0].grad.numpy())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_too_large_for_its_dtype_is_infinite_without_a_warning(reduction, backend):
    with tn.use_backend(backend):
        x = Tensor(np.array([[LARGEST, -LARGEST], [LARGEST, -LARGEST]], np.float32), requires_grad=True)
        loss = REGISTRY["cross_entropy"].function(x, Tensor(np.array([1, 1])), reduction=reduction)
        loss.sum().backward()
    assert np.isinf(loss.numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()
