"""Indexing against PyTorch, and what the tape knows of views and of index arrays."""

import numpy as np
import pytest

import tinygrad_norm as tn

i, j = np.array([2, 0, 2, -1]), np.array([[0], [1]])
mask = np.array([True, False, True])

KEYS = {
    "int": np.s_[1],
    "negative int": np.s_[-1],
    "ints": np.s_[1, 0, 2],
    "slice": np.s_[1:],
    "step": np.s_[::2, 1::2],
    "empty slice": np.s_[2:1],
    "None": np.s_[None, :, None],
    "Ellipsis": np.s_[..., 1],
    "Ellipsis alone": np.s_[...],
    "int Ellipsis": np.s_[0, ..., 1:3],
    "empty tuple": (),
    "array": i,
    "2-d array": j,
    "array in the middle": np.s_[:, j],
    "array last": np.s_[..., i],
    "two arrays": np.s_[j, i % 2],
    "two arrays apart": np.s_[i, :, i],
    "array beside int": np.s_[0, :, i],
    "int beside array": np.s_[i, 1],
    "array None": np.s_[i, None],
    "None array": np.s_[None, i, 1:],
    "slice array slice": np.s_[1:, i % 2, ::2],
    "list": [0, 2, 2],
    "list in a tuple": np.s_[:, [1, 0]],
    "empty list": [],
    "mask": mask,
    "mask in the middle": np.s_[:, np.array([True, False])],
    "2-d mask": np.array([[True, False], [False, False], [True, True]]),
    "mask of everything": np.zeros((3, 2, 4), bool),
    "mask and array": np.s_[mask, :, i[:2]],
    "mask and int": np.s_[mask, 1],
    "list of bools": [True, False, True],
    "0-d integer array": np.array(1),
    "numpy integer": np.int64(1),
}


def as_torch(torch, key):
    if isinstance(key, tuple):
        return tuple(as_torch(torch, k) for k in key)
    return torch.tensor(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["arrays", "tensors"])
def test_getitem_as_pytorch(name, wrapped, torch):
    key = KEYS[name]
    values = np.arange(24.0).reshape(3, 2, 4)
    x = tn.tensor(values, requires_grad=True)
    x_torch = torch.tensor(values, requires_grad=True)
    y_torch = x_torch[as_torch(torch, key)]
    if wrapped:
        key = (
            tuple(tn.tensor(k) if isinstance(k, np.ndarray) else k for k in key)
            if isinstance(key, tuple)
            else key
        )
        key = tn.tensor(key) if isinstance(key, np.ndarray) else key
    y = x[key]
    np.testing.assert_array_equal(y.numpy(), y_torch.detach().numpy())
    assert y.shape == tuple(y_torch.shape)
    dy = np.random.default_rng(0).normal(size=y.shape)
    y.backward(tn.tensor(dy))
    y_torch.backward(torch.tensor(dy))
    np.testing.assert_allclose(x.grad.numpy(), x_torch.grad.numpy(), rtol=1e-14)


def test_an_index_may_be_changed_after_it_was_used():
    index = np.array([0, 1])
    for indexed in (
        lambda x: x[index],
        lambda x: x.index_select(0, tn.Tensor(index)),
        lambda x: x[:, None][index],
    ):
        index[:] = 0, 1
        x = tn.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = indexed(x)
        index[:] = 2
        y.sum().backward()
        assert x.grad.tolist() == [1, 1, 0]


def test_a_mask_may_be_changed_after_it_was_used():
    mask = np.array([True, False])
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x[mask]
    mask[:] = True
    y.backward()
    assert x.grad.tolist() == [1, 0]


def test_indices_of_max_may_be_changed():
    x = tn.tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True)
    for keepdim in (False, True):
        values, indices = x.max(1, keepdim)
        indices.zero_()
        x.grad = None
        values.sum().backward()
        assert x.grad.tolist() == [[0, 1], [1, 0]]


def test_a_condition_changed_in_place_is_noticed():
    condition = tn.tensor([True, False])
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = tn.where(condition, x, 0.0)
    condition.fill_(True)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


VIEWS = {
    "slice": lambda x: x[1:],
    "int": lambda x: x[0],
    "reshape": lambda x: x.reshape(6),
    "flatten": lambda x: x.flatten(),
    "transpose": lambda x: x.T,
    "permute": lambda x: x.permute(1, 0),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "expand": lambda x: x.expand(4, 2, 3),
    "split": lambda x: x.split(1)[1],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "unbind": lambda x: x.unbind(1)[2],
    "diagonal in einsum": lambda x: tn.einsum("ii->i", x[:, :2]),
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_saved_for_backward_notices_a_write_to_its_base(name, recorded):
    x = tn.tensor(np.arange(6.0).reshape(2, 3), requires_grad=recorded)
    w = tn.tensor(2.0, requires_grad=True)
    view = VIEWS[name](x)
    assert np.shares_memory(view.array, x.array)
    y = (view * w).sum()
    x.data[...] = 0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


COPIES = {
    "index": lambda x: x[[0, 1]],
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1),
    "repeat": lambda x: x.repeat(1, 1),
    "cat": lambda x: tn.cat([x]),
    "clone": lambda x: x.clone(),
    "where": lambda x: x.where(x > -1, 0.0),
    "einsum": lambda x: tn.einsum("ij,k->ij", x, tn.tensor(np.ones(1))),
    "tensor": lambda x: tn.tensor(x),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_share_no_memory(name):
    x = tn.tensor(np.arange(6.0).reshape(2, 3))
    y = COPIES[name](x)
    assert not np.shares_memory(y.array, x.array)
    x.zero_()
    assert y.sum().item() == 15


SAVED_OUTPUTS = [
    lambda x: x.exp(),
    lambda x: x.tanh(),
    lambda x: x.sqrt(),
    lambda x: x**2.5,
    lambda x: x.amax(1),
    lambda x: x.logsumexp(1),
    lambda x: x.logsumexp(1, True),
    lambda x: x.norm(2, 1),
    lambda x: x.norm(2, (0,), True),
    lambda x: x.max(),
    lambda x: x.sigmoid(),
    lambda x: x.rsqrt(),
    lambda x: 1 / x + x.reciprocal() * 0 + x.expm1(),
]


@pytest.mark.parametrize("function", SAVED_OUTPUTS)
def test_outputs_changed_in_place_raise_or_are_harmless(function):
    """A backward that saved its output must not quietly use what became of it."""
    x = tn.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    function(x).sum().backward()
    expected, x.grad = x.grad, None
    y = function(x)
    loss = y.sum()
    y.detach().array[...] = 99
    y.mark_written()
    try:
        loss.backward()
    except RuntimeError as error:
        assert "changed in place" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(x.grad.numpy(), expected.numpy())


def test_many_repeats_add_up_exactly():
    x = tn.zeros((3, 2), dtype=tn.float64, requires_grad=True)
    index = np.random.default_rng(0).integers(0, 3, 1000)
    dy = np.random.default_rng(1).normal(size=(1000, 2))
    x[index].backward(tn.tensor(dy))
    np.testing.assert_allclose(x.grad.numpy(), [dy[index == k].sum(0) for k in range(3)], rtol=1e-12)


# -- assignment


def draw_key(rng, shape):
    """A key as users write it: ints, slices, None, Ellipsis, and distinct positions as a tensor."""
    kinds = ["int", "negative", "all", "part", "tensor", "bools"]
    key, arrays = [], int(rng.integers(1, 4))
    for size in shape:
        kind = rng.choice(kinds)
        positions = rng.permutation(size)[: min(arrays, size)]
        key.append(
            {
                "int": int(positions[0]),
                "negative": -1,
                "all": slice(None),
                "part": slice(0, size - 1),
                "tensor": positions if len(positions) == arrays else slice(None),
                "bools": np.arange(size) < arrays if size >= arrays else slice(None),
            }[kind]
        )
    start, stop = sorted(rng.integers(0, len(shape) + 1, 2))
    if rng.random() < 0.5:
        key[start:stop] = [...]
    if rng.random() < 0.5:
        key.insert(int(rng.integers(len(key) + 1)), None)
    return tuple(tn.tensor(k) if isinstance(k, np.ndarray) else k for k in key)


@pytest.mark.parametrize("seed", range(80))
def test_assignment_takes_the_shape_that_reading_gives(seed):
    rng = np.random.default_rng(seed)
    x = tn.tensor(rng.normal(size=(3, 4, 2, 5)))
    key = draw_key(rng, x.shape)
    value = tn.tensor(rng.normal(size=x[key].shape))
    x[key] = value
    np.testing.assert_array_equal(x[key].numpy(), value.numpy())


def test_assignment_beside_ints_is_pytorchs(torch):
    x, reference = tn.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    value, index = np.arange(6.0, dtype=np.float32).reshape(3, 2), [3, 0]
    x[1, :, tn.tensor(index)] = tn.tensor(value)
    reference[1, :, torch.tensor(index)] = torch.tensor(value)
    x[0, :, [1, 2]] = 7.0
    reference[0, :, [1, 2]] = 7.0
    np.testing.assert_array_equal(x.numpy(), reference.numpy())
    with pytest.raises(TypeError, match="by integers or bools"):
        x[tn.tensor([0.0])] = 1.0
    with pytest.raises(IndexError, match="out of bounds"):
        x[2, :, [0]] = 1.0
