"""Groups: messages of arrays and objects, and what ranks say that differ."""

import copy

import numpy as np
import pytest
from thread_group import run_ranks

import tinygrad_norm as tn
from tinygrad_norm import distributed
from tinygrad_norm.backends import emulator
from tinygrad_norm.distributed.mpi import launched, perhaps_launched


def test_messages_of_arrays():
    def run(group):
        strided = (np.arange(6.0).reshape(2, 3) + group.rank)[:, ::2]
        group.broadcast(strided)
        total = np.full(3, group.rank + 1)
        group.all_reduce(total)
        return strided.tolist(), total.tolist(), group.all_gather(np.arange(4)[::2] + group.rank).tolist()

    for strided, total, gathered in run_ranks(3, run):
        assert strided == [[0, 2], [3, 5]]
        assert total == [6, 6, 6]
        assert gathered == [[0, 2], [1, 3], [2, 4]]


def test_messages_of_objects():
    values = run_ranks(
        3, lambda group: group.all_gather_object({"rank": group.rank, "text": "é" * group.rank})
    )
    assert values == [[{"rank": i, "text": "é" * i} for i in range(3)]] * 3


def test_the_first_rank_that_differs_is_named():
    def run(group):
        group.check_same(seed=3, norm="batch")
        with pytest.raises(RuntimeError, match=r"rank 2 has another seed than rank 0 \(7 instead of 0\)"):
            group.check_same(norm="batch", seed=7 * (group.rank == 2))

    run_ranks(3, run)


def test_arrays_of_other_devices_go_through_the_host():
    if not emulator_works():
        pytest.skip("the emulator needs g++")

    def run(group):
        x = emulator.asarray(np.arange(3.0) + group.rank)
        group.all_reduce(x)
        gathered = group.all_gather(x)
        group.broadcast(x)
        assert type(x) is type(gathered) is emulator.EmulatorArray
        return emulator.asnumpy(x).tolist(), gathered.shape

    assert run_ranks(2, run) == [([1, 3, 5], (2, 3))] * 2


def emulator_works():
    try:
        with tn.use_backend("emulator"):
            return True
    except RuntimeError:
        return False


def test_a_process_that_nobody_launched_is_alone():
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    group = distributed.world.default_group()
    x = np.ones(2)
    group.all_reduce(x)
    group.broadcast(x)
    assert group.all_gather(x).tolist() == [[1, 1]]
    assert group.all_gather_object("x") == ["x"]
    assert copy.deepcopy(group) is group


def test_a_rank_that_aborts_says_who_it_is(capsys):
    with pytest.raises(SystemExit):
        distributed.world.default_group().abort("no room")
    assert capsys.readouterr().err == "rank 0 of 1: no room\n"


@pytest.mark.parametrize(
    ("environment", "expected", "perhaps"),
    [
        ({}, 0, False),
        ({"PMI_SIZE": "1"}, 0, False),
        ({"PMI_SIZE": "2"}, 2, False),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, 3, False),
        ({"PMI_SIZE": "1", "OMPI_COMM_WORLD_SIZE": "4"}, 4, False),
        ({"PMIX_RANK": "0"}, 0, True),
        ({"SLURM_STEP_NUM_TASKS": "4"}, 0, True),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, 0, False),
    ],
    ids=["none", "one", "mpich", "openmpi", "openmpi in one of mpich", "pmix", "srun", "shell of slurm"],
)
def test_what_launchers_set(environment, expected, perhaps):
    assert launched(environment) == expected
    assert perhaps_launched(environment) is perhaps
