"""Joining: what fails on one rank is raised on all, and from then on the processes end together."""

import sys
from types import SimpleNamespace

import pytest
from thread_group import run_ranks

from tinygrad_norm.backends.cuda import nccl
from tinygrad_norm.distributed import world


def fail():
    raise OSError("no such driver")


@pytest.fixture
def own_world(monkeypatch):
    """A world that nobody has joined."""
    monkeypatch.setattr(world, "_world", SimpleNamespace(group=None, initialized=False))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return world._world


def init_on_ranks(prepare):
    """What joining raises on each of three ranks; `prepare(rank)` returns what is to be prepared."""

    def run(group):
        group.local_rank = group.rank
        function = prepare(group.rank)
        try:
            backend = world._of_all(group, lambda: world._backend_after(function))[group.rank]
            if backend == "cupy":
                world._take_gpu(group)
        except RuntimeError as error:
            return str(error)

    return run_ranks(3, run)


def test_a_backend_that_one_rank_does_not_have_is_an_error_on_all():
    found = init_on_ranks(lambda rank: fail if rank == 2 else None)
    assert found == ["rank 2: no such driver"] * 3


def test_too_few_gpus_are_an_error_on_all_ranks(monkeypatch):
    monkeypatch.setattr(world, "current_backend", lambda: SimpleNamespace(name="cupy"))
    fake = SimpleNamespace(
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(getDeviceCount=lambda: 2),
            Device=lambda number: SimpleNamespace(pci_bus_id=f"bus {number}", use=lambda: None),
        )
    )
    monkeypatch.setattr(nccl, "load_cupy", lambda: fake)
    found = init_on_ranks(lambda rank: None)
    assert len(set(found)) == 1
    assert found[0].startswith("rank 2: this is process 3 of this machine, which has 2 GPUs")


def test_the_group_is_known_and_errors_end_all_before_anything_can_fail(monkeypatch, own_world):
    group = SimpleNamespace(rank=0, size=2, all_gather_object=lambda value: [value, value])
    monkeypatch.setattr(world, "mpi_group", lambda: group)

    def check():
        assert world.default_group() is group
        assert sys.excepthook is world._end_all
        fail()

    with pytest.raises(RuntimeError, match="rank 0: no such driver"):
        world.init(check)


def test_a_second_call_prepares_too(own_world, monkeypatch):
    monkeypatch.setattr(world, "mpi_group", lambda: SimpleNamespace(rank=0, size=1))
    called = []
    world.init()
    world.init(lambda: called.append("again"))
    assert called == ["again"]


def test_alone_an_error_is_raised_as_it_is(own_world):
    with pytest.raises(OSError, match="no such driver"):
        world.init(fail)
