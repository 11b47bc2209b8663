"""The kernel of max pooling: values and positions are those of the body, for ties, NaN and every window."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.nn.pooling import maxpool
from tinygrad_norm.nn.pooling.maxpool import max_pool_forward
from tinygrad_norm.nn.pooling.pool_windows import pool_windows

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
WINDOWS = [
    ((9,), 3, 2, 1, 1, False),
    ((7, 10), 2, None, 0, 1, False),
    ((8, 9), 3, 2, 1, 2, False),
    ((7, 7), (3, 2), (2, 3), (1, 0), 1, True),
    ((5, 6, 4), 2, 1, 1, 1, False),
]


def both(space, kernel, stride, padding, dilation, ceil_mode, dtype=np.float32, checked=False):
    """Of small integers, so that many are equal, with some NaN and infinities."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, 3, *space)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.3] = -np.inf
    windows = pool_windows(space, kernel, stride, padding, dilation, ceil_mode, "max_pool")
    expected = max_pool_forward.numpy_version(x, windows)
    with tn.use_backend("emulator"), emulator.schedule(checked=checked), emulator.record() as launches:
        found = [to_numpy(a) for a in max_pool_forward(emulator.asarray(x), windows)]
    assert len(launches) == 1
    return found, expected


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_values_and_positions_are_those_of_the_body(options):
    for dtype, checked in ((np.float32, False), (np.float32, True), (np.float16, False)):
        for a, b in zip(*both(*options, dtype, checked), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("old", "new"),
    [("value > largest", "value >= largest"), ("(step - 1 - begin) / step", "-begin / step")],
    ids=["the last of equals", "a window that begins outside"],
)
def test_planted_errors_are_seen(old, new, tmp_path, monkeypatch):
    source = CudaSource(maxpool.__file__)
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / source.path.name
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    monkeypatch.setattr(maxpool, "_kernels", source)
    found, expected = both(*WINDOWS[2])
    assert not np.array_equal(found[1], expected[1])
