"""Options of PyTorch's functions: dtype= of sums, rounding_mode= of div, copy= of to, names of axes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

REDUCTIONS = {
    "sum": lambda library, x, dtype: library.sum(x, 0, dtype=dtype),
    "sum of all": lambda library, x, dtype: x.sum(dtype=dtype),
    "mean": lambda library, x, dtype: library.mean(x, 1, dtype=dtype),
    "prod": lambda library, x, dtype: library.prod(x, 0, dtype=dtype),
    "prod of all": lambda library, x, dtype: x.prod(dtype=dtype),
    "cumsum": lambda library, x, dtype: x.cumsum(1, dtype=dtype),
}


@pytest.mark.parametrize("given", ["float32", "float16", "int64", "bool"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtype_of_a_reduction_is_pytorchs(torch, name, dtype, given):
    function = REDUCTIONS[name]
    values = np.array([[1.25, 2.5, 0.0], [-3.75, 4.0, 300.0]]).astype(given)
    if name == "mean" and dtype.startswith("int"):
        with pytest.raises(RuntimeError, match="mean of a tensor of int"):
            function(tn, tn.tensor(values), getattr(tn, dtype))
        return
    found = function(tn, tn.tensor(values), getattr(tn, dtype))
    right = function(torch, torch.tensor(values), getattr(torch, dtype)).numpy()
    assert found.dtype == right.dtype
    np.testing.assert_allclose(found.numpy(), right, rtol=1e-6)


def test_a_reduction_in_another_dtype_has_a_gradient():
    x = tn.tensor([1.0, 2.0, 4.0], requires_grad=True)
    y = x.prod(dtype=tn.float64) + x.sum(dtype=tn.float64) + x.mean(dtype=tn.float64)
    assert y.dtype == np.float64
    y.backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad.numpy(), np.array([8, 4, 2]) + 4 / 3, rtol=1e-6)


@pytest.mark.parametrize("mode", ["floor", "trunc"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([7.5, -7.5, 7.0], [2.0, 2.0, -2.0]),
        ([7, -7, 7, -6], [2, 2, -2, 3]),
        ([7, -7], [2.0, 3.0]),
        ([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]),
    ],
)
def test_rounding_division_is_pytorchs(torch, a, b, mode):
    found = tn.div(tn.tensor(a), tn.tensor(b), rounding_mode=mode)
    right = torch.div(torch.tensor(a), torch.tensor(b), rounding_mode=mode).numpy()
    assert found.dtype == right.dtype
    np.testing.assert_array_equal(found.numpy(), right)
    by_number = tn.tensor(a).div(2, rounding_mode=mode)
    np.testing.assert_array_equal(by_number, torch.tensor(a).div(2, rounding_mode=mode).numpy())


def test_rounding_division_has_the_gradient_0_and_a_method_in_place():
    x = tn.tensor([7.0, -7.0], requires_grad=True)
    y = x.div(2, rounding_mode="floor")
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0])
    n = tn.tensor([7, -7])
    n.div_(2, rounding_mode="trunc")
    assert n.tolist() == [3, -3]


def test_rounding_division_raises():
    with pytest.raises(ValueError, match="'floor' or 'trunc', got 'up'"):
        tn.div(tn.ones(1), 2, rounding_mode="up")
    with pytest.raises(ZeroDivisionError, match="of integers by 0"):
        tn.div(tn.tensor([7]), 0, rounding_mode="floor")
    with pytest.raises(ZeroDivisionError, match="of integers by 0"):
        tn.div(7, tn.tensor([1, 0]), rounding_mode="trunc")


def test_to_takes_copy_and_non_blocking():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    assert x.to("cpu", non_blocking=True) is x
    y = x.to(tn.float32, copy=True)
    assert not np.shares_memory(y.array, x.array)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1])
    assert x.to(tn.float64, copy=True).dtype == np.float64
    layer = nn.Linear(1, 1)
    assert layer.to("cpu", non_blocking=True) is layer


def test_swapaxes_takes_pytorchs_names():
    x = tn.ones(2, 3, 4)
    assert tn.swapaxes(x, axis0=0, axis1=2).shape == (4, 3, 2)
    assert x.swapaxes(axis0=-1, axis1=1).shape == (2, 4, 3)


def test_take_along_dim_counts_from_the_end(torch):
    values = np.arange(6.0).reshape(2, 3)
    x = tn.tensor(values, requires_grad=True)
    index = [[-1, 0], [-3, -2]]
    y = tn.take_along_dim(x, tn.tensor(index), 1)
    right = torch.take_along_dim(torch.tensor(values), torch.tensor(index), 1)
    np.testing.assert_array_equal(y.detach().numpy(), right.numpy())
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[1, 0, 1], [1, 1, 0]])
    assert tn.take_along_dim(x, tn.tensor([-1, -6])).tolist() == [5, 0]
    with pytest.raises(IndexError, match="from -4 to 0"):
        tn.take_along_dim(x, tn.tensor([[-4], [0]]), 1)


@pytest.mark.parametrize("dim", [(1, 2), (0, -1), [2], (), None])
@pytest.mark.parametrize("p", [2.0, 1.0, np.inf])
def test_normalize_over_several_axes_is_pytorchs(torch, dim, p):
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = F.normalize(tn.tensor(values), p, dim)
    right = torch.nn.functional.normalize(torch.tensor(values), p, dim)
    np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-12)


def test_normalize_refuses_an_axis_named_twice():
    with pytest.raises(ValueError, match="twice"):
        F.normalize(tn.ones(2, 3), dim=(1, -1))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_conv_transpose_takes_the_size_of_a_whole_result(torch, axes):
    down = getattr(torch.nn, f"Conv{axes}d")(3, 5, 3, stride=2, padding=1)
    up = getattr(torch.nn, f"ConvTranspose{axes}d")(5, 3, 3, stride=2, padding=1)
    ours = getattr(nn, f"ConvTranspose{axes}d")(5, 3, 3, stride=2, padding=1)
    ours.load_state_dict({name: value.numpy() for name, value in up.state_dict().items()})
    x = torch.ones(2, 3, *(8, 7, 6)[:axes])
    h = down(x).detach()
    for size in (tuple(x.size()), tuple(x.size())[2:]):
        right = up(h, output_size=size).detach().numpy()
        found = ours(tn.tensor(h.numpy()), output_size=size)
        assert found.shape == tuple(x.size())
        np.testing.assert_allclose(found.detach().numpy(), right, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="output_size"):
        ours(tn.tensor(h.numpy()), output_size=(3, *x.size()))


def test_padding_of_every_sign_is_pytorchs(torch):
    for mode in ("replicate", "reflect", "constant"):
        for size, before, after in [(s, a, b) for s in (1, 2, 4) for a in range(-6, 6) for b in range(-6, 6)]:
            x = torch.arange(1.0, size + 1)[None, None].requires_grad_()
            ours = tn.tensor(x.detach().numpy(), requires_grad=True)
            try:
                right = torch.nn.functional.pad(x, (before, after), mode=mode)
            except RuntimeError:
                with pytest.raises(ValueError, match="pad"):
                    F.pad(ours, (before, after), mode=mode)
                continue
            found = F.pad(ours, (before, after), mode=mode)
            np.testing.assert_array_equal(found.detach().numpy(), right.detach().numpy())
            dy = np.arange(1.0, right.numel() + 1, dtype=np.float32).reshape(right.shape)
            right.backward(torch.tensor(dy))
            found.backward(dy)
            np.testing.assert_array_equal(ours.grad.numpy(), x.grad.numpy())
