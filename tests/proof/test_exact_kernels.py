"""The kernels' algebra: array functions and their kernels give the same numbers of the field."""

import functools
import random
import shutil

import kernels as registered
import pytest

from tinygrad_norm.backends import KERNELS
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.proof.covered import BY_CALLS, BY_OPS, NOT_EXACT, NOT_LAUNCHED, PARTLY
from tinygrad_norm.proof.errors import NoRoot, NotExact
from tinygrad_norm.proof.kernels import Compared, compare_call, compare_on_case
from tinygrad_norm.registry import REGISTRY

SLOW = pytest.mark.slow
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)


def test_every_function_with_kernels_is_compared_or_has_a_reason():
    tables = [*BY_OPS, *BY_CALLS, *NOT_EXACT]
    assert sorted(tables) == sorted(name for name, kernel in KERNELS.items() if "cuda" in kernel.versions)
    assert set(BY_OPS.values()) <= set(REGISTRY)


@functools.cache
def comparison(op):
    """What comparing the versions on an op's cases gave, and the kernels that were launched."""
    found, launched = Compared(), set()
    with pytest.MonkeyPatch.context() as patch:
        spy_on_launches(patch, launched)
        if op in BY_CALLS:
            add(found, *(compare_call(op, call, random.Random(1)) for call in BY_CALLS[op]))
        else:
            for case in REGISTRY[op].cases:
                try:
                    add(found, compare_on_case(REGISTRY[op], case, random.Random(1)))
                except (NotExact, NoRoot):
                    continue  # a case of other functions
    return found, launched


def spy_on_launches(patch, launched):
    launch = CudaSource.launch

    def noted(self, kernel, *args, **options):
        launch(self, kernel, *args, **options)
        launched.add(kernel)

    patch.setattr(CudaSource, "launch", noted)


def add(total, *others):
    for other in others:
        for name, count in other.equal.items():
            total.equal[name] = total.equal.get(name, 0) + count
        total.different |= other.different
        total.refused |= other.refused


@needs_compiler
@pytest.mark.parametrize(
    "op",
    [
        pytest.param(op, marks=[] if op in ("softmax_backward", "move_statistics") else [SLOW])
        for op in [*dict.fromkeys(BY_OPS.values()), *BY_CALLS]
    ],
)
def test_kernels_give_what_bodies_give(op):
    found, launched = comparison(op)
    assert found.different == {}
    assert {name for name, by in BY_OPS.items() if by == op} | ({op} & {*BY_CALLS}) <= set(found.equal)
    assert set(found.refused) <= {*PARTLY, *NOT_EXACT}
    assert launched


@needs_compiler
@pytest.mark.parametrize("name", ["layer_norm", "group_rms_norm"])
def test_a_norm_at_a_point(name):
    found = compare_on_case(REGISTRY[name], REGISTRY[name].cases[0], random.Random(0))
    assert {f"{name}_forward": 1, f"{name}_backward": 1}.items() <= found.equal.items()
    assert not found.different
    assert not found.refused


@SLOW
@needs_compiler
def test_every_kernel_is_launched_or_has_a_reason():
    launched = set().union(*(comparison(op)[1] for op in [*dict.fromkeys(BY_OPS.values()), *BY_CALLS]))
    names = {kernel.name for kernel in registered.KERNELS}
    assert names - launched <= {*NOT_EXACT, *NOT_LAUNCHED}
    assert not launched & {*NOT_LAUNCHED}
