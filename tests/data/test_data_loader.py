"""DataLoader: batches, epochs, resuming, errors."""

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.data import DataLoader, Split


@pytest.fixture
def split():
    images = numpy.random.default_rng(0).normal(size=(10, 1, 2, 2)).astype(numpy.float32)
    return Split(images, numpy.arange(10))


def order(loader):
    """The labels of one epoch, in their order."""
    return [int(label) for _, labels in loader for label in labels.numpy()]


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_and_labels_stay_together(split, shuffle):
    for images, labels in DataLoader(split, batch_size=3, shuffle=shuffle):
        assert isinstance(images, Tensor)
        assert isinstance(labels, Tensor)
        assert images.dtype == numpy.float32
        assert labels.dtype == numpy.int64
        assert (images.numpy() == split.images[labels.numpy()]).all()


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (3, False, [3, 3, 3, 1]),
        (3, True, [3, 3, 3]),
        (5, True, [5, 5]),
        (99, False, [10]),
        (1, False, [1] * 10),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_len_is_the_number_of_batches(split, batch_size, drop_last, sizes, shuffle):
    loader = DataLoader(split, batch_size, shuffle, drop_last)
    assert len(loader) == len(sizes)
    assert [len(labels) for _, labels in loader] == sizes


def test_in_order_without_shuffle(split):
    loader = DataLoader(split, batch_size=4)
    assert order(loader) == order(loader) == list(range(10))


def test_every_epoch_is_another_shuffle_of_everything(split):
    loader = DataLoader(split, batch_size=4, shuffle=True)
    epochs = [order(loader) for _ in range(5)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 5


def test_the_seed_decides_the_order_and_nothing_else_does(split):
    first = DataLoader(split, 4, shuffle=True, seed=1)
    numpy.random.seed(5)  # noqa: NPY002
    same, other = DataLoader(split, 3, shuffle=True, seed=1), DataLoader(split, 4, shuffle=True, seed=2)
    epoch = order(first)
    assert order(same) == epoch
    assert order(other) != epoch


def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(split):
    loader = DataLoader(split, 4, shuffle=True, seed=9)
    epochs = [order(loader) for _ in range(4)]
    resumed = DataLoader(split, 4, shuffle=True, seed=9)
    resumed.set_epoch(2)
    assert [order(resumed), order(resumed)] == epochs[2:]
    assert resumed.epoch == 4


def test_an_epoch_left_early_counts(split):
    loader, whole = (DataLoader(split, 4, shuffle=True) for _ in range(2))
    next(iter(loader))
    order(whole)
    assert order(loader) == order(whole)


def test_any_number_of_arrays(split):
    (batch,) = DataLoader((split.images,), batch_size=10)
    assert [part.shape for part in batch] == [(10, 1, 2, 2)]
    a, b, c = next(iter(DataLoader([split.labels, split.labels * 2, split.images], batch_size=4)))
    assert (2 * a.numpy() == b.numpy()).all()
    assert c.shape == (4, 1, 2, 2)


def test_writing_to_a_batch_leaves_the_dataset_alone(split):
    before = split.images.copy()
    for images, _ in DataLoader(split, batch_size=10):
        images.array[...] = 0
    assert (split.images == before).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"batch_size": 11, "drop_last": True}, "10 samples are too few for a batch of 11 with drop_last"),
    ],
)
def test_invalid_options_raise(split, options, match):
    with pytest.raises(ValueError, match=match):
        DataLoader(split, **options)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 2.5}, {"batch_size": "a"}, {"seed": None}, {"seed": 1.5}, {"seed": "a"}],
    ids=str,
)
def test_options_that_are_not_integers_raise(split, options):
    ((name, value),) = options.items()
    with pytest.raises(TypeError, match=f"{name} must be an int, got {value!r}"):
        DataLoader(split, **options)


@pytest.mark.parametrize(
    ("dataset", "error", "match"),
    [
        (numpy.zeros((5, 2)), TypeError, "Split or a tuple of arrays.*got ndarray"),
        ((), TypeError, "tuple of arrays"),
        ((numpy.zeros((5, 2)), numpy.zeros(4)), ValueError, r"got shapes \(5, 2\), \(4,\)"),
        ((numpy.float32(3),), ValueError, r"got shapes \(\)"),
        ((numpy.zeros((0, 2)),), ValueError, "0 samples are too few for a batch of 1$"),
        ([[numpy.ones(2), 0]] * 3, TypeError, "got a list in place of an array"),
        ((numpy.ones(2), None), TypeError, "got a NoneType in place of an array"),
        ((numpy.array(["a", "b"]),), TypeError, "arrays of numbers"),
    ],
    ids=["array", "nothing", "lengths", "number", "empty", "list in place of an array", "none", "strings"],
)
def test_invalid_datasets_raise(dataset, error, match):
    with pytest.raises(error, match=match):
        DataLoader(dataset)


def test_epochs_count_from_0(split):
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        DataLoader(split).set_epoch(-1)
    with pytest.raises(TypeError, match=r"epoch must be an int, got 1\.5"):
        DataLoader(split).set_epoch(1.5)


class Squares:
    """What PyTorch calls a map-style dataset."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if not 0 <= i < 5:
            raise IndexError(i)
        return numpy.full(2, float(i)), i * i


@pytest.mark.parametrize("made", ["list", "object"])
def test_samples_become_batches_as_in_pytorch(made, torch):
    samples = Squares() if made == "object" else [Squares()[i] for i in range(5)]
    ours = list(DataLoader(samples, batch_size=2))
    theirs = list(torch.utils.data.DataLoader(samples, batch_size=2))
    assert len(ours) == len(theirs) == 3
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert f"torch.{a.dtype}" == str(b.dtype)
            numpy.testing.assert_array_equal(a.numpy(), b.numpy())


def test_samples_are_shuffled_as_arrays_are():
    x = numpy.arange(6.0)
    by_array = [batch[0].tolist() for batch in DataLoader((x,), 2, shuffle=True, seed=3)]
    by_sample = [batch[0].tolist() for batch in DataLoader([(v,) for v in x], 2, shuffle=True, seed=3)]
    assert by_array == by_sample


def test_dicts_text_tensors_and_lengths():
    samples = [{"x": tn.ones(2) * i, "name": f"n{i}", "pair": [i, float(i)]} for i in range(3)]
    (batch,) = DataLoader(samples, 3)
    assert batch["x"].shape == (3, 2)
    assert batch["name"] == ["n0", "n1", "n2"]
    assert [part.tolist() for part in batch["pair"]] == [[0, 1, 2], [0.0, 1.0, 2.0]]


def test_a_collate_fn_gets_the_samples():
    words = ["a", "bb", "ccc", "dd"]
    batches = list(DataLoader(words, 3, collate_fn=lambda samples: [len(s) for s in samples]))
    assert batches == [[1, 2, 3], [2]]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: list(DataLoader([(numpy.ones(1),), (numpy.ones(2),)], 2)), ValueError, "different shapes"),
        (lambda: list(DataLoader([(1, 2), (1,)], 2)), ValueError, "same number of entries"),
        (lambda: list(DataLoader([(None,)] * 2, 2)), TypeError, "samples of NoneType: pass a collate_fn"),
        (lambda: DataLoader([1, 2], collate_fn="list"), TypeError, "must be a function"),
        (lambda: DataLoader((numpy.ones(2),), collate_fn=list), TypeError, "but the dataset is a tuple"),
    ],
    ids=["shapes", "entries", "none", "text", "arrays"],
)
def test_samples_that_do_not_fit(call, error, match):
    with pytest.raises(error, match=match):
        call()
