"""Every registered op on a GPU, on arrays whose axes lie in memory in reverse: x.permute(...) of a tensor.

`empty_like` keeps such an order, in CuPy and in NumPy, so a kernel may get a result that is not
contiguous, which it refuses.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.registered import cotangent
from tinygrad_norm.registry import REGISTRY

QUICK = ["batch_norm", "layer_norm", "gelu"]


def tensor(values, reverse, wanted=False):
    """The values as a tensor, in C order or with its axes in reverse order in memory."""
    made = tn.Tensor(values.T.copy() if reverse else values.copy())
    if reverse and values.ndim > 1:
        made = made.permute(*reversed(range(values.ndim)))
    return made.requires_grad_() if wanted else made


def computed(op, case, reverse):
    """The outputs, and the gradients of what needs one."""
    drawn = case.draw()
    inputs = [None if one is None else tensor(one[0], reverse, one[1]) for one in drawn]
    result = op.call(inputs, case.options)
    ys = result if isinstance(result, tuple) else (result,)
    reached = [y for y in ys if y.requires_grad]
    dys = [tensor(cotangent(y.shape, k).astype(y.dtype), reverse) for k, y in enumerate(reached)]
    xs = [x for x in inputs if x is not None and x.requires_grad]
    dxs = grad(reached, xs, dys, allow_unused=True) if reached and xs else ()
    return [to_numpy(one.array) for one in (*ys, *(dx for dx in dxs if dx is not None))]


@pytest.mark.cuda
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in REGISTRY]
)
def test_the_order_in_memory_changes_nothing(name):
    op = REGISTRY[name]
    with tn.use_backend("cupy"):
        for case in op.cases:
            expected, found = (computed(op, case, reverse) for reverse in (False, True))
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)
