"""Random programs have PyTorch's values, gradients and errors; and the search for differences finds faults.

python3 -m pytest -n 0 tests/reliability/test_random_programs.py --times 100000
"""

import random
import time
from collections import Counter

import numpy
import pytest
from program_machine import Finding
from program_registered import REGISTERED
from random_programs import search

from tinygrad_norm.autograd import sweep
from tinygrad_norm.ops.arithmetic import Mul
from tinygrad_norm.ops.indexing import Index
from tinygrad_norm.ops.joining import Split
from tinygrad_norm.registry import REGISTRY

BATCH = 1000


def test_random_programs(torch, times, capsys):
    if times is None:
        ends = search(torch, 150)
        assert ends["compared"] > 75
        return
    ends, start, base = Counter(), time.perf_counter(), random.randrange(10**6)
    for done in range(0, times, BATCH):
        seed = base + done
        with capsys.disabled():
            each = (time.perf_counter() - start) / max(done, 1)
            print(
                f"\n{done} of {times} programs, {each * 1e3:.1f} ms each, seed {seed}: {dict(ends)}", end=""
            )
        ends += search(torch, min(BATCH, times - done), seed)
    with capsys.disabled():
        print(f"\n{times} programs: {dict(ends)}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_more_random_programs(torch, seed):
    search(torch, 500, seed)


def test_every_registered_op_that_pytorch_has_is_in_the_programs():
    missing = {op.name for op in REGISTRY.values() if op.torch} - {op.name for op, _ in REGISTERED}
    assert missing == {"index_put"}  # its options are arrays


# -- planted faults


def first_of_broadcast(dy, shape):
    """The first of the entries that should be summed."""
    added = dy.ndim - len(shape)
    return dy[(0,) * added][tuple(slice(0, n) for n in shape)]


def mul_without_its_sum(self, dy):
    a, b = self.saved
    first, second = self.needs
    shapes = [getattr(x.array, "shape", ()) if hasattr(x, "array") else () for x in self.inputs]
    da = first_of_broadcast(dy * b, shapes[0]) if first else None
    return da, first_of_broadcast(dy * a, shapes[1]) if second else None


def mul_of_another_shape(self, dy):
    a, b = self.saved
    return dy * b if self.needs[0] else None, dy * a if self.needs[1] else None


def index_that_overwrites(self, dy):
    shape, key = self.saved
    dx = numpy.zeros(shape, dy.dtype)
    dx[key] = dy
    return dx


def split_that_forgets_the_last(self, *dys):
    return numpy.concatenate([*dys[:-1], dys[-1] * 0], *self.saved)


FAULTS = {
    "mul without its sum": (Mul, "backward", mul_without_its_sum),
    "mul of another shape": (Mul, "backward", mul_of_another_shape),
    "an index overwrites": (Index, "backward", index_that_overwrites),
    "split forgets the last": (Split, "backward", split_that_forgets_the_last),
    "hooks are not heard": (sweep, "run_hooks", lambda hooks, dx: dx),
    "no write is noticed": (sweep, "raise_if_written", lambda node: None),
}


RARE = "no write is noticed"
ENOUGH = 250  # programs, for all other faults


@pytest.mark.parametrize("name", [name for name in FAULTS if name != RARE])
def test_a_planted_fault_is_found(name, torch, monkeypatch):
    monkeypatch.setattr(*FAULTS[name])
    with pytest.raises(Finding):
        search(torch, ENOUGH, shrink=False)


@pytest.mark.slow
def test_a_rare_fault_is_found(torch, monkeypatch):
    monkeypatch.setattr(*FAULTS[RARE])
    with pytest.raises(Finding):
        search(torch, 1000, shrink=False)


@pytest.mark.slow
def test_a_finding_is_a_short_program_that_shows_it(torch, monkeypatch):
    monkeypatch.setattr(*FAULTS["mul of another shape"])
    with pytest.raises(Finding) as caught:
        search(torch, ENOUGH)
    program = str(caught.value)
    assert 4 <= len(program.partition("# ")[0].splitlines()) <= 10
    with pytest.raises(RuntimeError, match=r"Mul.backward returned a gradient of shape"):
        exec(program, {})
