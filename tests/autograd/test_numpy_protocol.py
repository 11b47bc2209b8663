"""NumPy's functions on tensors: the values, or an error where a gradient would be lost without a word."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn

VALUES = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
LOSING = {
    "sum": np.sum,
    "sum of rows": lambda x: np.sum(x, axis=1, keepdims=True),
    "mean": np.mean,
    "var": np.var,
    "max": np.max,
    "prod": np.prod,
    "transpose": np.transpose,
    "ravel": np.ravel,
    "norm": np.linalg.norm,
    "concatenate": lambda x: np.concatenate([x, np.ones((1, 2))]),
    "stack": lambda x: np.stack((x, x)),
    "block": lambda x: np.block([[x, x], [x, x]]),
    "where": lambda x: np.where(VALUES > 0, x, 0),
    "clip": lambda x: np.clip(x, 0, 1),
    "dot": lambda x: np.dot(VALUES, x),
    "einsum": lambda x: np.einsum("ij->i", x),
    "split": lambda x: np.split(x, 2),
    "sort": np.sort,
    "median": np.median,
    "pad": lambda x: np.pad(x, 1),
    "expand_dims": lambda x: np.expand_dims(x, 0),
    "option": lambda x: np.clip(VALUES, a_min=x, a_max=None),
}
KEEPING = {
    "argmax": np.argmax,
    "all": np.all,
    "shape": np.shape,
    "size": np.size,
    "allclose": lambda x: np.allclose(x, VALUES),
    "isclose": lambda x: np.isclose(x, 1.0),
    "argsort": np.argsort,
    "zeros_like": np.zeros_like,
    "copy": np.copy,
    "array2string": np.array2string,
    "asarray": np.asarray,
}
OURS = {
    "reshape": lambda x: np.reshape(x, (4,)),
    "squeeze": lambda x: np.squeeze(x, axis=0),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "flip": lambda x: np.flip(x, axis=0),
    "matmul": lambda x: np.matmul(VALUES, x),
}
if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # before, the argument had another name
    OURS["reshape by name"] = lambda x: np.reshape(x, shape=(4,))


@pytest.mark.parametrize("function", (LOSING | KEEPING).values(), ids=(LOSING | KEEPING).keys())
def test_a_constant_is_an_array(function):
    found, right = function(tn.tensor(VALUES)), function(VALUES)
    assert type(found) is type(right)
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("function", LOSING.values(), ids=LOSING.keys())
def test_a_lost_gradient_raises(function):
    x = tn.tensor(VALUES, requires_grad=True)
    with pytest.raises(TypeError, match=r"numpy\..* without a gradient.*x\.detach\(\)"):
        function(x)
    np.testing.assert_array_equal(function(x.detach()), function(VALUES))
    with tn.no_grad():
        np.testing.assert_array_equal(function(x), function(VALUES))


@pytest.mark.parametrize("function", KEEPING.values(), ids=KEEPING.keys())
def test_what_has_no_gradient_is_computed(function):
    np.testing.assert_array_equal(function(tn.tensor(VALUES, requires_grad=True)), function(VALUES))


@pytest.mark.parametrize("function", OURS.values(), ids=OURS.keys())
def test_functions_of_ours_are_recorded(function):
    x = tn.tensor(VALUES, requires_grad=True)
    y = function(x[:1] if function is OURS["squeeze"] else x)
    assert isinstance(y, tn.Tensor)
    assert y.requires_grad
    np.testing.assert_array_equal(y.detach(), function(VALUES[:1] if function is OURS["squeeze"] else VALUES))


@pytest.mark.parametrize(
    ("function", "instead"),
    [
        (lambda x: np.concatenate([x, x]), "tn.cat"),
        (np.linalg.norm, "x.norm"),
        (np.sum, "x.sum"),
        (lambda x: np.expand_dims(x, 0), "x.unsqueeze"),
    ],
)
def test_the_error_names_what_to_call(function, instead):
    with pytest.raises(TypeError, match=f"call {instead}, or numpy"):
        function(tn.tensor(VALUES, requires_grad=True))


def test_what_the_errors_name_exists():
    from tinygrad_norm import nn
    from tinygrad_norm.autograd.numpy_protocol import _INSTEAD

    for text in _INSTEAD.values():
        for name in text.split(" and "):
            root, *path = name.split(".")
            found = {"tn": tn, "x": tn.Tensor, "nn": nn}[root]
            for part in path:
                found = getattr(found, part)


def test_numpy_writes_into_a_constant_where_backward_sees_it():
    x, w = tn.tensor(VALUES), tn.tensor(VALUES, requires_grad=True)
    y = (x * w).sum()
    np.copyto(x, 0)
    assert not x.any()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


# -- __array__


def test_an_array_shares_the_memory_or_not():
    x = tn.tensor(VALUES)
    for shared in (np.asarray(x), np.array(x, copy=False), np.asarray(x, np.float32)):
        assert shared.ctypes.data == x.array.ctypes.data
    for copied in (np.array(x), np.array(x, copy=True), np.array(x, np.float32)):
        assert not np.shares_memory(copied, x.array)
        np.testing.assert_array_equal(copied, VALUES)
        copied[0, 0] = 7
    assert x[0, 0].item() == 1


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool", "complex64", ">f4", "object"])
def test_an_array_of_another_dtype_is_a_copy(dtype):
    x = tn.tensor(VALUES)
    for copy in (None, True):
        found = x.__array__(dtype, copy=copy)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, VALUES.astype(dtype))
        assert not np.shares_memory(found, x.array)
    np.testing.assert_array_equal(np.asarray(x, dtype), VALUES.astype(dtype))
    with pytest.raises(ValueError, match=r"of float32 on 'cpu' is one of .* only as a copy: allow it"):
        np.array(x, dtype, copy=False)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1)], ids=str)
def test_arrays_of_any_shape(shape):
    x = tn.zeros(shape, dtype=tn.float16)
    assert (np.asarray(x).shape, np.asarray(x).dtype) == (shape, np.float16)
    assert np.array(x.T if x.ndim == 2 else x, np.float64).shape == shape[::-1]


def test_a_tensor_of_another_memory_is_an_array_only_as_a_copy():
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    with tn.use_backend("emulator"):
        x = tn.tensor(VALUES)
    np.testing.assert_array_equal(np.asarray(x), VALUES)
    assert np.array(x, np.float64, copy=True).dtype == np.float64
    with pytest.raises(ValueError, match="on 'emulator' is a NumPy array only as a copy"):
        np.array(x, copy=False)


def test_a_write_to_an_array_is_noticed_and_one_to_a_copy_does_not_matter():
    x = tn.tensor(VALUES, requires_grad=True)
    y = (x * x).sum()
    np.array(x.detach())[...] = 0
    y.backward()
    y = (x * x).sum()
    np.asarray(x.detach())[...] = 0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    "read",
    [
        np.asarray,
        lambda y: np.array(y, np.float64, copy=True),
        lambda y: np.array([y, y]),
        lambda y: np.zeros((2, 2)).__setitem__(..., y),
        lambda y: tn.tensor([y[0, 0], y[0, 1]]),
    ],
    ids=["asarray", "array", "list", "assignment", "tensor"],
)
def test_a_computed_tensor_is_not_an_array_without_a_word(read):
    y = tn.tensor(VALUES, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"computed with a gradient.*x\.detach\(\), or x\.numpy\(\)"):
        read(y)
    read(y.detach())
    read(y.numpy())
    with tn.no_grad():
        read(y)
