"""Tensor: its attributes, conversions, operators in place, and NumPy's functions."""

import numpy as np
import pytest
from gradients import leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor


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


def test_data_that_does_not_fit_raises_where_it_is_assigned():
    x = tn.ones(2, requires_grad=True)
    kept = x.array
    with pytest.raises(ValueError, match=r"data of shape \(2, 1\) assigned to a tensor of shape \(2,\)"):
        x.data = tn.ones(2, 1)
    with pytest.raises(RuntimeError, match=r"data of int64 .* use .float\(\)"):
        x.data = np.array([1, 2])
    assert x.array is kept
    x.data = np.array([3, 4], np.float32)
    assert x.tolist() == [3, 4]


def test_assignment_into_a_tensor_that_requires_grad_raises():
    x = leaf(3)
    with pytest.raises(RuntimeError, match="in-place assignment"):
        x[0] = 1.0
    y = tn.zeros(3)
    y[1] = 2.0
    assert y.tolist() == [0.0, 2.0, 0.0]


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


def test_in_place_operators_share_memory_record_or_raise():
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
        np.cbrt(x)


def test_a_number_is_formatted_and_an_empty_shape_is_printed():
    assert f"{tn.tensor(1.23456):.3f}" == "1.235"
    assert repr(tn.zeros(0, 3)) == "tensor([], size=(0, 3))"


def test_item_takes_one_element():
    assert tn.tensor([[2.5]]).item() == 2.5
    for shape in ((2,), (1, 3), (0,)):
        with pytest.raises(RuntimeError, match=r"item\(\) needs a tensor of one element") as caught:
            tn.ones(shape).item()
        assert str(caught.value).endswith(f"shape {shape}")


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
        (("cuda:0",), {}, ValueError, r"choose one of cpu, cuda, emulator \(one GPU is used"),
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
