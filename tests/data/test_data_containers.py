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
    with pytest.raises(TypeError, match="real numbers"):
        tn.tensor(pandas.DataFrame({"a": ["x"]}))
