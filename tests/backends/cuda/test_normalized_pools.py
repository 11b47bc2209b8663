"""What kernels over pools cost, counted without a GPU: bytes, launches, registers, warps, loads in flight."""

import math
import shutil

import numpy as np
import pytest
from kernel_counts import SHARED_MEMORY, count, sized
from kernels import ITEMSIZE, KERNELS
from machine_code import accesses, disassemble, loads_in_flight, nvdisasm, resident_warps

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda import nvrtc
from tinygrad_norm.backends.cuda.signature import name_expression
from tinygrad_norm.backends.cuda.teams import PACK, SMALLEST_BLOCK

SLOW = pytest.mark.slow
needs_emulator = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC: {nvrtc.REMEDY}")

LIMITS = {"forward": 1.1, "backward": 1.25}
LAUNCHES = {
    "batch_norm": {"forward": 3, "backward": 3},
    "batch_norm_eval": {"forward": 1, "backward": 2},
    "group_norm": {"forward": 1, "backward": 2},
    "instance_norm": {"forward": 1, "backward": 2},
}
# Positions of a sample: none (batch norm only), few, an odd number of them, and as many as images have.
POOLS = [(2048, 256), (64, 64, 4, 4), (16, 64, 7, 7), (4, 128, 28, 28), (1, 64, 112, 112), (1, 32, 224, 224)]
# Instance norm of 16 values writes almost as many bytes of statistics.
SMALLEST = {"batch_norm": 1, "batch_norm_eval": 1, "group_norm": 16, "instance_norm": 49}


def cases():
    for name in LAUNCHES:
        for shape in POOLS:
            if math.prod(shape[2:]) >= SMALLEST[name]:
                quick = shape == (16, 64, 7, 7)
                yield pytest.param(name, shape, id=f"{name}-{shape}", marks=[] if quick else [SLOW])


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request):
    if request.param == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(request.param)


@needs_emulator
@pytest.mark.parametrize(("name", "shape"), list(cases()))
def test_bytes_against_the_floor(name, shape, dtype):
    for direction, counted in count(name, sized(name, *shape), dtype).items():
        assert counted.ratio <= LIMITS[direction]
        assert len(counted.launches) == LAUNCHES[name][direction]


@needs_emulator
def test_a_floor_of_pools_that_shared_memory_holds_once_or_twice():
    """Forward keeps x there, backward x and dy. If forward cannot, it reads x for two sums, and for y."""
    for positions, passes, most in ((28_000, (2, 3), 1.1), (56_000, (2, 5), 1.1), (60_000, (3, 5), 1.34)):
        counted = count("instance_norm", sized("instance_norm", 1, 2, positions, 1), np.float32)
        assert [one.floor for one in counted.values()] == [n * 2 * positions * 4 for n in passes]
        assert max(one.ratio for one in counted.values()) <= most
        assert all(launch.shared_mem <= SHARED_MEMORY for one in counted.values() for launch in one.launches)


# -- running statistics


@needs_emulator
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize("C", [3, 300])
def test_running_statistics_move_in_one_launch(C, checked):
    x = np.random.default_rng(0).normal(2, 3, size=(8, C)).astype(np.float32)

    def after_two_steps():
        layer = tn.nn.BatchNorm1d(C)
        for _ in range(2):
            layer(tn.tensor(x))
        return [to_numpy(one.array) for one in (layer.running_mean, layer.running_var)]

    expected = after_two_steps()
    with (
        tn.use_backend("emulator"),
        emulator.schedule(checked=checked, seed=1),
        emulator.record() as launches,
    ):
        found = after_two_steps()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert [one.name for one in launches].count("move_statistics<float>") == 2
    assert len(launches) == 2 * (LAUNCHES["batch_norm"]["forward"] + 1)


# -- registers, warps and loads

STREAMING = ("fixed_norm_forward", "strip_sums", "batch_norm_backward")
POOLED = ("group_norm_forward", "group_norm_backward", "instance_norm_forward", "instance_norm_backward")


def compiled(name, storage):
    """The instances of a kernel that load 16 bytes at once: (numbers, compiled, code)."""
    kernel = next(kernel for kernel in KERNELS if kernel.name == name)
    numbers = [one for one in kernel.numbers(storage) if one[0] * ITEMSIZE[storage] == PACK]
    names = [name_expression(name, storage, one) for one in numbers]
    found = nvrtc.compile(kernel.source.text(storage), names, architecture="sm_90")
    code = disassemble(found.cubin) if nvdisasm() else {}
    for one, expression in zip(numbers, names, strict=True):
        yield one, found.kernels[expression], code.get(found.kernels[expression].symbol)


def kilobytes_in_flight(found, threads, code):
    return (
        sum(loads_in_flight(code)) * 32 * resident_warps(found.registers, threads, found.shared_bytes) / 1024
    )


@SLOW
@needs_nvrtc
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", POOLED)
def test_pools_leave_room_for_32_warps(name, storage):
    for (_, team, *_), found, _ in compiled(name, storage):
        assert found.registers <= 64
        assert found.spill_bytes == 0
        assert resident_warps(found.registers, max(team, SMALLEST_BLOCK), found.shared_bytes) >= 32


@needs_nvrtc
@pytest.mark.skipif(not nvdisasm(), reason="needs nvdisasm, which the wheel triton has")
@pytest.mark.parametrize("name", STREAMING)
def test_packs_of_a_strip_are_loaded_before_the_first_use(name):
    check_loads(name, "float32")


def check_loads(name, storage):
    for (_, team, kept), found, code in compiled(name, storage):
        arrays = 1 if name == "fixed_norm_forward" else 2
        if storage != "float64":
            assert loads_in_flight(code).count(PACK) >= arrays * min(kept, 8 // arrays), accesses(code)
        assert kilobytes_in_flight(found, max(team, SMALLEST_BLOCK), code) >= 64
        of_sums = max(ITEMSIZE[storage], 4)
        assert found.accesses("st").keys() <= {PACK, of_sums}, "a pack is stored in parts"
        assert found.spill_bytes == 0


@SLOW
@needs_nvrtc
@pytest.mark.skipif(not nvdisasm(), reason="needs nvdisasm, which the wheel triton has")
@pytest.mark.parametrize("storage", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", STREAMING)
def test_packs_of_a_strip_in_other_types(name, storage):
    check_loads(name, storage)
