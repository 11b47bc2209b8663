"""Numbers of more than 64 bits raise TypeError wherever they enter, with what to do."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

WIDE = np.longdouble
pytestmark = pytest.mark.skipif(np.dtype(WIDE).itemsize == 8, reason="long double is float64 here")
X = np.ones((2, 3), WIDE)


def assigned():
    tn.zeros(2, 3).data = X


def filled():
    tn.zeros(2, 3).copy_(X)


ENTRIES = {
    "tensor": lambda: tn.tensor(X),
    "tensor of a list": lambda: tn.tensor([WIDE(1)]),
    "tensor with dtype": lambda: tn.tensor([1.0], dtype=WIDE),
    "tensor of a scalar": lambda: tn.tensor(WIDE(1)),
    "Tensor": lambda: tn.Tensor(X),
    "Parameter": lambda: nn.Parameter(X),
    "from_numpy": lambda: tn.from_numpy(X),
    "as_tensor": lambda: tn.as_tensor(X),
    "zeros": lambda: tn.zeros(2, dtype=WIDE),
    "full": lambda: tn.full((2,), 1.0, dtype=WIDE),
    "arange": lambda: tn.arange(3, dtype=WIDE),
    "linspace": lambda: tn.linspace(0, 1, 3, dtype=WIDE),
    "rand": lambda: tn.rand(2, dtype=WIDE),
    "randn": lambda: tn.randn(2, dtype=WIDE),
    "ones_like": lambda: tn.ones_like(tn.ones(2), dtype=WIDE),
    "to": lambda: tn.ones(2).to(WIDE),
    "to by name": lambda: tn.ones(2).to("longdouble"),
    "astype": lambda: tn.ones(2).astype(WIDE),
    "module.to": lambda: nn.Linear(2, 2).to(WIDE),
    "module.astype": lambda: nn.Linear(2, 2).to(dtype=WIDE),
    "data": assigned,
    "copy_": filled,
    "operand": lambda: tn.ones(2, 3) + X,
    "operand on the left": lambda: X * tn.ones(2, 3),
    "scalar operand": lambda: tn.ones(2) * WIDE(1),
    "function": lambda: tn.exp(X),
    "cat": lambda: tn.cat([X, X]),
    "where": lambda: tn.where(tn.ones(2, 3) > 0, X, 0.0),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_long_doubles_are_refused(name):
    with pytest.raises(TypeError, match=r"not supported: convert them to float64|Unsupported dtype"):
        ENTRIES[name]()
