"""Changing an array between forward and backward: it raises, or the gradient is right all the same."""

import numpy as np
import pytest
from gradients import leaf

import tinygrad_norm as tn
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.autograd.memory import watched
from tinygrad_norm.gradient_check.registered import cotangent, draw
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
def test_every_op_detects_a_changed_input_or_output(op):
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


# -- writes to the raw array


def write_first_of(row):
    row[0] = 100


@pytest.mark.parametrize(
    "write",
    [
        lambda x: write_first_of(x.data[0]),
        lambda x: write_first_of(x.data.reshape(-1)),
        lambda x: write_first_of(x.numpy().T),
        lambda x: write_first_of(list(x.data)[1]),
        lambda x: write_first_of(np.asarray(x)[::-1][:1].view()),
        lambda x: tn.Tensor(x.data[0:1]).zero_(),
        lambda x: np.add(x.data[0], 1, out=x.data[0]),
        lambda x: np.multiply(x.data.flat[:1], 2, out=x.data.ravel()[:1]),
        lambda x: memoryview(x.data.reshape(-1)).__setitem__(0, 100.0),
    ],
)
def test_a_write_to_a_view_of_the_raw_array_is_detected(write):
    x = tn.tensor(np.arange(1.0, 5).reshape(2, 2), requires_grad=True)
    y = (x * x).sum()
    write(x)
    with pytest.raises(RuntimeError, match=r"input 0 of Mul .* was changed in place"):
        y.backward()


def test_a_view_of_the_raw_array_is_watched_for_as_long_as_it_is_held():
    x = tn.tensor(np.arange(1.0, 5).reshape(2, 2), requires_grad=True)
    held = x.numpy()[:1]
    y = (x * x).sum()
    y.backward(retain_graph=True)
    held += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    assert watched
    del held
    assert not watched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, bool])
@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        lambda a: a.T[::-1],
        lambda a: a[0, 0],
        lambda a: a[:0],
        lambda a: np.broadcast_to(a[0], (3, 2)),
    ],
    ids=["whole", "turned", "0-d", "empty", "broadcast"],
)
def test_the_raw_array_is_a_plain_view(make, dtype):
    array = np.asarray(make(np.ones((2, 2), dtype)))
    x = tn.Tensor(array)
    for raw in (x.data, x.numpy(), np.asarray(x)):
        assert type(raw) is np.ndarray
        assert (raw.shape, raw.dtype, raw.strides) == (array.shape, array.dtype, array.strides)
        assert raw.flags.writeable == array.flags.writeable
        assert raw.ctypes.data == array.ctypes.data


def test_data_is_replaced_by_a_view_of_itself():
    x = tn.tensor([[1.0, 2.0], [3.0, 4.0]])
    x.data = x.data.T
    assert x.tolist() == [[1, 3], [2, 4]]
    x.data = x.data[::-1]
    assert x.tolist() == [[2, 4], [1, 3]]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_saved_arrays_that_are_not_in_a_tuple_raise_if_a_write_may_follow(shape):
    class Exp(Function):
        def forward(self, x):
            self.saved = np.exp(x)
            return self.saved

        def backward(self, dy):
            return dy * self.saved

    y = Exp.apply(tn.Tensor(np.ones(shape), requires_grad=True))
    with pytest.raises(
        TypeError, match=r"Exp.forward set self.saved to a \w+, not a tuple: self.saved = \(x,\)"
    ):
        _ = y.data


def test_a_parameter_shares_its_memory_with_the_tensor_it_was_made_of():
    a = tn.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = (a * a).sum()
    parameter = tn.nn.Parameter(a)
    with tn.no_grad():
        parameter.copy_(np.array([3.0, 4.0]))
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_two_parameters_can_be_made_of_one_tensor():
    a = tn.ones(3)
    first, second = tn.nn.Parameter(a), tn.nn.Parameter(a)
    with tn.no_grad():
        second.add_(1)
    assert first.tolist() == a.tolist() == [2, 2, 2]


def test_none_among_the_outputs_raises():
    class Two(Function):
        def forward(self, x):
            return x * 2, None

    with pytest.raises(TypeError, match=r"Two.forward returned a NoneType"):
        Two.apply(tn.Tensor(np.ones(2), requires_grad=True))


# -- saved arrays and outputs


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.data.__setitem__(0, 5.0),
        lambda x: x.numpy().__setitem__(0, 5.0),
        lambda x: x.detach().data.fill(3.0),
        lambda x: x.detach().copy_(np.zeros(3)),
        lambda x: x.reshape(3, 1).data.fill(7.0),
    ],
    ids=["data[0]=", "numpy()[0]=", "detach().data", "detach().copy_", "view.data"],
)
def test_in_place_change_of_a_saved_array_is_detected(write):
    x = leaf(3)
    y = (x * x).sum()
    write(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_replacing_data_leaves_the_saved_array_and_its_gradient_right():
    x = leaf(3)
    old = x.array
    y = (x * x).sum()
    x.data = np.zeros(3)
    y.backward()
    np.testing.assert_allclose(x.grad.array, 2 * old)


def test_augmented_assignment_to_data_is_detected():
    x = leaf(3)
    y = (x * x).sum()
    x.data += 1.0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_in_place_change_of_a_saved_output_is_detected():
    y = leaf(3).exp()
    y.data[0] = 0.0
    with pytest.raises(RuntimeError, match="output of Exp was changed"):
        y.sum().backward()


def test_reading_data_and_changing_what_is_not_saved_are_fine():
    x = leaf(3)
    y = (x + 1.0).sum()
    x.data[0] = 5.0  # an addition saves only shapes
    y.backward()
    x.grad = None
    z = (x * x).sum()
    assert x.data[0] == 5.0
    assert x.numpy().sum() == x.array.sum()
    z.backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array)


def test_a_write_before_the_forward_is_fine_even_while_the_array_is_held():
    x = leaf(3)
    held = x.data
    held[0] = 9.0
    y = (x * x).sum()
    y.backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array)
    y = (x * x).sum()
    held[1] = 8.0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
