"""New tensors: dtypes, shapes, devices, seeds."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends.random import generator


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1.5, "float32", ()),
        (2, "int64", ()),
        (True, "bool", ()),
        ([1.0, 2], "float32", (2,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)),
        ([True, False], "bool", (2,)),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        ((1.0, (2.0)), "float32", (2,)),
        (range(3), "int64", (3,)),
        (np.float64(1.5), "float64", ()),
        (np.arange(3), "int64", (3,)),
        (np.arange(3.0), "float64", (3,)),
        (np.zeros((2, 0), np.float16), "float16", (2, 0)),
        (np.zeros(3, np.uint8), "uint8", (3,)),
        ([np.arange(2.0), np.arange(2.0)], "float64", (2, 2)),
        ([np.float32(1), np.float32(2)], "float32", (2,)),
    ],
)
def test_tensor_takes_the_dtype_of_its_data(data, dtype, shape, torch):
    x = tn.tensor(data)
    assert x.dtype == dtype
    assert x.shape == shape
    theirs = torch.tensor(
        np.array(data) if isinstance(data, list) and data and hasattr(data[0], "dtype") else data
    )
    assert (str(theirs.dtype), tuple(theirs.shape)) == (f"torch.{dtype}", shape)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((0, 1, 5), {}), ((3, -2, 6), {}), ((1, 9, 1), {}), ((0, 1, 0), {}), ((0, 10, 5), {"dtype": "int64"})],
)
def test_linspace_is_pytorchs(arguments, options, torch):
    x = tn.linspace(*arguments, **options)
    expected = torch.linspace(*arguments, **{k: getattr(torch, v) for k, v in options.items()})
    assert str(expected.dtype) == f"torch.{x.dtype}"
    np.testing.assert_allclose(x.numpy(), expected.numpy(), rtol=1e-6)


def test_linspace_ends_where_it_should():
    x = tn.linspace(0.1, 0.7, 1000, requires_grad=True)
    assert x.requires_grad
    assert (x[0].item(), x[-1].item()) == (np.float32(0.1), np.float32(0.7))


def test_tensor_copies():
    a = np.ones(3)
    x = tn.tensor(a)
    y = tn.tensor(x)
    a[0] = 5
    x.fill_(7)
    assert y.tolist() == [1, 1, 1]
    assert y.creator is None


def test_tensor_of_tensors():
    assert tn.tensor([tn.tensor(1.0), tn.tensor(2.0)]).tolist() == [1, 2]


def test_dtype_and_requires_grad():
    x = tn.tensor([1, 2], dtype=tn.float64, requires_grad=True)
    assert x.dtype == tn.float64
    assert x.requires_grad
    with pytest.raises(RuntimeError, match="only floating-point"):
        tn.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize("data", [0.1, [0.1, 1e300], [[2.0**40 + 1]], [-1.7, 2.0**53]])
@pytest.mark.parametrize("dtype", ["float64", "int64", "float16", None])
def test_python_floats_are_rounded_once_to_the_dtype_that_is_asked_for(torch, data, dtype):
    """Not to float32 before."""
    if dtype == "int64" and data == [0.1, 1e300]:
        return  # out of range
    expected = torch.tensor(data, dtype=None if dtype is None else getattr(torch, dtype))
    found = tn.tensor(data, dtype=dtype)
    assert str(found.dtype) == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tn.tensor([[1, 2], [3]]), ValueError, "equal lengths"),
        (lambda: tn.tensor("text"), TypeError, "real numbers"),
        (lambda: tn.tensor([1j]), TypeError, "real numbers"),
        (lambda: tn.tensor(None), TypeError, "real numbers"),
        (lambda: tn.zeros(2, -1), ValueError, "negative"),
        (lambda: tn.zeros("2"), TypeError, "must be an int or a sequence"),
        (lambda: tn.arange(3, 1), ValueError, "steps of 1"),
        (lambda: tn.arange(0, 1, 0), ValueError, "steps of 0"),
        (lambda: tn.linspace(0, 1, -1), ValueError, "steps must be at least 0"),
        (lambda: tn.linspace(0, 1, 2.5), TypeError, "steps must be an int"),
    ],
)
def test_bad_input_raises(call, error, words):
    with pytest.raises(error, match=words):
        call()


CALLS = {
    "zeros": lambda t: (
        t.zeros(2, 3),
        t.zeros((2, 3)),
        t.zeros([2]),
        t.zeros(()),
        t.zeros(0, 3, dtype=t.int64),
    ),
    "ones": lambda t: (t.ones(2, 3), t.ones((2,), dtype=t.bool), t.ones(2, dtype=t.float16)),
    "full": lambda t: (
        t.full((2,), 3),
        t.full((2,), 2.5),
        t.full((), True),
        t.full((2,), 3, dtype=t.float64),
    ),
    "arange": lambda t: (
        t.arange(3),
        t.arange(1, 4),
        t.arange(0, 10, 3),
        t.arange(3.0),
        t.arange(0, 1, 0.1),
        t.arange(5, 0, -2),
        t.arange(2, 2),
        t.arange(3, dtype=t.float64),
    ),
    "eye": lambda t: (t.eye(3), t.eye(2, 3), t.eye(3, 2, dtype=t.int64)),
    "like": lambda t: (
        t.zeros_like(t.ones(2, dtype=t.float64)),
        t.ones_like(t.arange(3)),
        t.full_like(t.ones(2), 3),
        t.zeros_like(t.ones(2), dtype=t.int64),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_pytorch(name, torch):
    for ours, theirs in zip(CALLS[name](tn), CALLS[name](torch), strict=True):
        assert str(theirs.dtype) == f"torch.{ours.dtype}"
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert ours.shape == tuple(theirs.shape)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random_numbers_have_their_distribution(dtype):
    u, n = tn.rand(100, 200, dtype=dtype), tn.randn((100, 200), dtype=dtype)
    assert u.dtype == n.dtype == dtype
    u, n = u.double(), n.double()
    assert 0 <= u.min().item() < 0.01
    assert 0.99 < u.max().item() < 1
    assert abs(u.mean().item() - 0.5) < 0.01
    assert abs(u.var().item() - 1 / 12) < 0.002
    assert abs(n.mean().item()) < 0.02
    assert abs(n.std().item() - 1) < 0.02


def test_a_seed_repeats_and_goes_on():
    tn.manual_seed(3)
    a, b = tn.randn(4), tn.randn(4)
    tn.manual_seed(3)
    assert (tn.randn(4) == a).all()
    assert (tn.randn(4) == b).all()
    assert not (a == b).any()


def test_random_like():
    x = tn.zeros(2, 3, dtype=tn.float64)
    for y in (tn.rand_like(x), tn.randn_like(x)):
        assert (y.shape, y.dtype) == ((2, 3), tn.float64)
        assert y.std().item() > 0
    assert tn.rand_like(x, dtype=tn.float32, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    ("seed", "error", "match"),
    [
        ("a", TypeError, "a seed must be an int, got 'a'"),
        (1.5, TypeError, "a seed must be an int, got 1.5"),
        (None, TypeError, "a seed must be an int, got None"),
        (True, TypeError, "a seed must be an int, got True"),
        (-1, ValueError, "a seed must be at least 0, got -1"),
    ],
)
def test_a_seed_is_an_int_of_at_least_0(seed, error, match):
    state = tn.manual_seed(np.int64(3)).bit_generator.state
    with pytest.raises(error, match=match):
        tn.manual_seed(seed)
    assert generator().bit_generator.state == state
