"""Planted bugs: each raises an exception that says what happened, in which thread and where."""

from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import KernelError, asarray, empty, schedule, zeros

f4, i4 = np.float32, np.int32
SOURCE = (Path(__file__).parent / "bugs.cu").read_text().split("\n")


def line(text, after):
    """The number of the line with `text` that follows the one with `after`."""
    start = next(i for i, row in enumerate(SOURCE) if f" {after}(" in row)
    return next(i + 1 for i in range(start, len(SOURCE)) if text in SOURCE[i])


def launch(module, name, *args, grid=1, block=32, shared_mem=0, **settings):
    with schedule(**settings):
        module.get_function(name)((grid,), (block,), args, shared_mem=shared_mem)


def failure(*args, **settings):
    with pytest.raises(KernelError) as caught:
        launch(*args, **settings)
    return str(caught.value)


def floats(n=64):
    return asarray(np.arange(n, dtype=f4))


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestRaces:
    def check(self, bugs, seed, name, x, y, first, second, advice, **shape):
        message = failure(bugs, name, *x, y, checked=True, seed=seed, **shape)
        assert message.startswith(f"{name}: race on ")
        places = {f"{verb} at kernel.cu:{line(text, name)}" for verb, text in (first, second)}
        assert all(place in message for place in places), message
        assert message.count("thread (") == 2
        assert message.count(" of block (") == 2
        assert advice in message
        return message

    def test_missing_barrier(self, bugs, seed):
        message = self.check(
            bugs,
            seed,
            "missing_barrier",
            [floats()],
            floats(),
            ("writes", "kept[threadIdx.x] ="),
            ("reads", "y[threadIdx.x] ="),
            "add __syncthreads()",
            block=64,
        )
        assert "__shared__ kept" in message

    def test_missing_barrier_before_reuse(self, bugs, seed):
        self.check(
            bugs,
            seed,
            "missing_barrier_before_reuse",
            [floats()],
            floats(),
            ("writes", "kept[threadIdx.x] ="),
            ("reads", "y[threadIdx.x] ="),
            "add __syncthreads()",
            block=64,
        )

    @pytest.mark.parametrize("name", ["missing_syncwarp", "shuffle_is_no_barrier", "syncwarp_of_other_lanes"])
    def test_missing_syncwarp(self, bugs, seed, name):
        self.check(
            bugs,
            seed,
            name,
            [floats()],
            floats(),
            ("writes", "kept[threadIdx.x] ="),
            ("reads", "y[threadIdx.x] ="),
            "add __syncthreads(), or __syncwarp() if only lanes of one warp exchange values here",
        )

    def test_many_readers_one_writer(self, bugs, seed):
        self.check(
            bugs,
            seed,
            "many_readers_one_writer",
            [],
            floats(),
            ("writes", "kept = 2"),
            ("reads", "y[threadIdx.x] = kept"),
            "add __sync",
            block=64,
        )

    def test_two_blocks_write_one_address(self, bugs, seed):
        message = self.check(
            bugs,
            seed,
            "blocks_write_one_address",
            [floats()],
            floats(),
            ("writes", "y[0] ="),
            ("writes", "y[0] ="),
            "not ordered",
            grid=3,
        )
        assert "argument 1 (y), byte 0" in message

    def test_blocks_read_what_one_writes(self, bugs, seed):
        self.check(
            bugs,
            seed,
            "blocks_read_what_one_writes",
            [],
            floats(),
            ("writes", "y[blockIdx.x] ="),
            ("reads", "y[blockIdx.x] ="),
            "not ordered",
            grid=3,
        )


class TestBadAccesses:
    def test_shared_index_off_by_one(self, bugs):
        message = failure(bugs, "shared_index_off_by_one", floats(), block=64, checked=True)
        assert "index 64 out of the bounds of 'float [64]'" in message
        assert "thread (63, 0, 0) of block (0, 0, 0)" in message
        assert f"kernel.cu:{line('kept[threadIdx.x + 1]', 'shared_index_off_by_one')}" in message

    def test_shared_pointer_off_by_one(self, bugs):
        message = failure(bugs, "shared_pointer_off_by_one", floats(), block=64, checked=True)
        assert "writes 4 bytes, the last of them 4 bytes past the end of __shared__ kept" in message
        assert f"kernel.cu:{line('kept[i] = 1', 'put')}" in message

    def test_dynamic_shared_memory_too_small(self, bugs):
        arguments = bugs, "dynamic_shared_too_small", floats()
        message = failure(*arguments, block=64, shared_mem=252, checked=True)
        assert "thread (63, 0, 0)" in message
        assert "past the end of dynamic shared memory, which has 252 bytes" in message
        assert "dynamic shared memory" in failure(*arguments, block=64, shared_mem=252)
        launch(*arguments, block=64, shared_mem=256, checked=True)

    def test_global_off_by_one(self, bugs):
        message = failure(bugs, "global_off_by_one", floats(32), floats(32), checked=True)
        assert "thread (31, 0, 0) of block (0, 0, 0) writes 4 bytes" in message
        assert "4 bytes past the end of argument 1 (y), which has 128 bytes" in message

    def test_guard_zones_show_it_in_plain_mode(self, bugs):
        y = floats(32)
        assert "wrote outside argument 1 (y)" in failure(bugs, "global_off_by_one", floats(32), y)
        launch(bugs, "blocks_write_one_address", floats(), y)

    def test_a_view_ends_where_it_ends(self, bugs):
        y = floats(64)
        message = failure(bugs, "global_off_by_one", floats(32), y[:32], checked=True)
        assert "past the end of argument 1 (y)" in message

    def test_read_before_the_start(self, bugs):
        message = failure(bugs, "read_before_the_start", floats(), floats(), checked=True)
        assert "reads 4 bytes, 4 bytes before the start of argument 0 (x)" in message

    @pytest.mark.parametrize(
        ("checked", "words"), [(False, "memory that does not exist"), (True, "far from every")]
    )
    def test_far_away(self, bugs, checked, words):
        message = failure(bugs, "far_away", floats(), checked=checked)
        assert words in message
        assert f"kernel.cu:{line('1ll << 40', 'far_away')}" in message

    @pytest.mark.parametrize("checked", [False, True])
    def test_null_pointer(self, bugs, checked):
        message = failure(bugs, "null_pointer", np.uint64(0), floats(), checked=checked)
        assert "at address 0x0" in message
        assert f"kernel.cu:{line('y[threadIdx.x] = x', 'null_pointer')}" in message

    def test_misaligned_vector(self, bugs):
        message = failure(bugs, "misaligned_vector", floats(), floats(), block=2, checked=True)
        assert "accesses 16 bytes" in message
        assert f"kernel.cu:{line('float4 v', 'misaligned_vector')}" in message

    def test_write_through_const(self, bugs):
        message = failure(bugs, "write_through_const", floats(), floats(), checked=True)
        assert "writes to argument 0 (x), which the kernel declares const" in message


class TestWarps:
    def test_wrong_reduction_width(self, bugs, mode):
        y = empty(32, f4)
        launch(bugs, "wrong_reduction_width", floats(), y)
        assert not np.any(np.asarray(y) == np.arange(32).sum())

    def test_width_no_power_of_two(self, bugs, mode):
        assert "width 24 is not a power of two" in failure(bugs, "width_no_power_of_two", floats(), floats())

    def test_divergent_barrier(self, bugs, mode):
        message = failure(bugs, "divergent_barrier", floats())
        barrier = line("__syncthreads", "divergent_barrier")
        assert "divergent barrier: thread (0, 0, 0) of block (0, 0, 0) waits in __syncthreads" in message
        assert f"kernel.cu:{barrier}, but thread (16, 0, 0)" in message
        assert f"kernel.cu:{barrier + 3}" in message

    def test_barrier_against_shuffle(self, bugs, mode):
        message = failure(bugs, "barrier_against_shuffle", floats(), block=64)
        assert "deadlock: thread (0, 0, 0) of block (0, 0, 0) waits in __syncthreads" in message
        assert "thread (32, 0, 0) of block (0, 0, 0) waits in __shfl_xor_sync with mask 0xffffffff" in message

    def test_lanes_in_two_intrinsics(self, bugs, mode):
        message = failure(bugs, "lanes_in_two_intrinsics", floats())
        assert "lanes of one warp diverge" in message
        assert "waits in __syncwarp" in message
        assert "waits in __shfl_xor_sync" in message

    @pytest.mark.parametrize("seed", [0, 1])
    def test_exited_lane(self, bugs, mode, seed):
        message = failure(bugs, "exited_lane", floats(), seed=seed)
        assert "waits in __shfl_xor_sync with mask 0xffffffff" in message
        assert "of its warp has returned or does not exist" in message

    def test_a_lane_that_never_was(self, bugs, mode):
        assert "lane 20 of its warp" in failure(bugs, "exited_lane", floats(), block=20)

    def test_caller_outside_mask(self, bugs, mode):
        assert "does not include the calling lane" in failure(bugs, "caller_outside_mask", floats(), seed=0)

    def test_source_outside_mask(self, bugs, mode):
        # __shfl_sync takes its lane modulo the width: lane 16 of 32 exists, but is outside the mask.
        message = failure(bugs, "source_outside_mask", floats())
        assert "reads lane 16, which is not in the mask" in message


class TestEndings:
    @pytest.mark.parametrize("name", ["endless_loop", "endless_barriers"])
    def test_endless(self, bugs, mode, name):
        message = failure(bugs, name, zeros(32, i4), timeout=0.1)
        assert "still running after 0.1 s" in message
        assert f"kernel.cu:{line('while', name)}" in message

    def test_endless_wherever_it_is_interrupted(self, bugs):
        # Two of a hundred interruptions fall between the kernel and the runtime, in code without lines.
        for _ in range(150):
            message = failure(bugs, "endless_loop", zeros(32, i4), timeout=0.001, checked=True)
            assert f"kernel.cu:{line('while', 'endless_loop')}" in message

    def test_deep_recursion(self, bugs, mode):
        assert "more than 64 KiB of stack" in failure(bugs, "deep_recursion", zeros(4, i4))

    def test_failed_assertion(self, bugs, mode):
        message = failure(bugs, "failed_assertion", zeros(32, i4))
        assert "stops in assert(y[threadIdx.x] < 0) at kernel.cu:" in message

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("signed_overflow", "a signed multiplication that overflows"),
            ("division_by_zero", "an integer division by zero"),
            ("shift_too_far", "a shift by a negative or too large count"),
        ],
    )
    def test_undefined_arithmetic(self, bugs, name, words):
        y = asarray(np.array([2**20, 0], i4))
        message = failure(bugs, name, y, block=1, checked=True)
        assert f"thread (0, 0, 0) of block (0, 0, 0) does {words} at kernel.cu:" in message
