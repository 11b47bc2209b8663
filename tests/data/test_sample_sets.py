"""Sets of samples: tensors, parts and joins of sets, in a DataLoader and as in PyTorch."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

X, T = np.arange(20.0, dtype=np.float32).reshape(10, 2), np.arange(10)


def test_rows_of_tensors():
    dataset = TensorDataset(tn.tensor(X), T)
    assert len(dataset) == 10
    x, t = dataset[3]
    assert (x.tolist(), t) == ([6, 7], 3)
    assert [part.tolist() for part in dataset[8:]] == [[[16, 17], [18, 19]], [8, 9]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_gives_the_batches_that_it_gives_for_arrays(shuffle):
    batches = [list(DataLoader(d, 4, shuffle, seed=3)) for d in ((X, T), TensorDataset(tn.tensor(X), T))]
    assert len(batches[0]) == len(batches[1]) == 3
    for (x, t), (y, u) in zip(*batches, strict=True):
        assert isinstance(y, tn.Tensor)
        assert (x.tolist(), t.tolist()) == (y.tolist(), u.tolist())


def test_parts_and_joins_are_pytorchs(torch):
    data = pytest.importorskip("torch.utils.data")
    results = []
    for m, tensor in ((tn.data, tn.tensor), (data, torch.tensor)):
        dataset = m.TensorDataset(tensor(X), tensor(T))
        part = m.Subset(dataset, [7, 0, -1])
        joined = m.ConcatDataset([part, dataset, part])
        results.append([[int(d[i][1]) for i in range(len(d))] for d in (part, joined)])
        results[-1].append([int(joined[i][1]) for i in (-1, -16)])
    assert results[0] == results[1]


def test_batches_of_a_part():
    (x, t), *rest = DataLoader(Subset(TensorDataset(X, T), [9, 1, 5]), batch_size=2)
    assert t.tolist() == [9, 1]
    assert x.tolist() == [[18, 19], [2, 3]]
    assert len(rest) == 1


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3], [0.5, 0.25, 0.25], [1 / 3] * 3, [1]], ids=str)
def test_a_random_split_has_the_sizes_of_pytorch(torch, lengths):
    data = pytest.importorskip("torch.utils.data")
    parts = random_split(list(range(10)), lengths, seed=1)
    assert [len(p) for p in parts] == [len(p) for p in data.random_split(list(range(10)), lengths)]
    assert sorted(sample for part in parts for sample in (part[i] for i in range(len(part)))) == list(
        range(10)
    )
    again = random_split(list(range(10)), lengths, seed=1)
    assert [p.indices for p in again] == [p.indices for p in parts]


def test_another_seed_is_another_split():
    first, second = (random_split(range(50), [25, 25], seed)[0].indices for seed in (0, 1))
    assert first != second
    assert first != list(range(25))


ERRORS = {
    "nothing": (TensorDataset, TypeError, "takes tensors or arrays, got nothing"),
    "a list": (lambda: TensorDataset([1, 2]), TypeError, "got list"),
    "unequal": (lambda: TensorDataset(X, T[:5]), ValueError, r"got shapes \[\(10, 2\), \(5,\)\]"),
    "0-d": (lambda: TensorDataset(tn.tensor(1.0)), ValueError, "same number of samples"),
    "beyond": (lambda: Subset(T, [3, 10]), IndexError, "index 10 is out of range for 10 samples"),
    "not an index": (lambda: Subset(T, [0.5]), TypeError, "cannot be interpreted as an integer"),
    "no sets": (lambda: ConcatDataset([]), ValueError, "at least one set"),
    "beyond the join": (lambda: ConcatDataset([T, T])[20], IndexError, "index 20 is out of range for 20"),
    "too few": (lambda: random_split(T, [5, 4]), ValueError, "must add up to the 10 samples"),
    "fractions": (lambda: random_split(T, [0.5, 0.4]), ValueError, "as fractions to 1"),
    "negative": (lambda: random_split(T, [12, -2]), ValueError, "not negative"),
    "text": (lambda: random_split(T, ["5", 5]), TypeError, "a length"),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_what_is_no_set_of_samples(call, error, message):
    with pytest.raises(error, match=message):
        call()
