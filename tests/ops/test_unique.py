"""unique, unique_consecutive and bincount: all results are those of PyTorch."""

import numpy as np
import pytest

import tinygrad_norm as tn

NAN = float("nan")
INPUTS = {
    "integers": lambda m: m.tensor([3, 1, 3, 3, 2, 2, 1]),
    "floats and NaN": lambda m: m.tensor([3.0, NAN, 1.0, NAN, 3.0, float("inf"), -1.0, -1.0]),
    "bools": lambda m: m.tensor([True, False, True]),
    "a matrix": lambda m: m.tensor([[1, 2, 1], [1, 2, 1], [0, 3, 0]]),
    "a view": lambda m: m.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, 2.0]]).t(),
    "a number": lambda m: m.tensor(3),
    "nothing": lambda m: m.zeros(0),
}
DIMS = {"integers": [None, 0, -1], "a matrix": [None, 0, 1], "a view": [None, 0, 1]}


@pytest.mark.parametrize("name", INPUTS)
def test_results_are_those_of_pytorch(name, torch):
    for dim in DIMS.get(name, [None]):
        for call in (
            lambda m, x, d: m.unique(x, return_inverse=True, return_counts=True, dim=d),
            lambda m, x, d: m.unique_consecutive(x, return_inverse=True, return_counts=True, dim=d),
            lambda m, x, d: x.unique(sorted=False, return_counts=True, dim=d),
            lambda m, x, d: [x.unique(dim=d), x.unique_consecutive(dim=d)],
        ):
            for mine, other in zip(*(call(m, INPUTS[name](m), dim) for m in (tn, torch)), strict=True):
                assert f"torch.{mine.dtype}" == str(other.dtype)
                assert not mine.requires_grad
                np.testing.assert_array_equal(mine.numpy(), other.numpy())


def test_values_return_to_their_places():
    x = tn.tensor(np.random.default_rng(0).integers(0, 5, (40, 3)))
    for function in (tn.unique, tn.unique_consecutive):
        values, inverse, counts = function(x, return_inverse=True, return_counts=True)
        assert values[inverse].equal(x)
        assert counts.sum() == 120
        rows, inverse, counts = function(x, return_inverse=True, return_counts=True, dim=0)
        assert rows[inverse].equal(x)
        assert counts.sum() == 40


def test_the_results_share_no_memory():
    x = tn.tensor([1, 2, 3])
    x.unique().fill_(0)
    x.unique_consecutive().fill_(0)
    assert x.tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_bincount(dtype, torch):
    for call in (
        lambda m: m.bincount(m.tensor([1, 1, 4])),
        lambda m: m.tensor([1, 1, 4]).bincount(minlength=7),
        lambda m: m.bincount(m.tensor([1, 1, 4]), m.tensor([0.5, 1.0, 2.0]).to(getattr(m, dtype))),
        lambda m: m.bincount(m.zeros(0, dtype=m.int64), minlength=3),
    ):
        mine, other = call(tn), call(torch)
        assert f"torch.{mine.dtype}" == str(other.dtype)
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tn.bincount(tn.tensor([-1])), ValueError, "at least 0, got shape .* with -1"),
        (lambda: tn.bincount(tn.zeros(1, 1, dtype=int)), ValueError, "takes a vector"),
        (lambda: tn.bincount(tn.ones(2)), TypeError, "takes integers, got float32"),
        (lambda: tn.bincount(tn.tensor([1]), tn.ones(2)), ValueError, "one weight for each"),
        (lambda: tn.bincount(tn.tensor([1]), minlength=-1), ValueError, "minlength must be at least 0"),
        (lambda: tn.bincount(tn.tensor([1]), tn.ones(1, requires_grad=True)), RuntimeError, "no gradient"),
        (lambda: tn.unique(tn.ones(2), dim=1), IndexError, "dim 1 is out of range"),
        (lambda: tn.unique(tn.zeros(0, 3), dim=1), ValueError, "no elements"),
        (lambda: tn.unique(tn.ones(2), return_counts=1), TypeError, "return_counts"),
    ],
    ids=["negative", "matrix", "floats", "weights", "least", "grad", "axis", "empty", "flag"],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.cuda
def test_results_are_on_the_gpu():
    with tn.use_backend("cupy"):
        x = tn.tensor([3, 1, 3])
        for y in (*x.unique(return_inverse=True, return_counts=True), x.unique_consecutive(), x.bincount()):
            assert y.device == "cuda"
        assert x.bincount().tolist() == [0, 1, 0, 2]
