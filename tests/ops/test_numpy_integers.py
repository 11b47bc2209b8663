"""NumPy's integers do wherever an int does."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.nn import functional as F

ONE, TWO = np.int64(1), np.int32(2)
CALLS = {
    "softmax": lambda x, one, two: F.softmax(x, one),
    "log_softmax": lambda x, one, two: F.log_softmax(x, one),
    "softmin": lambda x, one, two: F.softmin(x, one),
    "split": lambda x, one, two: tn.cat(x.split(two, one)),
    "chunk": lambda x, one, two: tn.cat(x.chunk(two, one)),
    "sum": lambda x, one, two: x.sum(one),
    "norm": lambda x, one, two: x.norm(2, one),
    "transpose": lambda x, one, two: x.transpose(one, two),
    "reshape": lambda x, one, two: x.reshape(two, -one),
    "normalize": lambda x, one, two: F.normalize(x, dim=one),
    "group_norm": lambda x, one, two: F.group_norm(x, two),
    "layer_norm": lambda x, one, two: F.layer_norm(x, one + two),
    "local_response_norm": lambda x, one, two: F.local_response_norm(x, two),
    "cumsum": lambda x, one, two: x.cumsum(one),
    "roll": lambda x, one, two: x.roll(one, two),
    "pad": lambda x, one, two: F.pad(x, (one, two)),
    "max_pool1d": lambda x, one, two: F.max_pool1d(x, two, stride=one),
    "one_hot": lambda x, one, two: F.one_hot(tn.tensor([1]), two),
    "stack": lambda x, one, two: tn.stack([x, x], one),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_numpys_integers_are_ints(call):
    x = tn.randn(2, 4, 3)
    np.testing.assert_array_equal(call(x, ONE, TWO).numpy(), call(x, 1, 2).numpy())


@pytest.mark.parametrize("wrong", [1.0, "1", None])
def test_what_is_not_an_integer_is_no_axis(wrong):
    with pytest.raises(TypeError, match="dim"):
        F.softmax(tn.ones(2, 3), wrong)
