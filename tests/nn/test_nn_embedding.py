"""Embedding: repeated indices, padding, layouts of indices; one_hot."""

import numpy as np
import pytest
from loop_runs import MODES, needs_numba

from tinygrad_norm import nn, use_loops
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.embedding import embedding_backward


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (2, 0), (0,)], ids=str)
def test_computes_what_pytorchs_does(padding_idx, shape, torch):
    index, w = np.random.default_rng(0).integers(0, 5, shape), normal(5, 3)
    a, b = Tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    y = F.embedding(Tensor(index), a, padding_idx)
    z = torch.nn.functional.embedding(torch.tensor(index), b, padding_idx)
    np.testing.assert_array_equal(y.array, z.detach().numpy())
    dy = normal(*y.shape, seed=1)
    expected = torch.autograd.grad(z, b, torch.tensor(dy))[0].numpy()
    np.testing.assert_allclose(grad(y, a, dy)[0].array, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_indices_of_any_integer_type_and_layout(dtype):
    index = np.arange(12).reshape(3, 4) % 5
    w = Tensor(normal(5, 2), requires_grad=True)
    dy = normal(4, 3, 2, seed=1)
    y = F.embedding(Tensor(index.T.astype(dtype)), w)
    expected = np.zeros((5, 2))
    np.add.at(expected, index.T, dy)
    np.testing.assert_array_equal(y.array, w.array[index.T])
    np.testing.assert_allclose(grad(y, w, dy)[0].array, expected, rtol=1e-13)


def test_half_precision_sums_repeats_in_float32():
    w = Tensor(np.ones((2, 1), np.float16), requires_grad=True)
    y = F.embedding(Tensor(np.zeros(4096, int)), w)
    dw = grad(y, w, np.full((4096, 1), 0.5))[0]
    assert dw.dtype == np.float16
    assert dw.array.tolist() == [[2048.0], [0.0]]


def test_start_values_are_normal_and_padding_is_0():
    layer = nn.Embedding(200, 50, padding_idx=-200)
    assert layer.padding_idx == 0
    assert not layer.weight.array[0].any()
    assert abs(layer.weight.array[1:].std() - 1) < 0.03
    assert layer.weight.dtype == np.float32


def test_state_and_repr_are_pytorchs(torch):
    mine, reference = nn.Embedding(5, 3, padding_idx=2), torch.nn.Embedding(5, 3, padding_idx=2)
    assert repr(mine) == repr(reference)
    assert list(mine.state_dict()) == list(reference.state_dict())
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    index = np.array([[0, 2], [4, 1]])
    np.testing.assert_array_equal(mine(Tensor(index)).array, reference(torch.tensor(index)).detach().numpy())


def test_the_padding_row_is_not_trained():
    layer = nn.Embedding(4, 2, padding_idx=1)
    layer(Tensor(np.array([1, 1, 3]))).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("freeze", [True, False])
def test_pretrained_vectors_are_taken_as_they_are(freeze, torch):
    w, index = normal(5, 3), np.array([0, 1, 1])
    table = Tensor(w)
    layer = nn.Embedding.from_pretrained(table, freeze, padding_idx=-4)
    reference = torch.nn.Embedding.from_pretrained(torch.tensor(w), freeze, padding_idx=-4)
    assert repr(layer) == repr(reference)
    assert layer.weight.requires_grad is not freeze
    assert layer.weight.array is table.array
    y, z = layer(Tensor(index)), reference(torch.tensor(index))
    np.testing.assert_array_equal(y.array, z.detach().numpy())
    if not freeze:
        y.sum().backward()
        z.sum().backward()
        np.testing.assert_array_equal(layer.weight.grad.array, reference.weight.grad.numpy())


def test_one_hot_as_pytorch(torch):
    index = np.array([[0, 2], [1, 0]])
    for count in (-1, 5):
        y = F.one_hot(Tensor(index), count)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(
            y.array, torch.nn.functional.one_hot(torch.tensor(index), count).numpy()
        )
    assert F.one_hot(Tensor(np.zeros((0, 2), int)), 3).shape == (0, 2, 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_sums_as_the_body_does(dtype, mode):
    rng = np.random.default_rng(3)
    dy, index = rng.normal(size=(400, 5)).astype(dtype), rng.integers(0, 9, 400) * 7
    expected = np.zeros((60, 5))
    np.add.at(expected, index, dy.astype("float64"))
    with use_loops(mode):
        found = embedding_backward(dy, index, 60)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, 3e-7 if dtype == "float32" else 1e-13, 1e-6)


@needs_numba
def test_the_loop_keeps_the_digits_of_a_million_repeats():
    dy = np.random.default_rng(4).uniform(1, 2, (1 << 20, 3)).astype("float32")
    with use_loops("compiled"):
        one_thread = embedding_backward(dy, np.arange(1 << 20) % 2, 4)
        with blocks.settings(threads=3):
            three = embedding_backward(dy, np.arange(1 << 20) % 2, 4)
    np.testing.assert_array_equal(one_thread, three)
    expected = [dy[::2].sum(0, np.float64), dy[1::2].sum(0, np.float64), np.zeros(3), np.zeros(3)]
    np.testing.assert_allclose(one_thread, expected, 1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_an_index_that_was_changed_is_found_before_the_loop(mode):
    index = Tensor([0, 1])
    w = Tensor(np.ones((2, 3), "float32"), requires_grad=True)
    with use_loops(mode):
        y = F.embedding(index, w)
        index.array[0] = 10**9
        with pytest.raises(IndexError, match="out of bounds"):
            grad(y, w, np.ones((2, 3), "float32"))
