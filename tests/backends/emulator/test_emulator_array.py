"""EmulatorArray: keeps its type in NumPy's functions, and has guard zones."""

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import EmulatorArray, asarray, asnumpy, empty, namespace, zeros
from tinygrad_norm.backends.emulator.array import GUARD, damaged


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1,
        lambda x: np.ones((3, 4)) * x,
        lambda x: x > 0,
        lambda x: x.sum(),
        lambda x: x.mean(1),
        lambda x: x.var(axis=(0, 1)),
        lambda x: x[1:, ::2],
        lambda x: x[0],
        lambda x: x[0, 0],
        lambda x: x[x > 0],
        lambda x: x.T,
        lambda x: x.reshape(2, 6),
        lambda x: x.argmax(),
        lambda x: x[0].argmin(0),
        lambda x: x[0].dot(x[1]),
        lambda x: x.take(3),
        lambda x: x.nonzero()[1],
        lambda x: x.argsort(1),
        lambda x: x.max(),
        lambda x: x.cumsum(0),
        lambda x: x.any(),
        lambda x: x.astype("f2"),
        lambda x: x.copy(),
        lambda x: x @ x.T,
        lambda x: np.exp(x),
        lambda x: np.where(x > 0, x, 0),
        lambda x: np.concatenate([x, x]),
        lambda x: np.split(x, 2, axis=1)[1],
        lambda x: np.einsum("ij->j", x),
        lambda x: np.pad(x, 1),
        lambda x: np.broadcast_to(x, (2, 3, 4)),
        lambda x: namespace.zeros_like(x),
        lambda x: namespace.empty_like(x, dtype="f4"),
        lambda x: namespace.empty_like(x, shape=(2,)),
        lambda x: namespace.zeros_like(x, shape=5),
        lambda x: namespace.lib.stride_tricks.as_strided(x, (2, 2), (8, 8)),
        lambda x: namespace.full_like(x, 3),
        lambda x: namespace.arange(3),
        lambda x: namespace.array([1.0, 2.0]),
        lambda x: namespace.ones((2, 2)),
        lambda x: namespace.maximum(x, 0),
    ],
)
def test_what_comes_of_an_emulator_array_is_one(function):
    x = np.random.default_rng(0).normal(size=(3, 4))
    result = function(asarray(x))
    assert type(result) is EmulatorArray
    assert type(asnumpy(result)) is np.ndarray


def test_values_are_numpys():
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert asarray(x).sum() == x.sum()
    assert np.array_equal(asarray(x)[1], x[1])
    assert float(asarray(x)[1, 2]) == x[1, 2]


def test_asarray_copies_only_what_is_not_there():
    x = asarray([1, 2, 3])
    assert asarray(x) is x
    assert asarray(x, dtype=x.dtype) is x
    y = asarray(x, "f4")
    assert y.dtype == "f4"
    assert not np.shares_memory(x, y)
    copy = asnumpy(x)
    copy[0] = 9
    assert x[0] == 1


def test_ascontiguousarray():
    x = asarray(np.arange(6).reshape(2, 3))
    assert namespace.ascontiguousarray(x) is x
    turned = namespace.ascontiguousarray(x.T)
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, x.T)


@pytest.mark.parametrize("shape", [(), 5, (3, 4), (0, 4)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "?"])
def test_new_memory_is_aligned_and_poisoned(shape, dtype):
    x = empty(shape, dtype)
    assert x.shape == np.empty(shape).shape
    assert x.flags.c_contiguous
    assert x.ctypes.data % 256 == 0
    if x.dtype.kind == "f":
        assert np.isnan(x).all()
    assert not zeros(shape, dtype).any()


@pytest.mark.parametrize("offset", [-GUARD, -1, 24, 24 + GUARD - 1])
def test_a_damaged_guard_zone_is_reported_once(offset):
    x, y = zeros(6, "f4"), zeros(6, "f4")
    assert damaged([x, y]) is None
    memory = y.base
    memory[memory.start + offset] = 0
    assert damaged([x, y[2:4], np.zeros(3)]) == 1
    assert damaged([x, y]) is None


@pytest.mark.parametrize("make", [lambda: empty(3, object), lambda: asarray(np.array([None, 2]))])
def test_there_are_no_arrays_of_objects(make):
    with pytest.raises(TypeError, match="arrays of dtype object do not exist on a GPU"):
        make()
