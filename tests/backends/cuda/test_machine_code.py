"""What is read in machine code, and the counts of a call: the figures of tests/support/kernel_figures.py."""

import shutil

import numpy as np
import pytest
from kernel_counts import count, sized
from machine_code import accesses, disassemble, loads_in_flight, nvdisasm, resident_warps

from tinygrad_norm.backends.cuda import nvrtc


def code(*lines):
    return [("", *line.split(" ", 1)) for line in lines]


ALL_FIRST = code(
    "LDG.E.128.CONSTANT R4, desc[UR6][R2.64]",
    "LDG.E.128.CONSTANT R8, desc[UR6][R2.64+0x1000]",
    "FADD R12, R4, R5",
    "FADD R13, R8, R9",
    "STG.E.128 desc[UR6][R16.64], R12",
)


def test_loads_that_are_issued_before_the_first_use():
    assert loads_in_flight(ALL_FIRST) == [16, 16]
    assert accesses(ALL_FIRST) == "L128×2 S128"


def test_a_use_ends_the_wait_for_all_loads_before_it():
    one_by_one = [ALL_FIRST[k] for k in (0, 2, 1, 3, 4)]
    assert loads_in_flight(one_by_one) == [16]
    assert accesses(one_by_one) == "L128×2 S128"
    assert loads_in_flight(code("LDG.E.U16 R4, desc[UR6][R2.64]", "MOV R1, R11", "FADD R2, R4, R4")) == [2]
    halves = code("LDG.E.64 R4, [R2.64]", "FADD R1, R5, R5", "LDG.E R6, [R2.64]", "FADD R1, R6, R6")
    assert loads_in_flight(halves) == [8]  # the second half of a wide load counts as its result


def test_what_follows_a_jump_is_not_what_came_before():
    lines = code("LDG.E R4, [R2.64]", "BRA `(.L_1)", "LDG.E R5, [R2.64]", "EXIT ")
    assert loads_in_flight(lines) == [4]


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "warps"),
    [(32, 256, 0, 64), (168, 256, 0, 8), (94, 128, 0, 20), (32, 512, 100_000, 32), (33, 32, 0, 32)],
)
def test_resident_warps(registers, threads, shared, warps):
    """By the CUDA occupancy calculator for compute capability 9.0."""
    assert resident_warps(registers, threads, shared) == warps


@pytest.mark.skipif(not (nvdisasm() and nvrtc.available()), reason="needs nvdisasm (triton has it) and NVRTC")
def test_machine_code_of_a_kernel():
    text = 'extern "C" __global__ void f(const float4* __restrict__ x, float4* y) { y[1] = x[threadIdx.x]; }'
    compiled = nvrtc.compile(text, architecture="sm_90")
    assert accesses(disassemble(compiled.cubin)["f"]) == "L128 S128"


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
def test_weights_and_statistics_count_once():
    counted = count("normalize", sized("normalize", 64, 64), np.float32)["forward"]
    x = 64 * 64 * 4
    assert counted.floor == 2 * x
    assert counted.moved == 2 * x + 64 * 4  # rnorm
    layer_norm = count("layer_norm", sized("layer_norm", 64, 64), np.float32)["forward"]
    assert layer_norm.asked - layer_norm.moved >= 2 * 63 * 64 * 4  # weight and bias, by all rows but one
