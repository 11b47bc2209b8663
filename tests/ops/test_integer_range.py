"""Numbers that an integer tensor cannot hold raise OverflowError; none becomes a float in silence."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

TOO_LARGE = [2**63, -(2**63) - 1, 2**64, 2**70, -(2**70)]
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("shape", ["number", "list", "with 1", "with -1", "nested"])
def test_ints_beyond_int64_make_no_tensor(number, shape):
    data = {"number": number, "list": [number], "with 1": [1, number], "with -1": [-1, number]}
    data["nested"] = [[1, 2], [3, number]]
    with pytest.raises(OverflowError, match=f"{number} does not fit int64, which holds -922337203685477580"):
        tn.tensor(data[shape])


@pytest.mark.parametrize("number", TOO_LARGE)
def test_as_floats_they_do(number, torch):
    for dtype in ("float32", "float64"):
        made = tn.tensor([1, number], dtype=dtype)
        assert made.tolist() == torch.tensor([1, number], dtype=getattr(torch, dtype)).tolist()
        assert made.dtype == dtype
    assert tn.tensor([1.5, number]).tolist() == torch.tensor([1.5, number]).tolist()
    assert tn.tensor([1.5, number]).dtype == np.float32


def test_the_largest_integers_are_exact():
    assert tn.tensor([2**63 - 1, -(2**63)]).tolist() == [2**63 - 1, -(2**63)]
    assert tn.tensor(np.array([2**63], np.uint64)).tolist() == [2**63]
    assert tn.tensor([np.uint64(2**63)]).tolist() == [2**63]
    assert tn.tensor([2**63], dtype=np.uint64).tolist() == [2**63]
    assert tn.tensor([2.9, -1.0], dtype=tn.int64).tolist() == [2, -1]
    assert tn.tensor([-128.5, 127.5], dtype=np.int8).tolist() == [-128, 127]
    assert tn.tensor([9.3e18]).dtype == np.float32


WRITES = {
    "tensor": lambda value, dtype: tn.tensor([value], dtype=dtype),
    "as_tensor": lambda value, dtype: tn.as_tensor([value], dtype=dtype),
    "full": lambda value, dtype: tn.full((2,), value, dtype=dtype),
    "full_like": lambda value, dtype: tn.full_like(tn.ones(2, dtype=dtype), value),
    "fill_": lambda value, dtype: tn.ones(2, dtype=dtype).fill_(value),
    "x[0] =": lambda value, dtype: tn.ones(2, dtype=dtype).__setitem__(0, value),
    "constant_": lambda value, dtype: nn.init.constant_(tn.ones(2, dtype=dtype), value),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (NAN, "int64"),
        (INF, "int32"),
        (-INF, "int64"),
        (1e19, "int64"),
        (2**40, "int32"),
        (2**70, "int64"),
        (300, "int8"),
        (128.0, "int8"),
        (-1, "uint8"),
    ],
)
def test_what_does_not_fit_an_integer_dtype_raises(write, value, dtype):
    with pytest.raises(OverflowError, match=f"does not fit {dtype}, which holds"):
        write(value, dtype)


def test_ranges():
    for make in (lambda: tn.full((2,), 2**63), lambda: tn.arange(2**63 - 2, 2**63 + 1)):
        with pytest.raises(OverflowError, match="does not fit int64"):
            make()
    with pytest.raises(OverflowError, match="1099511627775 does not fit int32"):
        tn.randint(0, 2**40, (2,), dtype=tn.int32)
    assert tn.randint(0, 2**31, (2,), dtype=tn.int32).dtype == np.int32


RANDOM = ["normal_", "uniform_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_"]
RANDOM += ["kaiming_normal_", "orthogonal_", "sparse_"]


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_random_numbers_fill_no_integers(name, dtype):
    x = tn.ones(4, 4, dtype=dtype)
    arguments = (0.1,) if name == "sparse_" else ()
    with pytest.raises(TypeError, match=f"fills with fractions, got a tensor of {dtype}"):
        getattr(nn.init, name)(x, *arguments)
    assert bool((x == 1).all())
    assert getattr(nn.init, name)(x.float(), *arguments).dtype == np.float32


def test_every_initializer_is_tried_or_fills_with_whole_numbers():
    fills = {name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")}
    assert fills - set(RANDOM) == {"constant_", "ones_", "zeros_", "eye_", "dirac_"}
