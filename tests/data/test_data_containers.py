"""Data in containers of other libraries: a DataFrame keeps its dtype, a masked value is never read."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.data import DataLoader, StandardScaler

MASKED = np.ma.array([[1.0, 2.0], [3.0, 1e9]], mask=[[False, False], [False, True]])
READERS = {
    "tensor": tn.tensor,
    "Tensor": tn.Tensor,
    "as_tensor": tn.as_tensor,
    "from_numpy": tn.from_numpy,
    "scaler": lambda x: StandardScaler().fit(x),
    "loader": lambda x: next(iter(DataLoader((x,), batch_size=1))),
    "operand": lambda x: tn.ones(2, 2) * x,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_masked_values_raise(read):
    with pytest.raises(ValueError, match="has 1 masked values"):
        read(MASKED)
    read(MASKED.filled(0))
    read(np.ma.array(MASKED.filled(0)))  # nothing is masked


class Frame:
    """Converts itself to an array, and has no dtype of its own, as a DataFrame."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[16777217.0], [0.1]], dtype)


@pytest.mark.parametrize("read", [tn.tensor, tn.Tensor, tn.as_tensor], ids=["tensor", "Tensor", "as_tensor"])
def test_what_converts_itself_keeps_its_dtype(read):
    x = read(Frame())
    assert x.dtype == np.float64
    assert x[0].item() == 16777217


def test_a_dataframe_keeps_what_its_columns_keep():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [16777217.0, 0.1], "b": [1, 2]})
    x = tn.tensor(frame)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x.numpy(), frame.to_numpy())
    np.testing.assert_array_equal(x[:, 0].numpy(), tn.tensor(frame["a"]).numpy())
    assert tn.tensor(frame[["b"]]).dtype == np.int64
    assert tn.tensor(frame, tn.float32).dtype == np.float32


WAYS = {"tensor": tn.tensor, "Tensor": tn.Tensor, "as_tensor": tn.as_tensor}
each_way = pytest.mark.parametrize("read", WAYS.values(), ids=WAYS.keys())


@each_way
def test_columns_that_are_not_numbers_are_named(read):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [True, False], "name": ["x", "y"]})
    with pytest.raises(TypeError, match=r"real numbers or bools, .* columns 'name' \((str|object)\): drop"):
        read(frame)
    with pytest.raises(TypeError, match=r"'a' \(float64\), 'b' \(bool\) .* no common dtype: convert"):
        read(frame[["a", "b"]])
    wide = pandas.DataFrame({f"c{i}": ["x"] for i in range(7)})
    with pytest.raises(TypeError, match=r"'c4' \(\w+\) and 2 more"):
        read(wide)
    assert read(frame[["b"]]).dtype == bool


@each_way
def test_series_of_pandas(read):
    pandas = pytest.importorskip("pandas")
    assert read(pandas.Series([1, 2], dtype="Int64")).tolist() == [1, 2]
    assert read(pandas.Index([1.5, 2.5])).dtype == np.float64
    assert read(pandas.Series([1, 2], dtype="category")).tolist() == [1, 2]
    for series, words in (
        (pandas.Series(["x"], dtype="category"), "dtype category: encode"),
        (pandas.Series([True, None], dtype="boolean"), "dtype boolean, and some are missing: fill"),
        (pandas.Series(pandas.to_datetime(["2020-01-01"])), "dtype datetime64"),
    ):
        with pytest.raises(TypeError, match=f"real numbers or bools, got values of {words}"):
            read(series)


@each_way
def test_polars(read):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    assert read(frame).tolist() == [[1, 3], [2, 4]]
    assert read(frame["b"]).dtype == np.int64
    with pytest.raises(TypeError, match=r"columns 'c' \(String\)"):
        read(polars.DataFrame({"a": [1.0], "c": ["x"]}))


@each_way
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "bool"])
def test_tensors_of_pytorch(read, dtype, torch):
    theirs = torch.tensor([[0, 1], [1, 0]]).to(getattr(torch, dtype)).T[:, ::2]
    x = read(theirs)
    assert x.dtype == dtype
    assert x.tolist() == theirs.tolist()
    assert read(theirs[:0]).shape == (0, 1)
    assert read(theirs[0, 0]).shape == ()


@each_way
def test_tensors_of_pytorch_that_a_tensor_cannot_hold(read, torch):
    with pytest.raises(RuntimeError, match=r"requires grad.*detach"):
        read(torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="values of dtype bfloat16: convert them to float32 first"):
        read(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="values of dtype complex64"):
        read(torch.ones(2, dtype=torch.complex64))


def test_a_copy_of_pytorchs_numbers_is_a_copy(torch):
    theirs = torch.ones(2)
    x = tn.tensor(theirs)
    theirs.zero_()
    assert x.all()


@each_way
def test_jax(read):
    jax = pytest.importorskip("jax")
    x = read(jax.numpy.arange(3.0))
    assert (x.dtype, x.tolist()) == (np.float32, [0, 1, 2])
    with pytest.raises(TypeError, match="dtype bfloat16: convert them to float32"):
        read(jax.numpy.ones(2, jax.numpy.bfloat16))


class Interface:
    """An array that has only NumPy's older interface."""

    def __init__(self, values):
        self.values, self.__array_interface__ = values, values.__array_interface__


class Exporter:
    """An array that has only DLPack's methods."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@each_way
@pytest.mark.parametrize("kind", [Interface, Exporter], ids=["interface", "dlpack"])
def test_arrays_of_one_protocol(read, kind):
    values = np.array([[16777217.0, 0.1]])
    x = read(kind(values))
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x.numpy(), values)


@pytest.mark.parametrize(
    "data", [np.array(["x"]), np.array([None]), np.array([1j])], ids=["str", "object", "complex"]
)
@each_way
def test_arrays_of_anything_else(read, data):
    with pytest.raises(TypeError, match=f"real numbers or bools, got values of dtype {data.dtype}"):
        read(data)
