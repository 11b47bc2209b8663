"""autograd.backward, from several tensors at once, grad_fn and inference_mode: as in PyTorch."""

import numpy as np
import pytest

import tinygrad_norm as tn


def test_the_gradients_of_several_results_are_added(torch):
    found = []
    for m in (tn, torch):
        x = m.tensor([1.0, -2.0, 3.0], requires_grad=True)
        shared = (x * x).exp()
        m.autograd.backward([shared.sum(), shared * 2, x], [None, m.tensor([1.0, 0.5, 2.0]), m.ones(3)])
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_one_tensor_with_its_gradient_and_a_retained_graph():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    tn.autograd.backward(y, tn.tensor([1.0, 10.0]), retain_graph=True)
    tn.autograd.backward((y,), (np.array([1.0, 10.0]),))
    assert x.grad.tolist() == [4, 80]


def test_create_graph_gives_gradients_with_a_graph():
    x = tn.tensor([2.0], requires_grad=True)
    tn.autograd.backward([x**3, x**2], create_graph=True)
    (second,) = tn.grad(x.grad, [x])
    assert second.tolist() == [14]


def test_hooks_of_leaves_run_once_when_the_gradient_is_complete():
    x, calls = tn.tensor([2.0], requires_grad=True), []
    x.register_post_accumulate_grad_hook(lambda leaf: calls.append(leaf.grad.tolist()))
    tn.autograd.backward([x * 3, x * 4])
    assert calls == [[7]]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda y: tn.autograd.backward([y], [None, None]), RuntimeError, "got 1 tensors and 2 gradients"),
        (lambda y: tn.autograd.backward([y, 3.0]), TypeError, "takes tensors, got float"),
        (lambda y: tn.autograd.backward([y]), RuntimeError, "needs a gradient for a result of shape"),
        (lambda y: tn.autograd.backward([y.detach()]), RuntimeError, "does not require grad"),
        (lambda y: tn.autograd.backward(y.sum(), retain_graph=1), TypeError, "retain_graph"),
    ],
    ids=["count", "number", "shape", "constant", "flag"],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(tn.ones(2, requires_grad=True) * 2)


def test_grad_fn_is_the_call_that_made_a_tensor():
    x = tn.ones(2, requires_grad=True)
    y = x.exp()
    assert x.grad_fn is None
    assert y.grad_fn is y.creator
    assert y.grad_fn.name == "Exp"
    with pytest.raises(AttributeError):
        y.grad_fn = None


def test_inference_mode_records_nothing():
    x = tn.ones(2, requires_grad=True)
    with tn.inference_mode():
        y = x * 2
        with tn.inference_mode(mode=False):
            assert (x * 2).requires_grad
    assert not y.requires_grad
    assert (x * y).requires_grad

    @tn.inference_mode
    def bare():
        return x * 2

    @tn.inference_mode()
    def called():
        return x * 2

    assert not bare().requires_grad
    assert not called().requires_grad
    with pytest.raises(TypeError, match="inference_mode takes a function"):
        tn.inference_mode(1)
