"""Changing an array between forward and backward: it is noticed, or the gradient is right all the same."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.learn.check import cotangent, draw
from tinygrad_norm.registry import REGISTRY


def run(op, case):
    inputs = draw(case)
    outputs = op.call(inputs, case.options)
    return inputs, outputs if isinstance(outputs, tuple | list) else (outputs,)


def gradients(inputs, outputs):
    outputs = [y for y in outputs if y.requires_grad]
    inputs = [x for x in inputs if x is not None and x.requires_grad]
    dys = [cotangent(y.shape, k) for k, y in enumerate(outputs)]
    dxs = tn.grad(outputs, inputs, dys, allow_unused=True)
    return [None if dx is None else dx.array for dx in dxs]


def overwrite(x):
    old = x.array
    new = ~old if old.dtype == bool else old * 0.37 + 0.61 if old.dtype.kind == "f" else old * 0
    with tn.no_grad():
        x.copy_(new)


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in REGISTRY.values()])
def test_no_op_is_fooled_by_a_changed_input_or_output(op):
    for case in op.cases[:2]:
        inputs, outputs = run(op, case)
        if not any(y.requires_grad for y in outputs):
            continue
        expected = gradients(inputs, outputs)
        for i in range(len(inputs) + len(outputs)):
            inputs, outputs = run(op, case)
            changed = (*inputs, *outputs)[i]
            if changed is None or not changed.array.flags.writeable:
                continue
            overwrite(changed)
            try:
                found = gradients(inputs, outputs)
            except RuntimeError as error:
                assert "changed in place" in str(error)  # noqa: PT017
                continue
            for dx, right in zip(found, expected, strict=True):
                np.testing.assert_allclose(dx, right, rtol=1e-12, err_msg=f"{case}, array {i}")


class SavesRows(Function):
    """y = exp(x), whose rows, or the memory behind them, are saved · dx = dy·y"""

    def forward(self, x, *, how):
        rows = np.exp(x).reshape(-1, x.shape[-1])
        y = rows.reshape(x.shape) if how != "of the output" else np.exp(x)
        rows = y.reshape(-1, x.shape[-1]) if how == "of the output" else rows
        self.saved = (rows.base if how == "the memory" else rows,)
        return (y, y * 0) if how == "one of two" else y

    def backward(self, dy, *_):
        return dy * self.saved[0].reshape(dy.shape)


@pytest.mark.parametrize("how", ["of the memory", "the memory", "of the output", "one of two"])
def test_a_saved_array_that_shares_memory_with_the_output_is_guarded(how):
    x = tn.tensor(np.ones((2, 2, 3)), requires_grad=True)
    y = SavesRows.apply(x, how=how)
    y = y[0] if how == "one of two" else y
    with tn.no_grad():
        y *= 0
    with pytest.raises(RuntimeError, match="output of SavesRows was changed in place"):
        y.sum().backward()


class SavesTheOtherHalf(Function):
    """y = x in one half of an array, ones in the other, which is saved · dx = dy·ones"""

    def forward(self, x):
        both = np.stack([x, np.ones_like(x)])
        self.saved = (both[1],)
        return both[0]

    def backward(self, dy):
        return dy * self.saved[0]


def test_a_saved_array_beside_the_output_may_stay():
    x = tn.tensor(np.ones(3), requires_grad=True)
    y = SavesTheOtherHalf.apply(x)
    with tn.no_grad():
        y *= 0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.array, np.ones(3))
