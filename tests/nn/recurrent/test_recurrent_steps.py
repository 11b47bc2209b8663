"""Recurrent layers by plain loops: products in parts, saturated gates, and numbers that are not finite."""

import numpy as np
import pytest
from loop_runs import MODES, in_mode, needs_numba

from tinygrad_norm.nn.recurrent.unrolled import column_parts
from tinygrad_norm.registry import REGISTRY

LAYERS = ["lstm", "gru"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def drawn(name, T, N, D, H, dtype="float32", scale=1.0):
    """The inputs of a layer, all of which want gradients."""
    rng, K = np.random.default_rng(0), GATES[name] * H
    states = [(N, H)] * (2 if name == "lstm" else 1)
    shapes = [(T, N, D), *states, (K, D), (K, H), (K,), (K,)]
    arrays = [(rng.normal(size=shape) * H**-0.5).astype(dtype) for shape in shapes]
    arrays[0] *= H**0.5 * scale
    return [(x, True) for x in arrays]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"lengths": [5, 0, 3, 1] * 4}])
@needs_numba
def test_steps_of_a_common_size_are_exact(name, options):
    op = REGISTRY[name]
    exact = in_mode("off", op, drawn(name, 5, 16, 24, 128, "float64"), options)
    results = in_mode("compiled", op, drawn(name, 5, 16, 24, 128), options)
    for found, right in zip(results, exact, strict=True):
        assert abs(found - right).max() <= 1e-5 * max(1, abs(right).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LAYERS)
def test_saturated_gates_and_numbers_that_are_not_finite(name, mode):
    op, given = REGISTRY[name], drawn(name, 3, 6, 4, 5, scale=1e4)
    x = given[0][0]
    x[0, 1], x[1, 2], x[2, 3], x[0, 4] = np.nan, np.inf, -np.inf, 1e30
    for found, body in zip(in_mode(mode, op, given, {}), in_mode("off", op, given, {}), strict=True):
        np.testing.assert_allclose(found, body, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(32, 128, 512), (8, 1024, 256), (64, 256, 64), (3, 5, 7), (100, 64, 64)])
def test_a_product_in_parts_is_the_product(shape):
    N, K, P = shape
    rng = np.random.default_rng(0)
    a, weight, out = rng.normal(size=(N, K)), rng.normal(size=(K, P)), np.empty((N, P))
    parts, out_parts = column_parts(weight, out)
    np.matmul(a, parts, out=out_parts)
    np.testing.assert_allclose(out, a @ weight, rtol=1e-12, atol=1e-12)
