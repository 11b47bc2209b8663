"""Arguments of launches are recognized quickly, and nothing passes that the full check would not accept."""

import math
import sys
import types
from collections import Counter

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda import launch, machine
from tinygrad_norm.backends.cuda.binding import NULL, Binding, is_contiguous
from tinygrad_norm.backends.cuda.signature import Parameter
from tinygrad_norm.normalization.sample import layernorm

FLOAT32 = np.dtype(np.float32)
X, SIZE = Parameter("x", "float32", True, True), Parameter("N", "int64", False, False)
RATE, SCALE = Parameter("rate", "float32", False, False), Parameter("scale", "float64", False, False)
FLAG = Parameter("keep", "bool", False, False)


def bound(parameter, value):
    return Binding("kernel", [parameter], FLOAT32)((value,), np.ndarray)[0]


def bits(value):
    return type(value), value.tobytes()


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e-5, -1.5, math.inf, -math.inf, math.nan, 1e-45, 3.4028234e38, 7]
)
@pytest.mark.parametrize("parameter", [RATE, SCALE], ids=lambda one: one.dtype)
def test_floats_have_the_bits_that_numpy_gives_them(parameter, value):
    expected = bits(np.dtype(parameter.dtype).type(value))
    binding = Binding("kernel", [parameter], FLOAT32)
    for before in (0.0, -0.0, value):
        binding((before,), np.ndarray)
        assert bits(binding((value,), np.ndarray)[0]) == expected


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), np.int32(5), np.uint8(5)])
def test_integers(value):
    assert bits(bound(SIZE, value)) == bits(np.int64(value))


@pytest.mark.parametrize("value", [True, False, np.True_])
def test_flags(value):
    assert bits(bound(FLAG, value)) == bits(np.bool_(value))


@pytest.mark.parametrize(
    ("parameter", "wrong"),
    [
        (SIZE, True),
        (SIZE, 1.0),
        (RATE, True),
        (RATE, "1"),
        (FLAG, 1),
        (FLAG, 0.0),
        (SIZE, None),
        (RATE, [1.0]),
    ],
)
def test_numbers_of_another_type(parameter, wrong):
    """Also after an equal number of the right type was received."""
    binding = Binding("kernel", [parameter], FLOAT32)
    for right in {SIZE: (1, 0), RATE: (1.0, 0.0), FLAG: (True, False)}[parameter]:
        binding((right,), np.ndarray)
    for _ in range(2):
        with pytest.raises(TypeError, match=f"argument {parameter.name}: received .*, expected a number"):
            binding((wrong,), np.ndarray)


@pytest.mark.parametrize(
    ("parameter", "wrong"), [(SIZE, 2**63), (SIZE, -(2**63) - 1), (RATE, 1e39), (RATE, 10**39)]
)
def test_numbers_that_do_not_fit(parameter, wrong):
    binding = Binding("kernel", [parameter], FLOAT32)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"argument {parameter.name}: .* cannot hold"):
            binding((wrong,), np.ndarray)


def test_arrays():
    class Owned(np.ndarray):
        pass

    x = np.zeros((2, 3), np.float32)
    assert bound(X, x) is x
    assert bound(X, None) is NULL
    assert bound(X, owned := x.view(Owned)) is owned
    equal = np.dtype(np.float32, metadata={"unit": "m"})
    assert bound(X, other := np.zeros(3, equal)) is other  # the same type, but another object
    for wrong in (np.zeros(3), np.zeros(3, ">f4"), np.zeros(3, np.int32)):
        with pytest.raises(TypeError, match=f"argument x: received an array of {wrong.dtype}"):
            bound(X, wrong)
    with pytest.raises(ValueError, match="ascontiguousarray"):
        bound(X, x.T)


def test_contiguous_as_cupy_says():
    assert is_contiguous(types.SimpleNamespace(_c_contiguous=True))
    assert not is_contiguous(types.SimpleNamespace(_c_contiguous=False))
    assert is_contiguous(np.zeros((2, 3)))
    assert not is_contiguous(np.zeros((2, 3)).T)


# -- launches


class Function:
    """A kernel that does nothing but count."""

    def __init__(self):
        self.launches, self.asked = [], []

    def __call__(self, grid, block, args, *, shared_mem):
        self.launches.append((grid, block, args, shared_mem))

    @property
    def max_dynamic_shared_size_bytes(self):
        return self.asked[-1]

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self.asked.append(size)


@pytest.fixture
def stub(monkeypatch):
    """A machine on which every kernel is the same function, and a source without instances."""
    function, loaded = Function(), []

    def load(text, expression):
        loaded.append(expression)
        return function

    with tn.use_backend("emulator"):
        pass
    here = machine.Machine(load, lambda x: 0, 2, lambda *_: 8, 200_000)
    monkeypatch.setattr(launch, "machine_of", lambda x: here)
    source = launch.CudaSource(layernorm.__file__)
    return source, function, loaded


def launched(source, threads=256, blocks=1, shared=0, storage=FLOAT32, numbers=()):
    x, sums = emulator.zeros((2, 3), np.float32), emulator.zeros(3, np.float32)
    source.launch("column_sums", storage, numbers, blocks, threads, (x, sums, 2, 3), shared)


def test_an_instance_is_loaded_once(stub):
    source, function, loaded = stub
    for storage in (FLOAT32, np.dtype("float32"), np.float32, "float32"):
        launched(source, storage=storage)
        launched(source, storage=storage, numbers=[])
    assert loaded == ["column_sums<float>"]
    assert len(function.launches) == 8


def test_sizes_are_python_integers(stub):
    source, function, _ = stub
    launched(source, np.int64(256), np.int32(2), np.uint16(64))
    (grid, block, _, shared) = function.launches[0]
    assert (grid, block, shared) == ((2,), (256,), 64)
    assert {type(size) for size in (*grid, *block, shared)} == {int}


def test_shared_memory_is_asked_for_only_when_it_grows(stub):
    source, function, _ = stub
    for size in (0, 48 * 1024, 60_000, 50_000, 60_000, 70_000, 0):
        launched(source, shared=size)
    assert function.asked == [60_000, 70_000]


def test_a_launch_is_short(stub):
    """Counted in calls, because times depend on the machine: no text is read, no dtype named."""
    source, function, _ = stub
    x, y = (emulator.zeros((4, 64), np.float32) for _ in range(2))
    weight, mean = emulator.zeros(64, np.float32), emulator.zeros((4, 1), np.float64)
    args = x, weight, None, y, mean, emulator.zeros((4, 1), np.float32), 4, 64, 1 / 64, 1e-5, False
    calls = Counter()

    def once():
        source.launch("layer_norm_forward", x.dtype, (4, 32, 4), 1, 128, args)

    once()
    sys.setprofile(lambda frame, event, arg: calls.update([event]))
    try:
        once()
    finally:
        sys.setprofile(None)
    assert len(function.launches) == 2
    assert calls["call"] <= 14
    assert calls["c_call"] <= 26
