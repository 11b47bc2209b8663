"""Hooks of leaves: called once in each backward, with the whole gradient, as early as it is complete."""

import copy
import gc

import numpy as np
import pytest
from gradients import leaf

from tinygrad_norm.autograd import Function, grad, leaf_hooks
from tinygrad_norm.autograd.leaf_hooks import after_backward
from tinygrad_norm.optim import SGD


class Noted(Function):
    """y = x · dx = dy, and a note that backward ran"""

    def forward(self, x, *, notes):
        self.notes = notes
        return x.copy()

    def backward(self, dy):
        self.notes.append("backward")
        return dy


def test_a_hook_sees_the_accumulated_gradient_and_may_change_it():
    x, seen = leaf(3), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    (x * 2.0).sum().backward()
    x.register_post_accumulate_grad_hook(lambda x: x.grad.zero_())
    (x * 3.0).sum().backward()
    assert seen == [[2, 2, 2], [5, 5, 5]]
    assert x.grad.tolist() == [0, 0, 0]


def test_it_is_called_while_backward_goes_on_and_what_waits_at_the_end():
    first, last, notes = leaf(2), leaf(2), []

    def hook(name):
        def call(x):
            notes.append(name)
            after_backward(lambda: notes.append(f"end of {name}"))

        return call

    first.register_post_accumulate_grad_hook(hook("first"))
    last.register_post_accumulate_grad_hook(hook("last"))
    (Noted.apply(first * 2.0, notes=notes) * last).sum().backward()
    assert notes == ["last", "backward", "first", "end of last", "end of first"]


def test_a_leaf_that_several_calls_use_waits_for_all_of_them():
    x, y, seen = leaf(2), leaf(2), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    z = x * 2.0 + x * 3.0 + (x * y) * 0.0
    (z + x).sum().backward()
    assert seen == [[6, 6]]
    (x * x).sum().backward()  # twice in one call
    np.testing.assert_array_equal(seen[1], 6 + 2 * x.array)


def test_a_leaf_behind_a_call_without_gradient_is_complete_at_the_end():
    class Half(Function):
        """y = x · dx = dy, none for the second"""

        def forward(self, x, y):
            return x + y

        def backward(self, dy):
            return dy, None

    x, seen = leaf(2), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    Half.apply(x * 2.0, x * 3.0).sum().backward()
    assert seen == [[2, 2]]


def test_a_leaf_that_is_its_own_loss_calls_its_hook():
    x, seen = leaf(1), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    x.backward()
    assert seen == [[1]]


def test_hooks_of_the_gradient_come_first():
    x, seen = leaf(2), []
    x.register_hook(lambda dx: dx * 10.0)
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    (x * 2.0).sum().backward()
    assert seen == [[20, 20]]


def test_none_is_called_without_a_gradient_in_grad_or_after_removal():
    x, y, seen = leaf(2), leaf(2), []
    handle = x.register_post_accumulate_grad_hook(seen.append)
    y.register_post_accumulate_grad_hook(seen.append)
    grad((x * 2.0).sum(), x)
    x.requires_grad_(False)
    (y.detach() + x).requires_grad_().sum().backward()
    z = (x.requires_grad_() * 2.0).sum()
    x.requires_grad_(False)  # frozen after the forward
    z.backward()
    x.requires_grad_()
    handle.remove()
    handle.remove()
    (x * 2.0).sum().backward()
    (copy.deepcopy(y) * 2.0).sum().backward()
    assert seen == []


def test_a_tensor_that_is_gone_leaves_nothing_behind():
    before = len(leaf_hooks.hooked)
    x = leaf(2)
    x.register_post_accumulate_grad_hook(print)
    assert len(leaf_hooks.hooked) == before + 1
    del x
    gc.collect()
    assert len(leaf_hooks.hooked) == before


def test_an_optimizers_place_receives_the_gradient_as_without_hooks():
    x = leaf(3)
    optimizer = SGD([x], lr=1.0)
    x.register_post_accumulate_grad_hook(lambda x: None)
    for _ in range(2):
        optimizer.zero_grad()
        (x * 2.0).sum().backward()
        assert x.grad.array is x.grad_slot.gradient
        optimizer.step()
    np.testing.assert_array_equal(x.grad.array, [2, 2, 2])


def test_a_second_backward_says_that_the_graph_is_freed():
    x = leaf(2)
    x.register_post_accumulate_grad_hook(lambda x: None)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()


def test_wrong_use_is_an_error_in_words():
    x = leaf(2)
    with pytest.raises(TypeError, match="function of the tensor, got 5"):
        x.register_post_accumulate_grad_hook(5)
    for other in (x * 2.0, x.detach()):
        with pytest.raises(RuntimeError, match="needs a leaf that requires grad"):
            other.register_post_accumulate_grad_hook(print)
    with pytest.raises(RuntimeError, match="hooks of leaves"):
        after_backward(print)


def test_after_an_error_in_a_hook_no_backward_is_running():
    x = leaf(2)

    def fail(x):
        after_backward(print)
        raise ValueError("no")

    handle = x.register_post_accumulate_grad_hook(fail)
    with pytest.raises(ValueError, match="no"):
        (x * 2.0).sum().backward()
    with pytest.raises(RuntimeError, match="hooks of leaves"):
        after_backward(print)
    handle.remove()


def test_hooks_are_called_as_pytorch_calls_them(torch):
    def record(x, y, notes, names):
        for name, tensor in names.items():
            tensor.register_post_accumulate_grad_hook(
                lambda t, name=name: notes.append((name, t.grad.tolist()))
            )
        for _ in range(2):
            ((x * 2.0 + x * y) * y).sum().backward()

    ours, theirs = [], []
    x, y = leaf(2), leaf(2)
    record(x, y, ours, {"x": x, "y": y})
    tx, ty = (torch.tensor(t.numpy(), requires_grad=True) for t in (x, y))
    record(tx, ty, theirs, {"x": tx, "y": ty})
    assert sorted(ours) == sorted(theirs)
