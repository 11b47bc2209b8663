"""What kernels over rows cost, counted without a GPU: bytes, launches, registers, warps."""

import dataclasses
import shutil

import numpy as np
import pytest
from kernel_counts import count, sized
from kernel_runs import TOLERANCE, row_case, worst_error
from kernels import ITEMSIZE, KERNELS
from machine_code import accesses, disassemble, loads_in_flight, nvdisasm, resident_warps

from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda import launch, nvrtc
from tinygrad_norm.backends.cuda.signature import name_expression
from tinygrad_norm.backends.cuda.teams import BACKWARD_SHAPES, FORWARD_SHAPES, PACK, WIDE_BLOCK
from tinygrad_norm.registry import REGISTRY

SLOW = pytest.mark.slow
needs_emulator = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC: {nvrtc.REMEDY}")

NORMS = ("layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm")
QUICK = [pytest.param(name, marks=[] if name == "layer_norm" else [SLOW]) for name in NORMS]
LAUNCHES = {"forward": 1, "backward": 2}  # the second adds up the partial sums
LIMITS = {"forward": 1.1, "backward": 1.25}
WORK, MULTIPROCESSORS = 1 << 26, 132  # bytes of x on a whole H200; but at least 4096 rows


def rows(D, dtype):
    """The rows of x for the emulator's two multiprocessors."""
    return max(WORK // (D * dtype.itemsize), 4096) * 2 // MULTIPROCESSORS


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request):
    if request.param == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(request.param)


@needs_emulator
@pytest.mark.parametrize("name", QUICK)
def test_weights_and_sums_cost_no_bytes_per_row(name):
    for direction, counted in count(name, sized(name, 64, 1024), np.float32).items():
        assert counted.ratio <= LIMITS[direction]
        assert len(counted.launches) == LAUNCHES[direction]


@SLOW
@needs_emulator
@pytest.mark.parametrize("D", [64, 1024, 8192, 16384])
@pytest.mark.parametrize("name", [*NORMS, "softmax"])
def test_bytes_that_threads_ask_for(name, D, dtype):
    for direction, counted in count(name, sized(name, rows(D, dtype), D), dtype).items():
        first = counted.launches[0]
        vectors = sum(first.sizes[i] for i in first.traffic if first.sizes[i] < counted.floor // 8)
        least = counted.floor + (vectors if direction == "forward" else 0)  # mean and rstd must be written
        assert counted.asked <= LIMITS[direction] * least
        assert len(counted.launches) == (1 if name == "softmax" else LAUNCHES[direction])


# -- where weight and sums are kept


@needs_emulator
@pytest.mark.parametrize(
    ("kilobytes", "D", "shape", "used"),
    [
        (227, 8192, "4, 512, 4", 3 * 8192 * 4),
        pytest.param(163, 8192, "4, 1024, 2", 0, marks=SLOW),
        pytest.param(227, 8200, "4, 1024, 4", 3 * 8200 * 4, marks=SLOW),
        pytest.param(99, 8200, "4, 1024, 4", 3 * 8200 * 4, marks=SLOW),
        pytest.param(64, 8200, "4, 512, 0", 0, marks=SLOW),
        pytest.param(99, 12000, "4, 512, 0", 2 * 12000 * 4, marks=SLOW),
        pytest.param(163, 16384, "4, 512, 0", 2 * 16384 * 4, marks=SLOW),
        pytest.param(227, 16388, "4, 512, 0", 2 * 16388 * 4, marks=SLOW),
        pytest.param(227, 30000, "4, 512, 0", 0, marks=SLOW),
    ],
)
@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
def test_wide_rows_with_as_much_shared_memory_as_there_is(monkeypatch, kilobytes, D, shape, used, checked):
    """sm_75, sm_86 and sm_120, sm_80, sm_90; if shared memory is too small, the kernels need less of it."""
    machine_of = launch.machine_of
    limit = kilobytes * 1024
    monkeypatch.setattr(
        launch, "machine_of", lambda x: dataclasses.replace(machine_of(x), shared_memory=limit)
    )
    with emulator.schedule(checked=checked, seed=1), emulator.record() as launches:
        assert (
            worst_error(REGISTRY["layer_norm"], row_case("layer_norm", D), np.float32) <= TOLERANCE["float32"]
        )
    backward = next(one for one in launches if one.name.startswith("layer_norm_backward"))
    assert backward.name == f"layer_norm_backward<float, {shape}>"
    assert backward.shared_mem == used
    assert all(one.shared_mem <= limit for one in launches)


@needs_emulator
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    "D", [pytest.param(72, marks=SLOW), 1000, pytest.param(9000, marks=SLOW), pytest.param(20000, marks=SLOW)]
)
def test_blocks_that_go_through_several_rows(name, D):
    """More rows than teams, and not a multiple: the last round has teams without a row."""
    case = row_case(name, D)
    N = 2 * 2 * WIDE_BLOCK // 8 // max(D // 64, 1) + 7
    case = dataclasses.replace(
        case, inputs=tuple((N, D) if one == (3, D) or one == (2, D) else one for one in case.inputs)
    )
    for seed in range(2):
        with emulator.schedule(checked=seed == 1, seed=seed):
            assert worst_error(REGISTRY[name], case, np.float32) <= TOLERANCE["float32"]


# -- registers and warps


def compiled(kernel, storage, shapes):
    """The instances of a kernel that load 16 bytes at a time and keep the row: (numbers, compiled, code)."""
    vector = PACK // ITEMSIZE[storage]
    numbers = [
        (vector, team, kept)
        for team, kept in dict.fromkeys(shapes.in_packs(vector, ITEMSIZE[storage]))
        if kept
    ]
    names = [name_expression(kernel.name, storage, one) for one in numbers]
    found = nvrtc.compile(kernel.source.text(storage), names, architecture="sm_90")
    code = disassemble(found.cubin) if nvdisasm() else {}
    for one, name in zip(numbers, names, strict=True):
        yield one, found.kernels[name], code.get(found.kernels[name].symbol)


def kernels(*names):
    return [kernel for kernel in KERNELS if kernel.name in names]


WITH_VECTORS = [
    pytest.param(kernel, storage, id=f"{kernel.name}-{storage}")
    for kernel in kernels(*(f"{name}_{direction}" for name in NORMS for direction in LAUNCHES))
    for storage in ("float32", "bfloat16", "float16")
]


@SLOW
@needs_nvrtc
@pytest.mark.parametrize(("kernel", "storage"), WITH_VECTORS)
def test_32_warps_are_resident_and_a_whole_row_is_in_flight(kernel, storage):
    for (_, team, kept), found, code in compiled(kernel, storage, kernel.shapes):
        wide = kernel.name.endswith("backward")
        threads = max(team, WIDE_BLOCK if wide else 128)
        assert found.registers <= 64
        assert found.spill_bytes == 0
        assert resident_warps(found.registers, threads, found.shared_bytes) >= 32
        if code:
            arrays = 2 if wide or kernel.name.startswith("add_") else 1
            assert loads_in_flight(code).count(PACK) >= arrays * kept, accesses(code)


WITHOUT_VECTORS = [
    pytest.param(kernel, shapes, storage, id=f"{kernel.name}-{storage}")
    for names, shapes in (
        (
            ("softmax_forward", "log_softmax_forward", "cross_entropy_forward", "normalize_forward"),
            FORWARD_SHAPES,
        ),
        (("softmax_backward", "log_softmax_backward", "normalize_backward"), BACKWARD_SHAPES),
    )
    for kernel in kernels(*names)
    for storage in ("float32", "bfloat16", "float16")
]


@SLOW
@needs_nvrtc
@pytest.mark.parametrize(("kernel", "shapes", "storage"), WITHOUT_VECTORS)
def test_half_types_need_at_most_80_registers(kernel, shapes, storage):
    for (_, _, kept), found, code in compiled(kernel, storage, shapes):
        assert found.registers <= 80
        assert found.spill_bytes == 0
        if code:
            assert loads_in_flight(code).count(PACK) >= kept, accesses(code)
