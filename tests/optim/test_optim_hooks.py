"""Hooks that are called at the end of each step."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim


def parameter():
    result = nn.Parameter(np.array([3.0, 4.0]))
    result.grad = tn.tensor(np.array([1.0, -1.0]))
    return result


def test_a_post_hook_sees_the_updated_parameters_and_may_write_to_them():
    p, seen = parameter(), []
    optimizer = optim.SGD([p], lr=1.0)

    def to_unit_length(*given):
        seen.append((given, p.array.copy()))
        p.copy_(p.array / np.linalg.norm(p.array))

    handle = optimizer.register_step_post_hook(to_unit_length)
    optimizer.step()
    assert seen[0][0] == (optimizer, (optimizer,), {})
    np.testing.assert_array_equal(seen[0][1], [2.0, 5.0])
    np.testing.assert_allclose(np.linalg.norm(p.array), 1, rtol=1e-15)
    handle.remove()
    optimizer.step()
    assert len(seen) == 1
    assert np.linalg.norm(p.array) > 1.1


def test_hooks_are_called_in_order_with_the_closure_as_in_pytorch(torch):
    orders = []
    for make, p in (
        (optim.SGD, parameter()),
        (torch.optim.SGD, torch.nn.Parameter(torch.tensor([3.0, 4.0]))),
    ):
        order = []
        optimizer = make([p], lr=1.0)
        optimizer.register_step_post_hook(lambda o, args, kwargs, order=order: order.append(("a", len(args))))
        optimizer.register_step_post_hook(lambda *_, order=order: order.append("b"))
        optimizer.step(lambda order=order: order.append("closure"))
        orders.append(order)
    assert orders[0] == orders[1] == ["closure", ("a", 2), "b"]


def test_a_hook_is_a_function():
    with pytest.raises(TypeError, match="a hook of a step is a function"):
        optim.SGD([parameter()], lr=1.0).register_step_post_hook(3)


def test_a_state_has_no_hooks_and_a_copy_has_its_own():
    optimizer = optim.SGD([parameter()], lr=1.0)
    optimizer.register_step_post_hook(print)
    assert "print" not in str(optimizer.state_dict())
    other = copy.deepcopy(optimizer)
    other.register_step_post_hook(print)
    assert (len(optimizer._post_hooks), len(other._post_hooks)) == (1, 2)


def test_a_pre_hook_sees_the_gradients_and_may_change_them_and_the_arguments_as_in_pytorch(torch):
    results = []
    for make, p in (
        (optim.SGD, parameter()),
        (torch.optim.SGD, torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))),
    ):
        if p.grad is None:
            p.grad = torch.tensor([1.0, -1.0], dtype=torch.float64)
        optimizer, seen = make([p], lr=1.0), []

        def first(optimizer, args, kwargs, seen=seen, p=p):
            seen.append(("first", len(args), dict(kwargs)))
            p.grad[0] = 2.0
            return (optimizer, lambda: "replaced"), {}

        def second(optimizer, args, kwargs, seen=seen):
            seen.append(("second", args[1](), dict(kwargs)))

        def after(optimizer, args, kwargs, seen=seen):
            seen.append(("after", args[1](), dict(kwargs)))

        handle = optimizer.register_step_pre_hook(first)
        optimizer.register_step_pre_hook(second)
        optimizer.register_step_post_hook(after)
        loss = optimizer.step()
        handle.remove()
        results.append((loss, p.tolist(), seen))
    assert results[0] == results[1] == ("replaced", [1, 5], results[0][2])


def test_hooks_of_lbfgs():
    p, seen = nn.Parameter(np.array([3.0])), []
    optimizer = optim.LBFGS([p])
    optimizer.register_step_pre_hook(lambda *given: seen.append(("before", len(given[1]))))
    optimizer.register_step_post_hook(lambda *given: seen.append(("after", len(given[1]))))

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert seen == [("before", 2), ("after", 2)]


@pytest.mark.parametrize("result", [3, (1, 2, 3)], ids=["a number", "three values"])
def test_a_pre_hook_returns_arguments_or_nothing(result):
    optimizer = optim.SGD([parameter()], lr=1.0)
    optimizer.register_step_pre_hook(lambda *_: result)
    with pytest.raises(RuntimeError, match=r"returns None or \(args, kwargs\), got"):
        optimizer.step()
    with pytest.raises(TypeError, match="a hook of a step is a function"):
        optimizer.register_step_pre_hook(3)
