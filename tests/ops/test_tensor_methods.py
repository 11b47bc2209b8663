"""Methods that only tensors have: dtypes by name, new tensors like one, strides, random integers."""

import numpy as np
import pytest

import tinygrad_norm as tn

X = np.array([[0.0, -1.5, 2.7], [3.0, 0.5, 100.0]], np.float32)


@pytest.mark.parametrize("name", ["int", "long", "short", "char", "bool", "half", "float", "double"])
def test_the_dtype_of_a_method_is_that_of_pytorch(name, torch):
    mine, other = (getattr(m.tensor(X), name)() for m in (tn, torch))
    assert f"torch.{mine.dtype}" == str(other.dtype)
    np.testing.assert_array_equal(mine.numpy(), other.numpy())


def test_byte_and_type(torch):
    for m in (tn, torch):
        x = m.tensor([0, 3, 255])
        assert x.byte().tolist() == [0, 3, 255]
        assert x.byte().dtype == m.uint8
        assert x.type(m.float64).dtype == m.float64
        assert x.type(dtype=m.int16).dtype == m.short
    x = tn.ones(2, requires_grad=True)
    x.type(tn.float64).sum().backward()
    assert x.grad.tolist() == [1, 1]
    assert not x.int().requires_grad
    with pytest.raises(TypeError, match="takes a device"):
        x.type("torch.FloatTensor")


def test_new_tensors_have_the_dtype_of_the_old(torch):
    for m in (tn, torch):
        x = m.ones(2, dtype=m.float64)
        new = x.new_tensor([[1, 2]])
        assert (new.dtype, new.tolist()) == (m.float64, [[1, 2]])
        assert x.new_tensor(3, dtype=m.int64).dtype == m.int64
        assert x.new_tensor([1.0], requires_grad=True).requires_grad
        empty = x.new_empty(2, 3)
        assert (tuple(empty.shape), empty.dtype) == ((2, 3), m.float64)
        assert x.element_size() == 8


def test_strides_count_elements(torch):
    for m in (tn, torch):
        x = m.ones(2, 3, 4)
        assert tuple(x.stride()) == (12, 4, 1)
        assert x.transpose(0, 2)[::2].stride(0) == 2
        assert (x.stride(-1), tuple(m.tensor(1.0).stride())) == (1, ())
    with pytest.raises(IndexError, match="dim 3 is out of range"):
        tn.ones(2, 3, 4).stride(3)
    with pytest.raises(ValueError, match="stride needs at least one axis"):
        tn.tensor(1.0).stride(0)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_random_integers_in_place(dtype):
    x = tn.zeros(500, dtype=dtype)
    assert x.random_(2) is x
    assert set(x.tolist()) == {0, 1}
    if dtype != "bool":
        assert set(x.random_(3, 6).tolist()) == {3, 4, 5}
    high = 2**24 if dtype == "float32" else 1 if dtype == "bool" else np.iinfo(dtype).max
    largest = x.random_().max() if dtype != "bool" else max(x.random_().tolist())
    assert 0.9 * high < int(largest) <= high


def test_errors_of_random_integers():
    tn.manual_seed(1)
    first = tn.zeros(4).random_(100).tolist()
    tn.manual_seed(1)
    assert tn.zeros(4).random_(100).tolist() == first
    with pytest.raises(ValueError, match="first bound below the second, got 3 and 3"):
        tn.zeros(2).random_(3, 3)
    with pytest.raises(ValueError, match="got 0 and 0"):
        tn.zeros(2).random_(0)
    with pytest.raises(TypeError, match="to must be an int"):
        tn.zeros(2).random_(0, 2.5)
    with pytest.raises(OverflowError, match="does not fit uint8"):
        tn.zeros(2, dtype=tn.uint8).random_(256, 300)
    with pytest.raises(RuntimeError, match="not recorded"):
        (tn.ones(2, requires_grad=True) * 2).random_(3)


def test_index_put_in_place(torch):
    found = []
    for m in (tn, torch):
        x = m.zeros(4)
        assert x.index_put_((m.tensor([0, 0, 2]),), m.ones(3), accumulate=True) is x
        found.append(x.index_put_((m.tensor([3]),), m.tensor([5.0])).tolist())
    assert found[0] == found[1] == [2, 0, 1, 5]
