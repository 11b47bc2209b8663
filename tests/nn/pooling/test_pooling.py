"""What the registry does not test of pooling, padding and windows: pairs of options, ties, indices, views."""

import math
from itertools import product

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

SPACE = {1: (11,), 2: (7, 6), 3: (4, 5, 3)}
KERNEL = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def check(name, x, torch, *args, tolerance=1e-12, **options):
    """Compare values, indices and gradient with PyTorch's function of that name."""
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(F, name)(ours, *args, **options)
    z = getattr(torch.nn.functional, name)(theirs, *args, **options)
    if options.get("return_indices"):
        (y, index), (z, reference) = y, z
        assert index.dtype == np.int64
        np.testing.assert_array_equal(index.array, reference.numpy())
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=tolerance, atol=tolerance)
    dy = normal(*y.shape, seed=1)
    (dx,) = grad(y, ours, dy)
    (expected,) = torch.autograd.grad(z, theirs, torch.tensor(dy))
    np.testing.assert_allclose(dx.array, expected.numpy(), rtol=tolerance, atol=tolerance)


axes_and_options = pytest.mark.parametrize(
    ("axes", "stride", "padding", "ceil_mode"),
    list(product((1, 2, 3), (None, 1, 2, 4), (0, 1), (False, True))),
)


@axes_and_options
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pooling_equals_pytorch(axes, stride, padding, ceil_mode, dilation, torch):
    for lead in ((2, 3), (3,)):
        check(
            f"max_pool{axes}d",
            normal(*lead, *SPACE[axes]),
            torch,
            KERNEL[axes],
            stride,
            padding,
            dilation,
            ceil_mode,
            return_indices=True,
        )


@axes_and_options
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average_pooling_equals_pytorch(axes, stride, padding, ceil_mode, count_include_pad, torch):
    x = normal(2, 3, *SPACE[axes])
    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    check(f"avg_pool{axes}d", x, torch, KERNEL[axes], stride, padding, **options)
    check(f"avg_pool{axes}d", x[0], torch, KERNEL[axes], stride, padding, **options)
    if axes > 1:
        check(f"avg_pool{axes}d", x, torch, KERNEL[axes], stride, padding, divisor_override=5, **options)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pooling_equals_pytorch(axes, size, kind, torch):
    options = {"return_indices": True} if kind == "max" else {}
    for lead in ((2, 3), (3,)):
        check(f"adaptive_{kind}_pool{axes}d", normal(*lead, *SPACE[axes]), torch, size, **options)


@pytest.mark.parametrize("size", [(None, 2), (3, None), (None, None), (4, 1)])
def test_adaptive_pooling_keeps_an_axis(size, torch):
    check("adaptive_avg_pool2d", normal(2, 3, 5, 4), torch, size)
    check("adaptive_max_pool2d", normal(2, 3, 5, 4), torch, size, return_indices=True)


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1}, {"dilation": 2, "padding": 1}])
def test_of_equal_entries_the_first_gets_the_gradient(options, torch):
    for x in (np.zeros((1, 2, 5, 5)), np.round(normal(2, 3, 5, 5)), np.full((1, 1, 5, 5), -math.inf)):
        check("max_pool2d", x, torch, 2, return_indices=True, **options)
    check("adaptive_max_pool2d", np.round(normal(2, 3, 5, 5)), torch, 3, return_indices=True)


def test_nan_is_larger_than_any_number(torch):
    x = normal(2, 3, 6, 6)
    x[0, 1, 2, 3] = x[1, 2, 0, 0] = math.nan
    check("max_pool2d", x, torch, 3, 2, return_indices=True)
    check("adaptive_max_pool2d", x, torch, 4, return_indices=True)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("size", [1, 2, 3, (2, 4)])
def test_infinity_and_nan_stay_in_their_windows(value, size, torch):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = value
    check("adaptive_avg_pool2d", x, torch, size)
    if size == 2:
        assert F.adaptive_avg_pool2d(Tensor(x), 2).tolist()[0][0][1] == [10.5, 12.5]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_infinite_gradient_stays_in_its_window(size, torch):
    x = normal(1, 2, 4, 5)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    dy = normal(1, 2, size, size)
    dy[0, 0, 0, 0], dy[0, 1, -1, -1] = math.inf, math.nan
    (dx,) = grad(F.adaptive_avg_pool2d(ours, size), ours, dy)
    z = torch.nn.functional.adaptive_avg_pool2d(theirs, size)
    (expected,) = torch.autograd.grad(z, theirs, torch.tensor(dy))
    np.testing.assert_allclose(dx.array, expected.numpy(), rtol=1e-12)


def test_changing_the_indices_does_not_change_the_gradient():
    for function in (F.max_pool2d, F.adaptive_max_pool2d):
        x = Tensor(normal(1, 2, 4, 4), requires_grad=True)
        y, index = function(x, 2, return_indices=True)
        index.zero_()
        (dx,) = grad(y, x, np.ones(y.shape))
        np.testing.assert_array_equal(dx.array != 0, np.isin(x.array, y.array))


def test_a_global_average_is_the_mean():
    x = Tensor(normal(2, 3, 5, 7))
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, 1).array[..., 0, 0], x.array.mean((2, 3)))
    np.testing.assert_allclose(F.avg_pool2d(x, (5, 7)).array[..., 0, 0], x.array.mean((2, 3)))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_views_and_half_types(name):
    function = getattr(F, name)
    view = normal(6, 5, 3, 2)[::-1].transpose(3, 2, 1, 0)
    copy = np.ascontiguousarray(view)
    results = []
    for array in (view, copy, copy.astype(np.float16)):
        x = Tensor(array, requires_grad=True)
        y = function(x, 2)
        dy = np.broadcast_to(normal(2, 3, 1, 1), y.shape).astype(array.dtype)
        results.append((y, *grad(y, x, dy)))
    for same, exact, half in zip(*results, strict=True):
        np.testing.assert_array_equal(same.array, exact.array)
        assert half.dtype == np.float16
        np.testing.assert_allclose(half.array, exact.array, rtol=2e-3, atol=2e-3)


LAYERS = {
    "MaxPool1d": ((3, 2, 1), {}, 1),
    "MaxPool2d": ((2,), {"dilation": 2, "ceil_mode": True}, 2),
    "MaxPool3d": (((1, 2, 3),), {"stride": 2}, 3),
    "AvgPool1d": ((3, 2, 1, True, False), {}, 1),
    "AvgPool2d": (((2, 3),), {"divisor_override": 5}, 2),
    "AvgPool3d": ((2,), {"stride": 1, "padding": 1}, 3),
    "AdaptiveAvgPool1d": ((4,), {}, 1),
    "AdaptiveAvgPool2d": (((None, 2),), {}, 2),
    "AdaptiveAvgPool3d": ((2,), {}, 3),
    "AdaptiveMaxPool1d": ((4,), {}, 1),
    "AdaptiveMaxPool2d": ((3,), {}, 2),
    "AdaptiveMaxPool3d": (((1, 2, 3),), {}, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_pytorchs(name, torch):
    arguments, options, axes = LAYERS[name]
    mine, reference = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    if name != "AvgPool1d":  # the only one that PyTorch prints with tuples
        assert repr(mine) == repr(reference)
    x = normal(2, 3, *SPACE[axes])
    np.testing.assert_allclose(mine(Tensor(x)).array, reference(torch.tensor(x)).numpy(), rtol=1e-12)
    if "Max" in name:
        y, index = getattr(nn, name)(*arguments, **options, return_indices=True)(Tensor(x))
        y, index, x = (a.reshape(6, -1) for a in (y.array, index.array, x))
        np.testing.assert_array_equal(y, np.take_along_axis(x, index, 1))


# -- padding and windows

WIDTHS = [(2, 1), (-1, 2), (3, -1), (0, 0), (1, 2, 3, 1), (-1, 0, 2, -1), (2, 2, 0, 0), (1, 1, -1, 2, 0, 1)]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_padding_equals_pytorch(widths, mode, torch):
    lead = {2: (2,), 4: (2, 1), 6: (1, 2)}[len(widths)]
    check("pad", normal(*lead, *(4, 5, 4)[-len(widths) // 2 :]), torch, widths, mode)


def test_padding_takes_a_value_integers_and_any_axis(torch):
    check("pad", normal(2, 3), torch, (1, 1, 2, 0), "constant", 1.5)
    check("pad", normal(2, 3), torch, (1, -1), value=-math.inf)
    padded = F.pad(Tensor(np.arange(6).reshape(2, 3)), (0, 1), value=7)
    np.testing.assert_array_equal(padded.array, [[0, 1, 2, 7], [3, 4, 5, 7]])
    assert padded.dtype == np.int64


def test_padding_may_leave_nothing():
    assert F.pad(Tensor(normal(2, 3)), (-1, -2)).shape == (2, 0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_an_empty_axis_that_is_not_padded_does_no_harm(mode, torch):
    check("pad", np.zeros((0, 3, 4)), torch, (1, 2), mode)
    assert F.pad(Tensor(np.zeros((2, 0, 4))), (1, 2), mode).shape == (2, 0, 7)  # PyTorch: only the batch
    layer = nn.Conv1d(3, 2, 3, padding=1, padding_mode="zeros" if mode == "constant" else mode)
    assert layer(Tensor(np.zeros((0, 3, 4), np.float32))).shape == (0, 2, 4)


def test_padding_never_shares_memory():
    x = Tensor(normal(2, 3))
    for mode in ("constant", "reflect"):
        assert not np.shares_memory(F.pad(x, (0, 0), mode).array, x.array)


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding", "stride"),
    list(product((1, 2, (3, 2)), (1, 2), (0, 1, (1, 2)), (1, 2, (3, 1)))),
)
def test_unfold_and_fold_equal_pytorch(kernel, dilation, padding, stride, torch):
    x = normal(2, 3, 7, 6)
    check("unfold", x, torch, kernel, dilation, padding, stride)
    check("unfold", x[0], torch, kernel, dilation, padding, stride)
    cols = F.unfold(Tensor(x), kernel, dilation, padding, stride).array
    check("fold", cols, torch, (7, 6), kernel, dilation, padding, stride)
    check("fold", cols[0], torch, (7, 6), kernel, dilation, padding, stride)


def test_half_precision_is_added_up_in_float32():
    x = Tensor(np.full((1, 1, 8, 8), 0.1, np.float16), requires_grad=True)
    cols = F.unfold(x, 7, stride=1)
    folded = F.fold(cols, 8, 7)
    padded = F.pad(x, (0, 60), "replicate")
    assert {cols.dtype, folded.dtype, padded.dtype} == {np.dtype(np.float16)}
    (dx,) = grad(padded, x, np.full(padded.shape, 0.1, np.float16))
    np.testing.assert_allclose(dx.array[..., -1].astype(float), 6.1, rtol=1e-3)


def test_fold_of_unfold_counts_the_windows():
    x = Tensor(normal(1, 2, 5, 5))
    ones = Tensor(np.ones((1, 2, 5, 5)))
    both, counts = (F.fold(F.unfold(a, 3, stride=2), 5, 3, stride=2).array for a in (x, ones))
    np.testing.assert_allclose(both, x.array * counts)
    assert counts.max() == 4
    assert counts.min() == 1
