"""A run's part in a group of processes: shards, sums, random numbers, and what must be equal at the start."""

import numpy as np
import pytest
from thread_group import run_ranks

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.backends.random import generator, mask_state
from tinygrad_norm.distributed import shard
from tinygrad_norm.training import Config
from tinygrad_norm.training.dataset_task import DatasetTask
from tinygrad_norm.training.language_modelling import TextTask
from tinygrad_norm.training.ranks import Ranks
from tinygrad_norm.training.task import Sums


def linear():
    tn.manual_seed(0)
    return nn.Linear(2, 3)


@pytest.mark.parametrize(("size", "expected"), [(2, [4, 3]), (3, [3, 2, 2]), (9, [1] * 7 + [0] * 2)], ids=str)
def test_shards_are_disjoint_and_in_order(size, expected):
    batch = Tensor(np.arange(14.0).reshape(7, 2)), Tensor(np.arange(7))

    def run(group):
        (inputs, targets), weight = Ranks(group).shard(batch)
        np.testing.assert_array_equal(inputs.numpy()[:, 0], 2 * targets.numpy())
        return targets.tolist(), weight

    parts = run_ranks(size, run)
    assert [len(rows) for rows, _ in parts] == expected
    assert [row for rows, _ in parts for row in rows] == list(range(7))
    np.testing.assert_allclose([weight for _, weight in parts], np.array(expected) * size / 7)


def test_shards_of_arrays_and_containers():
    def run(group):
        return shard({"x": [np.arange(4), (np.arange(5),)]}, group)

    first, second = run_ranks(2, run)
    assert [part["x"][1][0].tolist() for part in (first, second)] == [[0, 1, 2], [3, 4]]
    assert [part["x"][0].tolist() for part in (first, second)] == [[0, 1], [2, 3]]


def test_sums_are_joined_with_names_that_a_rank_lacks():
    def run(group):
        own = Sums(1.5, 1, 2, {"squares": np.ones(2)}) if group.rank == 0 else Sums(0.5, 0, 1)
        return Ranks(group).join(own)

    for joined in run_ranks(2, run):
        assert (joined.loss, joined.correct, joined.seen) == (2.0, 1, 3)
        assert joined.others["squares"].tolist() == [1, 1]


class Parts:
    """What a run's data say of themselves."""

    def __init__(self, checksums):
        self.checksums = lambda: checksums


@pytest.mark.parametrize(
    "what", ["lr", "checksum of the training data", "checksum of the test data", "checksum of the weights"]
)
def test_what_differs_at_the_start_is_named(what):
    def run(group):
        model = linear()
        other = group.rank == 1
        if other and "weights" in what:
            model.weight.data[0, 0] += 1
        settings = {"norm": "batch", "lr": 0.1 * (other and what == "lr")}
        task = Parts({part: int(other and f"the {part}" in what) for part in ("train", "test")})
        with pytest.raises(RuntimeError, match=f"rank 1 has another {what} than rank 0"):
            Ranks(group).check_start(model, settings, task)

    run_ranks(2, run)


def test_the_data_of_every_part_have_a_checksum():
    x = np.arange(60.0)[:, None]
    task, other = (DatasetTask(Config(), tn.data.from_arrays(x, np.arange(60) % 3)) for _ in range(2))
    right = task.checksums()
    assert right == other.checksums()
    assert right["train"] == task.fingerprint()
    for part in ("train", "validation", "test"):
        other.dataset.parts[part].targets[0] += 1
        assert [name for name, value in other.checksums().items() if value != right[name]] == [part]
        other.dataset.parts[part].targets[0] -= 1
    text = TextTask(Config("text"))
    before = text.checksums()
    text.text.validation[0] += 1
    assert before.keys() == {"train", "validation"}
    assert text.checksums() == before | {"validation": text.checksums()["validation"]} != before


def test_buffers_are_those_of_rank_0():
    def run(group):
        norm = nn.BatchNorm1d(2)
        norm.running_mean.fill_(group.rank + 5)
        Ranks(group).share_buffers(norm)
        return norm.running_mean.tolist()

    assert run_ranks(2, run) == [[5, 5]] * 2


class Rank:
    """A group as seen by one rank, without the others."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def test_every_rank_draws_numbers_of_its_own_and_the_first_those_of_one_process():
    drawn = []
    for rank in range(3):
        tn.manual_seed(3)
        Ranks(Rank(rank, 3)).own_stream(3)
        drawn.append(generator().random(2).tolist())
    tn.manual_seed(3)
    assert drawn[0] == generator().random(2).tolist()
    assert len({tuple(numbers) for numbers in drawn}) == 3


def test_random_numbers_continue_where_the_ranks_were():
    def state(seed):
        tn.manual_seed(seed)
        return generator().bit_generator.state, mask_state()

    states = [state(1), state(2)]
    ranks = Ranks(Rank(1, 2))
    ranks.restore_random_state(states, 0, 4)
    numbers = generator().random(3)
    tn.manual_seed(2)
    np.testing.assert_array_equal(numbers, generator().random(3))
    for rank in (1, 2):  # of three, where there were two
        Ranks(Rank(rank, 3)).restore_random_state(states, 0, 4)
        assert generator().random() != numbers[0]
    Ranks(Rank(0, 3)).restore_random_state(states, 0, 4)
    first = generator().random()
    tn.manual_seed(1)
    assert first == generator().random()
