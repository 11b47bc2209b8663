"""PyTorch's further names: values, dtypes, gradients and errors are those of PyTorch."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn

MATRIX = np.random.default_rng(0).normal(size=(4, 5))
CUBE = np.random.default_rng(1).normal(size=(2, 4, 3))

CALLS = {
    "+": lambda m, x, c: +x,
    "clip": lambda m, x, c: m.clip(x, -0.5, 0.5),
    "clip min": lambda m, x, c: x.clip(min=0.1),
    "narrow": lambda m, x, c: m.narrow(x, 1, 1, 3),
    "narrow negative": lambda m, x, c: c.narrow(-2, -3, 2),
    "narrow to nothing": lambda m, x, c: x.narrow(0, 4, 0),
    "select": lambda m, x, c: m.select(c, 1, 2),
    "select negative": lambda m, x, c: c.select(-1, -1),
    "diff": lambda m, x, c: m.diff(x),
    "diff twice": lambda m, x, c: c.diff(2, dim=1),
    "diff of too few": lambda m, x, c: c.diff(3, 0),
    "diff zero times": lambda m, x, c: x.diff(0),
    "diff with ends": lambda m, x, c: m.diff(x, dim=0, prepend=x[:1] * 2, append=x[1:3]),
    "dot": lambda m, x, c: m.dot(x[0], x[1]),
    "mv": lambda m, x, c: m.mv(x, c.flatten()[:5]),
    "dot of nothing": lambda m, x, c: x[0, :0].dot(x[1, :0]),
    "view_as": lambda m, x, c: c.flatten()[:20].view_as(x),
    "reshape_as": lambda m, x, c: c.flatten()[:20].reshape_as(x),
    "expand_as": lambda m, x, c: x[:1].expand_as(x),
    "type_as": lambda m, x, c: x.type_as(m.ones(1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_those_of_pytorch(name, torch):
    call, results, gradients = CALLS[name], [], []
    for library in (tn, torch):
        x, c = (library.tensor(array, requires_grad=True) for array in (MATRIX, CUBE))
        y = call(library, x, c)
        dy = np.random.default_rng(2).normal(size=tuple(y.shape))
        y.backward(library.tensor(dy).to(y.dtype))
        results.append(y.detach().numpy())
        gradients.append([np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in (x, c)])
    assert results[0].dtype == results[1].dtype
    np.testing.assert_allclose(*results, rtol=1e-12)
    for mine, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)


@pytest.mark.parametrize("name", ["narrow", "select", "diff", "clip", "+"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_dtypes_are_those_of_pytorch(name, dtype, torch):
    if dtype == "bool" and name in ("clip", "+"):
        return  # neither is for bools
    array = (MATRIX * 9).astype(dtype)
    mine, other = (CALLS[name](m, m.tensor(array), m.tensor(array[None])) for m in (tn, torch))
    assert f"torch.{mine.dtype}" == str(other.dtype)
    np.testing.assert_array_equal(mine.numpy(), other.numpy())


def test_views_share_memory(torch):
    for library in (tn, torch):
        x = library.tensor(MATRIX)
        for y in (x.narrow(1, 1, 3), x.select(0, 2), +x):
            assert np.shares_memory(y.numpy(), x.numpy())
        assert +x is x or library is torch


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_new_tensors_have_the_dtype_of_another(dtype, torch):
    def made(m):
        x = m.tensor(np.arange(3))
        options = {} if dtype is None else {"dtype": getattr(m, dtype)}
        return x.new_zeros(2, 3, **options), x.new_ones((4,), **options), x.new_full((2,), 7, **options)

    for mine, other in zip(made(tn), made(torch), strict=True):
        assert f"torch.{mine.dtype}" == str(other.dtype)
        assert mine.tolist() == other.tolist()
    assert tn.ones(2).new_zeros(2, requires_grad=True).requires_grad


def test_what_is_known_of_the_memory(torch):
    for make in (
        lambda x: x,
        lambda x: x.T,
        lambda x: x[:, ::2],
        lambda x: x[1:],
        lambda x: x.T.contiguous(),
    ):
        mine, other = make(tn.tensor(MATRIX)), make(torch.tensor(MATRIX))
        assert mine.is_contiguous() is other.is_contiguous()
        assert mine.nelement() == other.nelement()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: x.narrow(1, 3, 3), ValueError, "axis 1 has 5 entries: start 3 and length 3 do not fit"),
        (lambda x: x.narrow(1, -6, 1), ValueError, "do not fit"),
        (lambda x: x.narrow(1, 0, -1), ValueError, "length must be at least 0"),
        (lambda x: x.narrow(2, 0, 1), IndexError, "dim 2 is out of range"),
        (lambda x: x.select(0, 4), IndexError, "index 4 is out of range for axis 0 with 4 entries"),
        (lambda x: x.select(0, 1.5), TypeError, "index must be an int"),
        (lambda x: x.sum().select(0, 0), ValueError, "at least one axis"),
        (lambda x: x.sum().diff(), ValueError, "at least one axis"),
        (lambda x: x.diff(-1), ValueError, "n must be at least 0"),
        (lambda x: x.dot(x), ValueError, "two vectors, got shapes"),
        (lambda x: x[0].dot(x[0, :2]), ValueError, "5"),
        (lambda x: x.mv(x), ValueError, "a matrix and a vector, got shapes"),
        (lambda x: x.clip(), ValueError, "min, max or both"),
        (lambda x: +(x > 0), TypeError, "not for bools"),
        (lambda x: tn.clip([1.0], 0, 1), TypeError, "must be a Tensor"),
    ],
)
def test_what_does_not_fit_raises_as_in_pytorch(call, error, match, torch):
    with pytest.raises(error, match=match):
        call(tn.tensor(MATRIX))
    with pytest.raises((RuntimeError, IndexError, TypeError)):
        call(torch.tensor(MATRIX))


def test_parameters_and_buffers_by_name(torch):
    def net(m):
        return m.nn.Sequential(m.nn.Linear(2, 3), m.nn.Sequential(m.nn.BatchNorm1d(3)))

    for m in (tn, torch):
        made = copy.deepcopy(net(m))
        assert made.get_parameter("0.weight") is made[0].weight
        assert made.get_buffer("1.0.running_mean") is made[1][0].running_mean
        for call in (
            lambda n: n.get_parameter("1.0.running_mean"),
            lambda n: n.get_parameter("0.wieght"),
            lambda n: n.get_buffer("0.weight"),
            lambda n: n.get_buffer("2.x"),
        ):
            with pytest.raises(AttributeError):
                call(made)
    with pytest.raises(AttributeError, match=r"Linear has no parameter 'wieght' \(looking for '0.wieght'\)"):
        net(tn).get_parameter("0.wieght")
