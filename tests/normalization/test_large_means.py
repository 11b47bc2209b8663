"""A mean that is large beside the standard deviation costs no digits: guards subtract before they round."""

import numpy as np
import pytest
from loop_runs import MODES

import tinygrad_norm as tn
from tinygrad_norm import use_loops
from tinygrad_norm.autograd.sweep import grad
from tinygrad_norm.nn import functional as F

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
