"""The flat buffers: parameters and gradients stay views of them, whatever is assigned to either."""

import copy
import pickle

import numpy
import pytest

from tinygrad_norm import optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Module, Parameter
from tinygrad_norm.optim.flat_buffers import ALIGN, BLOCK


class Net(Module):
    def __init__(self, dtype=numpy.float32):
        super().__init__()
        rng = numpy.random.default_rng(0)
        self.weight = Parameter(rng.normal(size=(3, 5)).astype(dtype))
        self.bias = Parameter(rng.normal(size=5).astype(dtype))
        self.scale = Parameter(numpy.asarray(rng.normal(), dtype))

    def forward(self, x):
        return ((x @ self.weight + self.bias) * self.scale) ** 2


def x(dtype=numpy.float32, seed=0):
    return Tensor(numpy.random.default_rng(seed).normal(size=(4, 3)).astype(dtype))


def train(net, optimizer, steps=1, seed=0):
    for i in range(steps):
        optimizer.zero_grad()
        net(x(net.weight.dtype, seed + i)).sum().backward()
        optimizer.step()


def buffers(optimizer):
    return [buffer for flat in optimizer._layout for buffer in flat.buffers]


def assert_flat(optimizer, params):
    """Every parameter is a view of one array, aligned, and none overlaps another."""
    arrays = [p.array for p in params]
    for array in arrays:
        assert any(numpy.shares_memory(array, buffer.values) for buffer in buffers(optimizer))
        assert array.ctypes.data % (ALIGN * array.itemsize) == 0
    for i, a in enumerate(arrays):
        assert not any(numpy.shares_memory(a, b) for b in arrays[:i])


def test_parameters_move_in_with_their_values():
    net, untouched = Net(), Net()
    optimizer = optim.Adam(net.parameters())
    assert_flat(optimizer, net.parameters())
    for p, q in zip(net.parameters(), untouched.parameters(), strict=True):
        assert p.shape == q.shape
        numpy.testing.assert_array_equal(p.array, q.array)
    assert net.weight.is_leaf
    assert net.weight.requires_grad


def test_backward_writes_gradients_into_the_buffer():
    net = Net()
    optimizer = optim.Adam(net.parameters())
    reference = Net()
    net(x()).sum().backward()
    reference(x()).sum().backward()
    (buffer,) = buffers(optimizer)
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        assert numpy.shares_memory(p.grad.array, buffer.gradients)
        numpy.testing.assert_array_equal(p.grad.array, q.grad.array)


def test_gradients_accumulate_in_the_buffer():
    net, reference = Net(), Net()
    optimizer = optim.SGD(net.parameters())
    for model in (net, reference):
        model(x()).sum().backward()
        model(x(seed=1)).sum().backward()
    (buffer,) = buffers(optimizer)
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        assert numpy.shares_memory(p.grad.array, buffer.gradients)
        numpy.testing.assert_array_equal(p.grad.array, q.grad.array)


HOLD = {
    "the tensor": lambda grad: grad,
    "its array": lambda grad: grad.array,
    "an array of it": lambda grad: grad.numpy(),
    "a view of that": lambda grad: grad.numpy().reshape(-1)[1:],
    "detached": lambda grad: grad.detach(),
}


@pytest.mark.parametrize("hold", HOLD.values(), ids=HOLD.keys())
@pytest.mark.parametrize("forget", ["zero_grad", "by hand"])
def test_a_gradient_that_is_kept_keeps_its_values(hold, forget):
    net, reference = Net(), Net()
    optimizer, unflat = optim.SGD(net.parameters(), lr=0.01), optim.SGD(reference.parameters(), lr=0.01)
    kept, expected = [], []
    for step in range(4):
        net(x(seed=step)).sum().backward()
        kept.append(hold(net.weight.grad))
        value = kept[-1].array if isinstance(kept[-1], Tensor) else kept[-1]
        expected.append(value.copy())
        optimizer.step()
        if forget == "by hand":
            net.weight.grad = net.bias.grad = net.scale.grad = None
        else:
            optimizer.zero_grad()
        train(reference, unflat, seed=step)
    for value, before in zip(kept, expected, strict=True):
        numpy.testing.assert_array_equal(value.array if isinstance(value, Tensor) else value, before)
    numpy.testing.assert_array_equal(net.weight.array, reference.weight.array)
    del kept, value
    net(x()).sum().backward()
    assert any(numpy.shares_memory(net.weight.grad.array, buffer.gradients) for buffer in buffers(optimizer))


def test_an_assigned_gradient_is_used_and_stays_the_users():
    net, reference = Net(), Net()
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    gradients = [Tensor(numpy.full(p.shape, 2.0, numpy.float32)) for p in net.parameters()]
    for p, dx in zip(net.parameters(), gradients, strict=True):
        p.grad = dx
    optimizer.step()
    for p, q, dx in zip(net.parameters(), reference.parameters(), gradients, strict=True):
        numpy.testing.assert_allclose(p.array, q.array - 1.0, rtol=1e-6)
        assert p.grad is dx
    net(x()).sum().backward()
    assert gradients[0].array.ravel()[0] != 2.0  # added to, as in PyTorch


def test_gradients_from_before_the_optimizer_count():
    net, reference = Net(), Net()
    net(x()).sum().backward()
    optim.SGD(net.parameters(), lr=0.1).step()
    train(reference, optim.SGD(reference.parameters(), lr=0.1))
    numpy.testing.assert_array_equal(net.weight.array, reference.weight.array)


CHANGES = {
    "another array": lambda p: setattr(p, "data", p.array * 2),
    "a tensor": lambda p: setattr(p, "data", Tensor(p.array * 2)),
    "in place through data": lambda p: setattr(p, "data", numpy.multiply(p.data, 2, out=p.data)),
    "copy_": lambda p: p.copy_(p.array * 2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_values_assigned_later_are_trained_on(change):
    net, reference = Net(), Net()
    optimizer, fresh = optim.Adam(net.parameters()), optim.Adam(reference.parameters())
    train(net, optimizer, 2)
    train(reference, fresh, 2)
    change(net.weight)
    reference.weight.array[...] *= 2
    train(net, optimizer, 3)
    train(reference, fresh, 3)
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        numpy.testing.assert_array_equal(p.array, q.array)
    assert_flat(optimizer, net.parameters())


def test_data_of_another_parameter_raises():
    net = Net()
    net.tied = Parameter(numpy.zeros((3, 5), numpy.float32))
    optimizer = optim.SGD(net.parameters())
    net.tied.data = net.weight.data
    with pytest.raises(ValueError, match="share memory"):
        optimizer.step()


def test_load_state_dict_reaches_the_buffer():
    net, source = Net(), Net()
    source.weight.fill_(3.0)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net.load_state_dict(source.state_dict())
    numpy.testing.assert_array_equal(net.weight.array, source.weight.array)
    train(net, optimizer)
    train(source, optim.SGD(source.parameters(), lr=0.1))
    numpy.testing.assert_array_equal(net.weight.array, source.weight.array)
    assert_flat(optimizer, net.parameters())


def test_another_dtype_takes_moments_and_counts_along():
    net, reference = Net(), Net()
    optimizer, other = optim.Adam(net.parameters()), optim.Adam(reference.parameters())
    train(net, optimizer, 3)
    train(reference, other, 3)
    moments = [state["exp_avg"].array.copy() for state in optimizer.state.values()]
    net.double()
    for state, moment in zip(optimizer.state.values(), moments, strict=True):
        assert (moment.dtype, state["exp_avg"].dtype) == (numpy.float32, numpy.float64)
        numpy.testing.assert_array_equal(state["exp_avg"].array, moment)
    train(net, optimizer, 3)
    assert net.weight.dtype == numpy.float64
    assert net.weight.grad.dtype == numpy.float64
    assert_flat(optimizer, net.parameters())
    assert [state["step"].item() for state in optimizer.state.values()] == [6, 6, 6]
    train(reference, other, 3)
    numpy.testing.assert_allclose(net.weight.array, reference.weight.array, rtol=1e-5)


def test_a_dtype_changed_on_one_parameter_makes_a_second_buffer():
    net = Net()
    optimizer = optim.Adam(net.parameters())
    train(net, optimizer)
    net.bias.data = net.bias.array.astype(numpy.float64)
    optimizer.zero_grad()
    net(x()).sum().backward()
    assert net.bias.grad.dtype == numpy.float64
    optimizer.step()
    assert [buffer.values.dtype for buffer in buffers(optimizer)] == [numpy.float32, numpy.float64]
    assert [state["step"].item() for state in optimizer.state.values()] == [2, 2, 2]
    assert_flat(optimizer, net.parameters())


def test_mixed_dtypes_in_a_group():
    p = [Parameter(numpy.ones(3, dtype)) for dtype in ("f4", "f8", "f4", "f2")]
    optimizer = optim.SGD(p, lr=0.5)
    assert len(buffers(optimizer)) == 3
    for parameter in p:
        parameter.grad = Tensor(numpy.ones(3, parameter.dtype))
    optimizer.step()
    for parameter in p:
        numpy.testing.assert_array_equal(parameter.array, [0.5, 0.5, 0.5])


def test_two_optimizers_for_different_parameters():
    net, reference = Net(), Net()
    first, second = optim.SGD([net.weight], lr=0.1), optim.SGD([net.bias, net.scale], lr=0.1)
    single = optim.SGD(reference.parameters(), lr=0.1)
    for step in range(3):
        net(x(seed=step)).sum().backward()
        first.step()
        second.step()
        first.zero_grad()
        second.zero_grad()
        train(reference, single, seed=step)
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        numpy.testing.assert_array_equal(p.array, q.array)


def test_two_optimizers_for_the_same_parameters_take_turns():
    net, reference = Net(), Net()
    first, second = optim.SGD(net.parameters(), lr=0.1), optim.SGD(net.parameters(), lr=0.01)
    single = optim.SGD(reference.parameters())
    for step in range(4):
        train(net, (first, second)[step % 2], seed=step)
        single.param_groups[0]["lr"] = (0.1, 0.01)[step % 2]
        train(reference, single, seed=step)
    numpy.testing.assert_array_equal(net.weight.array, reference.weight.array)


def test_a_shared_parameter_gets_both_gradients_once():
    rng = numpy.random.default_rng(0)
    tied, a = Parameter(rng.normal(size=(3, 3))), rng.normal(size=(2, 3))
    optimizer = optim.SGD([tied], lr=1.0)
    before = tied.array.copy()
    ((Tensor(a) @ tied) @ tied).sum().backward()
    ones = numpy.ones((2, 3))
    expected = a.T @ (ones @ before.T) + (a @ before).T @ ones
    optimizer.step()
    numpy.testing.assert_allclose(tied.array, before - expected, rtol=1e-12)


def test_parameters_in_any_memory_order():
    rng = numpy.random.default_rng(0)
    array = rng.normal(size=(4, 3))
    p = [Parameter(array.T), Parameter(rng.normal(size=(2, 2, 2))[::-1])]
    expected = [q.array.copy() for q in p]
    optimizer = optim.SGD(p, lr=0.5)
    for q, before in zip(p, expected, strict=True):
        numpy.testing.assert_array_equal(q.array, before)
        q.grad = Tensor(numpy.ones(q.shape))
    optimizer.step()
    for q, before in zip(p, expected, strict=True):
        numpy.testing.assert_array_equal(q.array, before - 0.5)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_more_than_a_block_is_stepped_like_less(make):
    n = 2 * BLOCK + 37
    rng = numpy.random.default_rng(0)
    values, dx = rng.normal(size=n).astype(numpy.float32), rng.normal(size=n).astype(numpy.float32)
    whole, parts = Parameter(values), [Parameter(part) for part in numpy.array_split(values, 7)]
    one, seven = make([whole], 0.1, weight_decay=0.1), make(parts, 0.1, weight_decay=0.1)
    for _ in range(3):
        whole.grad = Tensor(dx)
        for part, gradient in zip(parts, numpy.array_split(dx, 7), strict=True):
            part.grad = Tensor(gradient)
        one.step()
        seven.step()
    numpy.testing.assert_array_equal(whole.array, numpy.concatenate([part.array for part in parts]))


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_a_copy_goes_its_own_way(again):
    net = Net()
    optimizer = optim.Adam(net.parameters())
    train(net, optimizer, 3)
    twin, twin_optimizer = again((net, optimizer))
    values = net.weight.array.copy()
    train(twin, twin_optimizer, 2, seed=5)
    numpy.testing.assert_array_equal(net.weight.array, values)
    train(net, optimizer, 2, seed=5)
    numpy.testing.assert_array_equal(net.weight.array, twin.weight.array)
    assert_flat(twin_optimizer, twin.parameters())
