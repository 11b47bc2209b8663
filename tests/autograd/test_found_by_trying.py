"""Faults of the engine that were found by trying, each with the value or the error that is right."""

import copy
import gc
import operator
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Function


def leaf(*values):
    return tn.tensor(np.array(values, np.float64), requires_grad=True)


# -- retained gradients and hooks


def test_retaining_twice_keeps_the_gradient_once():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [6, 12])


@pytest.mark.parametrize("first", ["retain", "hook"])
def test_a_retained_gradient_is_that_after_all_hooks(first):
    x = leaf(1.0)
    y = x * 3
    steps = [y.retain_grad, lambda: y.register_hook(lambda g: g * 10)]
    for step in steps if first == "retain" else reversed(steps):
        step()
    y.sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [10])
    np.testing.assert_array_equal(x.grad.numpy(), [30])


def test_a_retained_gradient_adds_up_as_a_leafs_does():
    x = leaf(1.0)
    y = x * 3
    y.retain_grad()
    loss = y.sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(y.grad.numpy(), [2])


def test_a_constant_retains_no_gradient():
    with pytest.raises(RuntimeError, match="requires grad"):
        (tn.ones(2) * 2).retain_grad()


def test_retaining_makes_no_cycle():
    def step():
        y = leaf(1.0) * 3
        y.retain_grad()
        y.sum().backward()

    step()
    gc.collect()
    gc.disable()
    try:
        step()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_hook_that_changes_the_dtype_raises():
    x = leaf(1.5)
    x.register_hook(lambda g: g.long())
    with pytest.raises(RuntimeError, match="dtype int64 for a gradient of dtype float64"):
        (x * 2).sum().backward()


def test_a_handle_removes_its_own_registration_only():
    x, calls = leaf(1.0), []

    def hook(g):
        calls.append(g)

    first, _ = x.register_hook(hook), x.register_hook(hook)
    first.remove()
    first.remove()
    (x * 2).sum().backward()
    assert len(calls) == 1


# -- what requires a gradient


def test_a_leaf_frozen_after_the_forward_gets_no_gradient():
    x, w = leaf(1.0), leaf(2.0)
    y = x * w
    x.requires_grad_(False)
    y.sum().backward()
    assert x.grad is None
    np.testing.assert_array_equal(w.grad.numpy(), [1])


def test_integers_from_a_function_require_no_gradient():
    class Sign(Function):
        def forward(self, x):
            return np.sign(x).astype(int)

        def backward(self, dy):
            return dy * 0

    y = Sign.apply(leaf(1.0, -2.0))
    assert not y.requires_grad
    assert y.creator is None


def test_data_of_a_leaf_that_requires_grad_stays_floating_point():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="int64"):
        x.data = tn.tensor([3])
    np.testing.assert_array_equal(x.numpy(), [1.0])


# -- silent losses of the graph


@pytest.mark.parametrize(
    "write",
    [
        lambda out, h: operator.setitem(out, slice(0, 1), h),
        lambda out, h: operator.setitem(out, slice(None), out + h),
        lambda out, h: operator.setitem(out, slice(None), [h.sum()]),
        lambda out, h: out.copy_(h),
        lambda out, h: out.fill_(h.sum()),
    ],
    ids=["item", "slice", "list", "copy_", "fill_"],
)
@pytest.mark.parametrize("made", [lambda x: x * 1, lambda x: x], ids=["computed", "leaf"])
def test_writing_a_tensor_that_requires_grad_into_a_constant_raises(write, made):
    out, h = tn.zeros(1, dtype=tn.float64), made(leaf(2.0))
    with pytest.raises(RuntimeError, match="is not recorded"):
        write(out, h)
    np.testing.assert_array_equal(out.numpy(), [0])
    with tn.no_grad():
        write(out, h)
    assert out.item() == 2


@pytest.mark.parametrize(
    "write",
    [lambda y: y.zero_(), lambda y: y.fill_(3), lambda y: y.copy_(np.ones(2)), lambda y: y.copy_(tn.ones(2))],
    ids=["zero_", "fill_", "copy_ of an array", "copy_ of a constant"],
)
@pytest.mark.parametrize("of", [lambda y: y, lambda y: y[:2]], ids=["all", "view"])
def test_overwriting_a_computed_tensor_raises(write, of):
    x = leaf(1.0, 2.0)
    y = x * 2
    with pytest.raises(RuntimeError, match="overwriting a computed tensor"):
        write(of(y))
    np.testing.assert_array_equal(y.detach().numpy(), [2, 4])
    with tn.no_grad():
        write(of(y))
    write(y.detach())
    assert y.detach().tolist() != [2, 4]


def test_no_grad_does_not_decorate_a_generator_function():
    with pytest.raises(TypeError, match="generator"):

        @tn.no_grad()
        def steps():
            yield 1


# -- Python's and NumPy's protocols


def test_numpy_array_copies():
    x = tn.tensor([1.0, 2.0])
    backup, view = np.array(x), np.asarray(x)
    x += 1
    np.testing.assert_array_equal(backup, [1, 2])
    np.testing.assert_array_equal(view, [2, 3])
    assert np.array(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.array(x, dtype=np.float64, copy=False)


def test_a_pickled_tensor_is_its_values_as_a_leaf():
    x = leaf(*range(10_000))
    y = (x * 2).sum()
    for _ in range(5_000):  # a graph deeper than Python's stack
        y = y + 1
    again = pickle.loads(pickle.dumps(y))
    assert again.item() == y.item()
    assert again.is_leaf
    assert again.requires_grad
    again.backward()
    assert again.grad.item() == 1
    for small in (y, x[3:5], (x * 2)[3:5], x.detach()[3]):
        assert len(pickle.dumps(small)) < 500
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(small)).numpy(), small.detach().numpy())


def test_a_pickled_tensor_keeps_what_is_its_own():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    raw = x.numpy()  # being watched for writes
    again = pickle.loads(pickle.dumps(x))
    assert again.requires_grad
    np.testing.assert_array_equal(again.grad.numpy(), [3, 3])
    raw[0] = 5
    np.testing.assert_array_equal(again.numpy(), [1, 2])


def test_a_shallow_copy_of_a_computed_tensor_keeps_its_graph():
    x = leaf(1.0)
    copy.copy(x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3])


def test_integer_tensors_are_indices():
    n = tn.tensor(2)
    assert [1, 2, 3][n] == 3
    assert list(range(n)) == [0, 1]
    assert tn.zeros(n, 3).shape == (2, 3)
    for wrong in (tn.tensor(2.0), tn.tensor([1, 2]), tn.tensor(True)):
        with pytest.raises(TypeError, match="index"):
            operator.index(wrong)


def test_contains():
    x = tn.tensor([1.0, 2.0])
    assert 2 in x
    assert 3 not in x


def test_deleting_a_gradient():
    x = leaf(1.0)
    (x * 2).sum().backward()
    del x.grad
    assert x.grad is None


class Mine:
    def __radd__(self, other):
        return "mine"

    __rmul__ = __rsub__ = __rtruediv__ = __rpow__ = __rmatmul__ = __radd__

    def __eq__(self, other):
        return "equal"

    __hash__ = None


@pytest.mark.parametrize("name", ["add", "mul", "sub", "truediv", "pow", "matmul"])
def test_the_other_operand_has_its_turn(name):
    assert getattr(operator, name)(tn.ones(2), Mine()) == "mine"
    with pytest.raises(TypeError, match="unsupported operand"):
        getattr(operator, name)(tn.ones(2), object())


def test_equality_with_anything_else_is_pythons():
    assert (tn.ones(2) == Mine()) == "equal"
    assert (tn.ones(2) == object()) is False
    assert (tn.ones(2) != None) is True  # noqa: E711


# -- parameters


def test_a_parameter_is_in_c_order():
    """safetensors writes the bytes of an array as they lie."""
    from safetensors.numpy import load, save

    w = np.arange(6.0).reshape(2, 3).T
    p = nn.Parameter(w)
    assert p.array.flags.c_contiguous
    np.testing.assert_array_equal(load(save({"p": p.numpy()}))["p"], w)
