"""scatter_reduce: values and gradients are those of PyTorch, with ties, zeros, infinity and NaN."""

import numpy as np
import pytest

import tinygrad_norm as tn

INDEX = np.array([[3, 0, 0, 0, 1], [1, 1, 1, 3, 1]])
X = np.array([[1.0, -2.0, 5.0, 0.0], [0.0, 3.0, 0.5, 2.0], [1.0, 2.0, 3.0, 4.0]])
SRC = np.array([[2.0, 3.0, 0.0, 3.0, -2.0], [3.0, 0.0, 3.0, -1.5, 1.0]])
REDUCTIONS = ["sum", "prod", "mean", "amax", "amin"]


def results(m, x, src, index, dim, reduce, include):
    x, src = (m.tensor(array, requires_grad=array.dtype.kind == "f") for array in (x, src))
    y = x.scatter_reduce(dim, m.tensor(index), src, reduce, include_self=include)
    if not y.requires_grad:
        return [y.numpy()]
    y.backward(m.tensor(np.random.default_rng(0).normal(size=tuple(y.shape))).to(y.dtype))
    return [y.detach().numpy(), x.grad.numpy(), src.grad.numpy()]


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_values_and_gradients_are_those_of_pytorch(reduce, include, torch):
    x = X if include else X + 0.25  # no ties with what is left out: the test below
    for case in (
        (x, SRC, INDEX, 1),
        (x.T.copy(), SRC.T.copy(), INDEX.T.copy(), 0),
        (x[0].astype(np.float32), SRC[1, :3].astype(np.float32), INDEX[1, :3], -1),
        (np.array(2.0), np.array(3.0), np.array(0), 0),
        (x, np.zeros((0, 4)), np.zeros((0, 4), int), 0),
        ((4 * x).astype(int), (2 * SRC).astype(int), INDEX, 1),
    ):
        for mine, other in zip(*(results(m, *case, reduce, include) for m in (tn, torch)), strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_numbers_that_are_not_finite(reduce, torch):
    x, src = np.array([1.0, np.inf, np.nan, 2.0]), np.array([np.inf, -np.inf, 1.0, np.nan])
    index = np.array([0, 1, 2, 3])
    mine, other = (
        m.scatter_reduce(m.tensor(x), 0, m.tensor(index), m.tensor(src), reduce).numpy() for m in (tn, torch)
    )
    np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_an_own_value_that_is_left_out_takes_no_share(reduce):
    # PyTorch counts it as one of the equal ones, and loses a third of the gradient.
    x, src = tn.full((1,), 2.0, requires_grad=True), tn.full((2,), 2.0, requires_grad=True)
    x.scatter_reduce(0, tn.tensor([0, 0]), src, reduce, include_self=False).sum().backward()
    assert (x.grad.tolist(), src.grad.tolist()) == ([0], [0.5, 0.5])


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_a_src_that_is_larger_than_the_index(reduce):
    src = tn.tensor(SRC, requires_grad=True)  # PyTorch's backward fails
    y = tn.tensor(X).scatter_reduce(1, tn.tensor(INDEX[:, :3]), src, reduce)
    assert y.equal(tn.tensor(X).scatter_reduce(1, tn.tensor(INDEX[:, :3]), src[:, :3], reduce))
    y.sum().backward()
    assert not src.grad[:, 3:].numpy().any()


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_half_precision(reduce):
    x, src = tn.ones(2, dtype=tn.float16, requires_grad=True), tn.full((3,), 2.0, dtype=tn.float16)
    y = x.scatter_reduce(0, tn.tensor([0, 0, 1]), src.requires_grad_(), reduce)
    y.sum().backward()
    assert {y.dtype, x.grad.dtype, src.grad.dtype} == {np.dtype(np.float16)}


@pytest.mark.cuda
@pytest.mark.parametrize("reduce", ["prod", "amax", "amin"])
def test_many_elements_at_each_place_on_a_gpu(reduce):
    rng = np.random.default_rng(1)
    x, src, index = rng.uniform(0.5, 2, 50), rng.uniform(0.5, 2, 999), rng.integers(0, 40, 999)
    expected = tn.tensor(x).scatter_reduce(0, tn.tensor(index), tn.tensor(src), reduce).numpy()
    with tn.use_backend("cupy"):
        found = tn.tensor(x).scatter_reduce(0, tn.tensor(index), tn.tensor(src), reduce).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
