"""The engine: the sweep, leaves, hooks, memory, and the errors that API.md names."""

import gc
import weakref

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function, grad


def leaf(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True)


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


def test_no_grad_records_nothing_and_enable_grad_records_again():
    x = leaf(3)
    with tn.no_grad():
        assert not (x * 2.0).requires_grad
        with tn.enable_grad():
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @tn.no_grad()
    def f():
        return x * 2.0

    assert not f().requires_grad


def test_modes_decorate_without_parentheses():
    x = leaf(3)

    @tn.no_grad
    def doubled(factor=2.0):
        """Return more."""
        return x * factor

    @tn.enable_grad
    def recorded():
        return x * 2.0

    assert not doubled(factor=3.0).requires_grad
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Return more.")
    assert tn.is_grad_enabled()
    with tn.no_grad():
        assert recorded().requires_grad
        assert not tn.is_grad_enabled()
    with pytest.raises(TypeError, match="no_grad takes a function to decorate, or nothing: got False"):
        tn.no_grad(False)


def test_integers_cannot_require_grad():
    with pytest.raises(RuntimeError, match="floating-point"):
        tn.tensor([1, 2], requires_grad=True)


def test_the_attribute_requires_grad_is_checked_like_the_method():
    x = tn.tensor([1.0, 2.0])
    x.requires_grad = True
    assert x.requires_grad
    y = x * 2
    for flag in (True, False):
        with pytest.raises(RuntimeError, match="on leaves only"):
            y.requires_grad = flag
    assert y.requires_grad
    assert y.requires_grad_().requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    integers = tn.tensor([1, 2])
    with pytest.raises(RuntimeError, match="only floating-point tensors can require grad"):
        integers.requires_grad = True
    integers.requires_grad = False
    for flag in (1, "no", None):
        with pytest.raises(TypeError, match="must be True or False, got"):
            x.requires_grad = flag
        with pytest.raises(TypeError, match="must be True or False, got"):
            x.requires_grad_(flag)


@pytest.mark.parametrize(
    ("grad", "error", "match"),
    [
        (np.ones(2, np.float32), TypeError, "Tensor or None, got ndarray"),
        (1.0, TypeError, "Tensor or None, got float"),
        (tn.ones(3), RuntimeError, r"shape \(3,\) assigned to a tensor of shape \(2,\)"),
        (tn.ones(2, 1), RuntimeError, r"shape \(2, 1\) assigned to a tensor of shape \(2,\)"),
        (tn.ones(2).double(), RuntimeError, "dtype float64 assigned to a tensor of dtype float32"),
    ],
)
def test_a_gradient_that_does_not_fit_raises_where_it_is_assigned(grad, error, match):
    x = tn.ones(2, requires_grad=True)
    x.grad = kept = tn.zeros(2)
    with pytest.raises(error, match=match):
        x.grad = grad
    with pytest.raises(RuntimeError, match="cannot be its own grad"):
        x.grad = x
    assert x.grad is kept
    x.grad = None
    assert x.grad is None


def test_grad_of_one_leaf_never_aliases_another_or_the_given_gradient():
    a, b = leaf(3, seed=1), leaf(3, seed=2)
    dy = np.ones(3)
    (a + b).backward(dy)
    a.grad.array *= 5
    np.testing.assert_array_equal(b.grad.array, [1, 1, 1])
    np.testing.assert_array_equal(dy, [1, 1, 1])


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


def test_assignment_into_a_tensor_that_requires_grad_raises():
    x = leaf(3)
    with pytest.raises(RuntimeError, match="in-place assignment"):
        x[0] = 1.0
    y = tn.zeros(3)
    y[1] = 2.0
    assert y.tolist() == [0.0, 2.0, 0.0]


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


def test_second_derivatives_raise():
    x = leaf(3)
    y = (x * x * x).sum()
    for call in (
        lambda: y.backward(None, True, True),
        lambda: y.backward(create_graph=True),
        lambda: tn.grad(y, x, None, True, True),
        lambda: tn.grad(y, [x], create_graph=True),
    ):
        with pytest.raises(NotImplementedError, match="no second derivatives yet"):
            call()
    assert x.grad is None
    y.backward(None, True, False)
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


def test_deepcopy_of_a_leaf_is_independent():
    import copy

    x = leaf(3)
    y = copy.deepcopy(x)
    y.data[0] = 100.0
    assert x.array[0] != 100.0
    assert y.requires_grad
    with pytest.raises(RuntimeError, match="only leaves"):
        copy.deepcopy(x * 2.0)


def test_a_hand_written_sgd_step_changes_the_parameters():
    w = leaf(3)
    before = w.array.copy()
    (w * w).sum().backward()
    with tn.no_grad():
        for p in [w]:
            p -= 0.1 * p.grad
    np.testing.assert_allclose(w.array, 0.8 * before)
    assert w.requires_grad
    w.data -= 0.1 * w.grad
    np.testing.assert_allclose(w.array, 0.6 * before)


def test_in_place_operators_share_memory_record_or_refuse():
    x = tn.zeros(3)
    y = x
    x += 1
    assert y.tolist() == [1, 1, 1]
    x *= 4
    x /= 2
    assert y.tolist() == [2, 2, 2]
    w = leaf(3)
    with pytest.raises(RuntimeError, match="no_grad"):
        w += 1.0
    z = old = w * 1.0
    z += w  # a computed tensor: recorded, as a new one
    np.testing.assert_array_equal(old.array, w.array)
    z.sum().backward()
    np.testing.assert_array_equal(w.grad.array, [2, 2, 2])
    with pytest.raises(RuntimeError, match="does not fit"):
        i = tn.tensor([1, 2])
        i += 0.5
    saved = Tensor(np.array([1.0, 2.0]))
    loss = (leaf(2) * saved).sum()
    saved += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_numpy_functions_and_operators_give_way():
    x = leaf(3)
    assert isinstance(np.exp(x), Tensor)
    y = np.ones(3) * x
    assert y.requires_grad
    assert (np.float64(2.0) - x).requires_grad
    assert (np.arange(3) < x).dtype == np.bool_
    with pytest.raises(TypeError, match=r"x\.numpy\(\)"):
        np.floor(x)


def test_a_number_is_formatted_and_an_empty_shape_is_printed():
    assert f"{tn.tensor(1.23456):.3f}" == "1.235"
    assert repr(tn.zeros(0, 3)) == "tensor([], size=(0, 3))"


def test_gradcheck_is_where_pytorch_has_it():
    from tinygrad_norm.gradient_check import gradcheck

    assert gradcheck is tn.gradcheck


def test_an_array_used_as_an_operand_is_copied():
    x, a = leaf(2), np.array([2.0, 3.0])
    y = (x * a).sum()
    a[0] = 9.0
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [2, 3])


def test_to_takes_a_device_and_a_dtype():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    assert x.to() is x.to(None) is x.to("cpu") is x.to(device="cpu", dtype=tn.float32) is x
    for y in (x.to(dtype=tn.float64), x.to("cpu", tn.float64), x.to("cpu", dtype="float64")):
        assert (y.dtype, y.device) == (np.float64, "cpu")
        x.grad = None
        y.sum().backward()
        assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("targets", "options", "error", "match"),
    [
        (("cuda:0",), {}, ValueError, "unknown device 'cuda:0': choose one of cpu, cuda, emulator"),
        (("5(",), {}, ValueError, r"unknown device '5\('"),
        ((",,",), {}, ValueError, "unknown device ',,'"),
        (("gpu",), {}, ValueError, "unknown device 'gpu': choose one of cpu, cuda, emulator"),
        ((), {"device": "tpu"}, ValueError, "unknown device 'tpu'"),
        ((), {"device": 0}, ValueError, "unknown device 0"),
        ((5,), {}, TypeError, r"takes a device \(cpu, .*\) or a dtype such as tn.float32, got 5"),
        ((), {"dtype": "cpu"}, TypeError, "got 'cpu'"),
        ((), {"dtype": "5("}, TypeError, r"takes a device .* got '5\('"),
        ((), {"dtype": ",,"}, TypeError, "takes a device .* got ',,'"),
        (("cpu", "cuda"), {}, TypeError, "one device and one dtype, got 'cpu', 'cuda'"),
        ((np.float32,), {"dtype": "float64"}, TypeError, "one device and one dtype"),
        (("complex64",), {}, TypeError, "real numbers"),
    ],
)
def test_to_says_what_it_takes(targets, options, error, match):
    with pytest.raises(error, match=match):
        tn.ones(2).to(*targets, **options)
