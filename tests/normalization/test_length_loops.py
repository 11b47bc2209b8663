"""Loops of normalize and weight_norm: rows whose length, or 1/length, is near the limits of the dtype."""

import numpy as np
import pytest
from loop_runs import MODES, in_mode

from tinygrad_norm.registry import REGISTRY


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1e-41, 1e-38, 1e-20, 1e19, 1e37])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("weight_norm", {}),
        ("normalize", {}),
        ("normalize", {"eps": 0.0}),
        ("normalize", {"eps": 1e-40}),
        ("normalize", {"p": 1.0, "eps": 1e-40}),
        ("normalize", {"p": 1.0, "eps": 1e30}),
    ],
)
def test_extreme_rows_are_left_to_the_body(name, options, scale, mode):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5)).astype("float32")
    x[::2] *= np.float32(scale)
    x[4] = 0
    drawn = [(x, True)]
    if name == "weight_norm":
        drawn.append((rng.normal(size=(6, 1)).astype("float32"), True))
    expected = in_mode("off", REGISTRY[name], drawn, options)
    for found, right in zip(in_mode(mode, REGISTRY[name], drawn, options), expected, strict=True):
        np.testing.assert_allclose(found, right, 1e-5, 1e-6 * abs(right[1]).max())
