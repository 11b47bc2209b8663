"""The engine: the sweep, leaves, what is freed, grad, and Functions with several outputs."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from gradients import leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function, grad
from tinygrad_norm.autograd.sweep import gradients


def test_a_chain_of_100_000_nodes_runs_backward_and_is_freed():
    x = tn.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y  # a recursive deallocation would end the process here


def test_gradients_of_a_shared_input_add_up():
    x = leaf(3)
    (x * x + x).sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array + 1)


def test_backward_accumulates_into_grad():
    x = leaf(3)
    (2.0 * x).sum().backward()
    (3.0 * x).sum().backward()
    np.testing.assert_array_equal(x.grad.array, [5, 5, 5])


def test_a_diamond_visits_every_node_once():
    calls = []

    class Count(Function):
        def forward(self, x):
            return x * 1

        def backward(self, dy):
            calls.append(1)
            return dy

    x = leaf(2)
    y = Count.apply(x)
    for _ in range(30):
        y = y + y  # 2³⁰ paths
    y.sum().backward()
    assert calls == [1]
    np.testing.assert_array_equal(x.grad.array, [2.0**30] * 2)


def test_saved_arrays_are_freed_as_the_sweep_goes():
    x = leaf(4)
    y = (x * x).exp()
    node = y.creator
    y.sum().backward()
    assert node.saved is None
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


@pytest.mark.parametrize("add_first", [True, False])
def test_a_result_that_lives_on_after_backward_keeps_no_activations(add_first):
    x = leaf(100_000)
    total = 0.0
    tracemalloc.start()
    for step in range(8):
        loss = (x * 2.0 + 1.0).exp().mean()
        total = total + loss if add_first else total
        loss.backward()
        total = total if add_first else total + loss
        if not step:
            kept = tracemalloc.get_traced_memory()[0]  # with x.grad
    kept = tracemalloc.get_traced_memory()[0] - kept
    tracemalloc.stop()
    assert kept < x.array.nbytes / 4


def test_backward_drops_inputs_and_hooks():
    x = leaf(3)
    h = x * 2.0
    h.register_hook(lambda dy: None)
    y = h.sum()
    activation, node = weakref.ref(h), h.creator
    del h
    y.backward(retain_graph=True)
    assert activation() is not None
    y.backward()
    assert activation() is None
    assert (node.inputs, node.hooks, node.freed) == ((), None, True)


def test_a_second_backward_names_the_first_that_freed_the_graph_also_if_nothing_was_saved():
    x = leaf(3)
    h = x + 1.0
    y = h.sum()
    y.backward()
    for again in (y, h.sum()):
        with pytest.raises(RuntimeError, match=r"the first freed the graph\. Pass retain_graph=True"):
            again.backward()


def test_retain_graph_allows_a_second_backward():
    x = leaf(4)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.array, 4 * x.array)


def test_the_graph_is_freed_with_its_result():
    x = leaf(4)
    y = x * 2.0
    alive = weakref.ref(y.creator)
    del y
    gc.collect()
    assert alive() is None


def test_a_non_scalar_needs_a_gradient():
    with pytest.raises(RuntimeError, match="needs a gradient"):
        (leaf(3) * 2.0).backward()


def test_a_gradient_of_another_shape_raises():
    with pytest.raises(RuntimeError, match="gradient has shape"):
        (leaf(3) * 2.0).backward(np.ones(2))


def test_backward_without_any_requires_grad():
    with pytest.raises(RuntimeError, match="does not require grad"):
        (tn.tensor([1.0]) * 2.0).backward()


def test_grad_of_one_leaf_never_aliases_another_or_the_given_gradient():
    a, b = leaf(3, seed=1), leaf(3, seed=2)
    dy = np.ones(3)
    (a + b).backward(dy)
    a.grad.array *= 5
    np.testing.assert_array_equal(b.grad.array, [1, 1, 1])
    np.testing.assert_array_equal(dy, [1, 1, 1])


def test_grad_returns_gradients_without_touching_dot_grad():
    a, b = leaf(3, seed=1), leaf(3, seed=2)
    y = a * b
    da, dy = grad((y * y).sum(), [a, y])
    np.testing.assert_allclose(dy.array, 2 * y.array)
    np.testing.assert_allclose(da.array, 2 * y.array * b.array)
    assert a.grad is None
    with pytest.raises(RuntimeError, match="was not used"):
        grad((a * 2.0).sum(), [b])
    assert grad((a * 2.0).sum(), [b], allow_unused=True) == (None,)


def test_flags_may_be_given_by_position():
    x = leaf(3)
    y = (x * x * x).sum()
    y.backward(None, True, False)
    y.backward(None, True, True)
    (unused,) = tn.grad(y, leaf(2), None, None, False, True)
    assert unused is None


def test_several_outputs_and_constants():
    class Both(Function):
        constants = (2,)

        def forward(self, x):
            self.saved = (x,)
            return x * 2, x * x, x.mean()

        def backward(self, d_double, d_square, d_mean):
            assert d_mean is None
            (x,) = self.saved
            return 2 * d_double + 2 * x * d_square

    x = leaf(3)
    double, square, mean = Both.apply(x)
    assert not mean.requires_grad
    square.sum().backward()  # the loss does not reach `double`: its gradient arrives as zeros
    np.testing.assert_allclose(x.grad.array, 2 * x.array)
    x.grad = None
    double, square, _ = Both.apply(x)
    (double + square).sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 + 2 * x.array)


def test_an_error_in_backward_leaves_the_graph_usable():
    class Fails(Function):
        fail = True

        def forward(self, x):
            return x * 1

        def backward(self, dy):
            if Fails.fail:
                raise ZeroDivisionError
            return dy

    x = leaf(2)
    y = Fails.apply(x * 2.0).sum()
    with pytest.raises(ZeroDivisionError):
        y.backward(retain_graph=True)
    Fails.fail = False
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [2, 2])


def test_backward_leaves_the_warnings_of_numpy_as_they_were():
    x = leaf(2)
    with np.errstate(all="raise", under="print"):
        before = np.geterr()
        (x * 0.5).sum().backward()
        grad((x * 0.5).sum(), x)
        assert np.geterr() == before


def test_an_observer_sees_what_goes_into_every_backward_and_what_comes_out():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    seen = []

    def observer(node, dys):
        dxs = node.backward(*dys)
        seen.append((node.name, dys[0].tolist(), np.asarray(dxs).tolist()))
        return dxs

    (dx,) = gradients([(x * x).sum()], [x], [None], retain=False, observer=observer)
    assert dx.tolist() == [2, 4]
    assert seen == [("Sum", 1.0, [1, 1]), ("Mul", [1, 1], [[1, 2], [1, 2]])]


def test_gradients_take_the_dtype_of_their_tensor():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    w = tn.tensor(np.array([1.0, 2.0]), requires_grad=True)
    (x * w).sum().backward()
    assert x.grad.dtype == np.float32
    assert w.grad.dtype == np.float64


def test_zero_size_and_zero_dim_shapes_are_kept():
    x = Tensor(np.ones((0, 3)), requires_grad=True)
    y = (x * 2.0).sum()
    assert y.shape == ()
    y.backward()
    assert x.grad.shape == (0, 3)
    z = tn.tensor(3.0, requires_grad=True)
    (z * z).backward()
    assert z.grad.shape == ()


def test_gradcheck_is_where_pytorch_has_it():
    from tinygrad_norm.gradient_check import gradcheck

    assert gradcheck is tn.gradcheck


def test_a_function_must_define_forward_and_backward():
    class Neither(Function):
        pass

    class OnlyForward(Function):
        def forward(self, x):
            return x * 2

    with pytest.raises(NotImplementedError, match="Neither must define forward"):
        Neither.apply(leaf(2))
    with pytest.raises(NotImplementedError, match="OnlyForward must define backward"):
        OnlyForward.apply(leaf(2)).sum().backward()
