"""What is asked of the machine that kernels run on."""

import dataclasses
import sys
import types

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda import launch, machine
from tinygrad_norm.backends.cuda.launch import MOST_PERSISTENT
from tinygrad_norm.backends.cuda.teams import Teams
from tinygrad_norm.normalization.sample import layernorm

SOURCE = layernorm._kernels
KERNEL = "layer_norm_backward"


@pytest.fixture
def asked(monkeypatch):
    """A machine of 5 multiprocessors, each of which runs 3 blocks; what it was asked."""
    asked = []

    def resident(function, threads, shared):
        asked.append((function.name, threads, shared))
        return 3

    with tn.use_backend("emulator"):
        x = emulator.zeros((4, 64), np.float32)
    other = dataclasses.replace(machine.machine_of(x), multiprocessors=5, resident=resident)
    monkeypatch.setattr(launch, "machine_of", lambda _: other)
    return asked, x


def test_persistent_blocks_are_those_that_run_at_a_time(asked):
    questions, x = asked
    shape = Teams(4, 128, 4)
    for _ in range(2):
        assert SOURCE.persistent_blocks(KERNEL, x, shape, 1000) == 15
        assert SOURCE.persistent_blocks(KERNEL, x, shape, 7) == 7
    assert questions == [("layer_norm_backward<float, 4, 128, 4>", 128, 0)]


def test_shared_memory_is_part_of_the_question(asked):
    questions, x = asked
    assert SOURCE.persistent_blocks(KERNEL, x, Teams(4, 256, 4), 1000, 65536) == 15
    assert questions == [("layer_norm_backward<float, 4, 256, 4>", 256, 65536)]


def test_no_more_threads_than_needed(asked):
    _, x = asked
    assert SOURCE.persistent_blocks(KERNEL, x, Teams(4, 512, 2), 1000) == 5 * MOST_PERSISTENT // 512


def test_at_least_one_block_each(asked, monkeypatch):
    _, x = asked
    none = dataclasses.replace(launch.machine_of(x), resident=lambda *_: 0)
    monkeypatch.setattr(launch, "machine_of", lambda _: none)
    assert SOURCE.persistent_blocks(KERNEL, x, Teams(4, 256, 4), 1000) == 5


def test_cupy_is_asked_for_the_occupancy_of_the_loaded_function(monkeypatch):
    def occupancy(pointer, threads, shared):
        return (pointer, threads, shared)

    cupy = types.ModuleType("cupy")
    attributes = {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 232448}
    driver = types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=occupancy)
    device = types.SimpleNamespace(attributes=attributes)
    cupy.cuda = types.SimpleNamespace(Device=lambda index: device, driver=driver)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    gpu = machine._gpu.__wrapped__(0)
    kernel = types.SimpleNamespace(kernel=types.SimpleNamespace(ptr=0xF00))
    assert gpu.resident(kernel, 128, 1024) == (0xF00, 128, 1024)
    assert (gpu.multiprocessors, gpu.shared_memory) == (132, 232448)
