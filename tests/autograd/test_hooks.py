"""Hooks and retain_grad: gradients of computed tensors, seen and replaced."""

import numpy as np
import pytest
from gradients import leaf

import tinygrad_norm as tn


def test_hooks_see_and_replace_gradients_and_can_be_removed():
    x = leaf(3)
    y = x * 2.0
    seen = []
    first = y.register_hook(lambda dy: seen.append(dy.numpy().copy()))
    second = x.register_hook(lambda dx: dx * 10.0)
    y.sum().backward()
    np.testing.assert_array_equal(seen, [[1, 1, 1]])
    np.testing.assert_array_equal(x.grad.array, [20, 20, 20])
    first.remove()
    second.remove()
    second.remove()
    x.grad = None
    (x * 2.0).sum().backward()
    np.testing.assert_array_equal(x.grad.array, [2, 2, 2])


def test_a_leaf_hook_runs_once_on_the_total():
    x = leaf(2)
    calls = []
    x.register_hook(lambda dx: calls.append(dx.tolist()))
    (x * 2.0 + x * 3.0).sum().backward()
    assert calls == [[5.0, 5.0]]


def test_a_hook_is_a_function():
    for x in (leaf(3), leaf(3) * 2):
        with pytest.raises(TypeError, match="a hook is a function of the gradient, got 5"):
            x.register_hook(5)


def test_retain_grad_keeps_an_interior_gradient():
    x = leaf(3)
    y = x * 2.0
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad.array, 2 * y.array)


@pytest.mark.parametrize("kind", [np.asarray, tn.tensor, list], ids=["array", "tensor", "list"])
def test_a_hook_may_return_an_array_a_tensor_or_numbers(kind):
    x = leaf(2)
    y = x * 3.0
    y.register_hook(lambda dy: kind(dy.numpy() * 2.0))
    x.register_hook(lambda dx: kind(dx.numpy() + 1.0))
    (y * 5.0).sum().backward()
    assert x.grad.tolist() == [31, 31]


def test_a_handle_removes_its_hook_at_the_end_of_a_block_and_the_gradients_of_retain_grad_add_up():
    x, seen = leaf(2), []
    y = x * 3.0
    y.retain_grad()
    with y.register_hook(lambda dy: seen.append(dy.tolist())):
        y.sum().backward(retain_graph=True)
    (y * y.detach() * 0 + y * 2.0).sum().backward()
    assert seen == [[1, 1]]
    assert y.grad.tolist() == [3, 3]
