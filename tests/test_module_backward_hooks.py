"""Backward hooks of modules, and hooks of all modules, compared with PyTorch's."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.module_hooks import (
    EVERYWHERE,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)

A, B = (np.random.default_rng(i).normal(size=(3,)) for i in range(2))


class Two:
    """Several inputs, one of them without a gradient, and several outputs, in either framework."""

    def forward(self, x, n, z, unused=None):
        y = x * z
        return y * n, (y + x).tanh()


def make(framework):
    return type("Both", (Two, framework.nn.Module), {})()


def trace(framework, change):
    """Run the module with hooks; return what they saw, and the gradients."""
    seen, module = [], make(framework)

    def values(grads):
        return tuple(None if g is None else g.detach().numpy().copy() for g in grads)

    def after(module, grad_input, grad_output):
        seen.append(("after", values(grad_input), values(grad_output)))
        return tuple(None if g is None else g * 2 for g in grad_input) if change else None

    def before(module, grad_output):
        seen.append(("before", values(grad_output)))
        return tuple(g + 1 for g in grad_output) if change else None

    module.register_full_backward_hook(after)
    module.register_full_backward_pre_hook(before)
    x, z = (framework.tensor(v, requires_grad=True) for v in (A, B))
    first, second = module(x, framework.tensor(3.0, dtype=framework.float64), z, None)
    (first.sum() * 2 + (second * second).sum()).backward()
    return seen, (x.grad.numpy(), z.grad.numpy())


@pytest.mark.parametrize("change", [False, True], ids=["seen", "replaced"])
def test_hooks_see_and_replace_what_pytorchs_do(torch, change):
    ours, theirs = trace(tn, change), trace(torch, change)
    assert len(ours[0]) == len(theirs[0]) == 2
    for (kind, *a), (same, *b) in zip(ours[0], theirs[0], strict=True):
        assert kind == same
        for mine, other in zip(a, b, strict=True):
            for u, v in zip(mine, other, strict=True):
                assert (u is None) == (v is None)
                assert u is None or np.allclose(u, v, rtol=1e-12)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def test_a_removed_hook_is_not_called_and_costs_nothing():
    layer = nn.Linear(3, 2)
    handle = layer.register_full_backward_hook(lambda *_: pytest.fail("removed"))
    handle.remove()
    y = layer(tn.randn(4, 3, requires_grad=True))
    assert y.creator.name == "Linear"
    y.sum().backward()


def test_without_a_gradient_of_the_inputs_it_is_called_at_the_exit():
    seen, layer = [], nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda module, dxs, dys: seen.append((dxs, dys[0].shape)))
    layer(tn.randn(4, 3)).sum().backward()
    assert seen == [((None,), (4, 2))]
    assert layer.weight.grad is not None


def test_order_and_prepend():
    order, layer = [], nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda *_: order.append("first"))
    layer.register_full_backward_hook(lambda *_: order.append("second"), prepend=True)
    layer(tn.randn(4, 3, requires_grad=True)).sum().backward()
    assert order == ["second", "first"]


def test_under_no_grad_nothing_is_recorded():
    layer = nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda *_: pytest.fail("no backward"))
    with tn.no_grad():
        assert not layer(tn.randn(4, 3)).requires_grad


def second_derivative(framework):
    """The hook acts in both backwards, as those of tensors do."""
    module = make(framework)
    module.register_full_backward_hook(lambda module, dxs, dys: (dxs[0] * dxs[0], *dxs[1:]))
    x, z = (framework.tensor(v, requires_grad=True) for v in (A, B))
    first, second = module(x, 2.0, z)
    grad = framework.grad if framework is tn else framework.autograd.grad
    (dx,) = grad((first * first).sum() + second.sum(), x, create_graph=True)
    return tuple(g.detach().numpy() for g in (dx, *grad(dx.sum(), (x, z))))


def test_second_derivatives_are_pytorchs(torch):
    for a, b in zip(second_derivative(tn), second_derivative(torch), strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def test_writes_to_an_input_within_the_module_are_noticed():
    class Writes(nn.Module):
        def forward(self, x):
            y = x * x
            with tn.no_grad():
                x.mul_(2)
            return y

    module = Writes()
    module.register_full_backward_hook(lambda *_: None)
    x = tn.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="changed in place"):
        module(x * 1).sum().backward()


@pytest.mark.parametrize("new", [1.0, (), (None,)], ids=["number", "too few", "None"])
def test_a_wrong_result_of_a_hook_raises(new):
    layer = nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda *_: new)
    with pytest.raises(RuntimeError, match="a backward hook returns None, or a new grad_input"):
        layer(tn.randn(4, 3, requires_grad=True)).sum().backward()


def test_wrong_arguments_raise():
    layer = nn.Linear(3, 2)
    with pytest.raises(TypeError, match="a hook is a function"):
        layer.register_full_backward_hook(3)
    with pytest.raises(TypeError, match="prepend must be True or False"):
        layer.register_full_backward_pre_hook(print, prepend=1)


def test_hooks_of_all_modules_run_before_a_modules_own():
    order = []
    model = nn.Sequential(nn.Linear(3, 2))
    handles = [
        register_module_forward_pre_hook(lambda module, args: order.append("pre")),
        register_module_forward_hook(lambda module, args, y: order.append("forward")),
        register_module_full_backward_pre_hook(lambda module, dys: order.append("backward pre")),
        register_module_full_backward_hook(lambda module, dxs, dys: order.append("backward")),
    ]
    try:
        model[0].register_forward_hook(lambda module, args, y: order.append("own"))
        model(tn.randn(4, 3, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert order == ["pre", "pre", "forward", "own", "forward", *["backward pre"] * 2, *["backward"] * 2]
    assert not EVERYWHERE
    model(tn.randn(4, 3))
    assert len(order) == 10


def test_they_are_found_where_pytorch_has_them():
    assert nn.modules.module.register_module_forward_hook is register_module_forward_hook


def test_a_copy_has_the_hooks_too():
    seen, layer = [], nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda *_: seen.append(1))
    copy.deepcopy(layer)(tn.randn(4, 3, requires_grad=True)).sum().backward()
    assert seen == [1]
