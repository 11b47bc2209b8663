"""One NaN or infinity: its pool is as in the composed form, and no other pool is touched.

Every guard and every rescue path is a chance to take a NaN for an extreme number, and to hide it. The
composed form, from primitives in float64, says which results are NaN.
"""

import shutil

import numpy as np
import pytest
from kernel_runs import run

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.registered import cotangent
from tinygrad_norm.registry import REGISTRY

F = nn.functional
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
BACKENDS = ["numpy", pytest.param("emulator", marks=needs_compiler)]
OPS = [op.name for op in REGISTRY.values() if op.kind == "normalization" and op.composed]
ALSO = ["softmax", "log_softmax"]
# Inputs after the first that are activations, not parameters.
OTHERS = {
    "adaptive_instance_norm": (1,),
    "adaptive_layer_norm": (1, 2),
    "adaptive_group_norm": (1, 2),
    "add_layer_norm": (1,),
    "add_rms_norm": (1,),
    "cosine_conv2d": (0,),
    "gated_rms_norm": (1,),
    "reversible_instance_denorm": (1, 2),
}
MEANS = {"reversible_instance_norm", "mean_only_batch_norm", "positional_norm"}  # mean is an output


def spoiled(case, value, dtype, which=0):
    """The case's inputs in `dtype`, with `value` in the middle of one of them."""
    drawn = [
        (None, False)
        if one is None
        else (one[0].astype(dtype) if one[0].dtype.kind == "f" else one[0], one[1])
        for one in case.draw()
    ]
    drawn[which][0].flat[drawn[which][0].size // 2] = value
    return drawn


def composed_results(op, drawn, options):
    inputs = [None if x is None else Tensor(x, requires_grad=wanted) for x, wanted in drawn]
    result = op.call(inputs, options, op.composed)
    ys = result if isinstance(result, tuple) else (result,)
    xs = [x for x in inputs if x is not None and x.requires_grad]
    return [y.numpy() for y in ys], grad(ys, xs, [cotangent(y.shape, k) for k, y in enumerate(ys)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "which"),
    [(name, 0) for name in OPS + ALSO] + [(name, which) for name, found in OTHERS.items() for which in found],
)
def test_a_number_that_is_not_finite_spoils_its_pool_as_in_the_composed_form(name, which, value, backend):
    op = REGISTRY[name]
    for case in op.cases:
        if not case.draw()[0][0].size:
            continue
        drawn = spoiled(case, value, np.float64, which)
        ys, dxs = composed_results(op, drawn, case.options)
        expected = [*ys, *(dx.numpy() for dx in dxs)]
        with tn.use_backend(backend):
            found = [to_numpy(a) for a in run(op, spoiled(case, value, np.float32, which), case.options)]
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            if (which or name in MEANS) and np.isinf(value):  # infinity or NaN, by the order of operations
                a, b = (np.where(np.isfinite(t), t, np.nan) for t in (a, b))
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), str(case))
            np.testing.assert_allclose(a, b, 1e-3, 1e-4, err_msg=str(case))
        if np.isnan(value):
            assert np.isnan(ys[0]).any(), "the NaN has disappeared"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("normalize", "shape", "pool"),
    [
        (lambda x: F.rms_norm(x, (6,)), (4, 6), np.s_[1]),
        (lambda x: F.layer_norm(x, (6,)), (4, 6), np.s_[1]),
        (lambda x: F.normalize(x), (4, 6), np.s_[1]),
        (lambda x: F.normalize(x, 1), (4, 6), np.s_[1]),
        (lambda x: F.normalize(x, 3), (4, 6), np.s_[1]),
        (lambda x: F.normalize(x, np.inf), (4, 6), np.s_[1]),
        (lambda x: F.batch_norm(x, training=True), (4, 3, 2), np.s_[:, 1]),
        (lambda x: F.instance_norm(x), (4, 3, 5), np.s_[1, 1]),
        (lambda x: F.group_norm(x, 2), (4, 4, 3), np.s_[1, :2]),
    ],
)
@pytest.mark.parametrize("rest", [1.0, 1e-30, 1e30])
def test_a_nan_makes_its_pool_nan_and_no_other(normalize, shape, pool, rest, backend):
    """Also where another pool of the same array has such numbers that a guard computes it again."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x[-1] *= np.float32(rest)
    in_pool = np.zeros(shape, bool)
    in_pool[pool] = True
    x.flat[np.flatnonzero(in_pool)[1]] = np.nan
    with tn.use_backend(backend):
        tensor = Tensor(x, requires_grad=True)
        y = normalize(tensor)
        y.backward(cotangent(shape, 0).astype(np.float32))
        for a in (y.numpy(), tensor.grad.numpy()):
            np.testing.assert_array_equal(np.isnan(a), in_pool)


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinity_in_normalize_is_the_same_on_numpy_and_in_a_kernel(backend):
    with tn.use_backend(backend):
        assert str(F.normalize(tn.tensor([[1.0, np.inf, 2.0]])).numpy()) == "[[ 0. nan  0.]]"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1.0, 1e20, 1e30, 3e38])
def test_a_constant_row_of_any_size_has_the_rstd_of_eps(size, backend):
    """Its variance is 0, so rstd = 1/√eps: about 316 at 1e-5."""
    with tn.use_backend(backend):
        x = tn.tensor([[size] * 3], requires_grad=True)
        F.layer_norm(x, (3,)).backward(tn.tensor([[1.0, 2.0, 3.0]]))
        np.testing.assert_allclose(x.grad.numpy(), [[-316.2278, 0, 316.2278]], 1e-6, 1e-3)
