"""What the registry does not test of convolutions: every pair of options, modules, layouts, training."""

import math
from itertools import product

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.windows import im2col

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's, on its own copies

CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
SPACE = {1: (9,), 2: (7, 5), 3: (4, 5, 3)}
KERNEL = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def relative_error(ours, theirs):
    assert ours.shape == tuple(theirs.shape)
    return abs(ours - theirs).max(initial=0.0) / max(1e-300, abs(theirs).max(initial=0.0))


def worst_error(function, reference, arrays, torch, **options):
    """The largest relative error of the output and of every gradient against PyTorch's."""
    ours = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
    theirs = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = function(*ours, **options), reference(*theirs, **options)
    dy = normal(*z.shape, seed=7)
    gradients = grad(y, [x for x in ours if x is not None], dy)
    references = torch.autograd.grad(z, [x for x in theirs if x is not None], torch.tensor(dy))
    pairs = [(y, z.detach()), *zip(gradients, references, strict=True)]
    return max(relative_error(a.array, b.numpy()) for a, b in pairs)


OPTIONS = list(product((1, 2, 3), (1, 2), (0, 1, "same", "valid"), (1, 2), (1, 2, 4)))


@pytest.mark.parametrize(("axes", "stride", "padding", "dilation", "groups"), OPTIONS)
def test_convolution_equals_pytorch(axes, stride, padding, dilation, groups, torch):
    if padding == "same" and stride > 1:
        pytest.skip("raises, as in PyTorch")
    reference = getattr(torch.nn.functional, f"conv{axes}d")
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    weight = normal(8, 4 // groups, *KERNEL[axes], seed=1)
    for lead, bias in (((3,), True), ((8,), False), ((), True)):
        arrays = normal(*lead, 4, *SPACE[axes]), weight, normal(8, seed=2) if bias else None
        assert worst_error(CONVS[axes], reference, arrays, torch, **options) <= 1e-12


@pytest.mark.parametrize(
    ("axes", "stride", "padding", "extra", "dilation", "groups"),
    list(product((1, 2, 3), (1, 2, 3), (0, 1), (0, 1), (1, 2), (1, 2, 4))),
)
def test_transposed_convolution_equals_pytorch(axes, stride, padding, extra, dilation, groups, torch):
    if extra >= max(stride, dilation):
        pytest.skip("raises, as in PyTorch")
    reference = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    options = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups}
    weight = normal(4, 8 // groups, *KERNEL[axes], seed=1)
    for lead, bias in (((3,), True), ((8,), False), ((), True)):
        arrays = normal(*lead, 4, *SPACE[axes]), weight, normal(8, seed=2) if bias else None
        error = worst_error(TRANSPOSED[axes], reference, arrays, torch, dilation=dilation, **options)
        assert error <= 1e-12


@pytest.mark.parametrize(("channels", "filters"), [(1, 16), (16, 1), (3, 2), (32, 8)])
@pytest.mark.parametrize("samples", [1, 2, 5, 8, 24])
@pytest.mark.parametrize("kernel", [1, 3])
def test_every_layout_gives_the_same(channels, filters, samples, kernel, torch):
    """Samples on the last axis or not, in one block or in several, by fold or by a flipped kernel."""
    arrays = normal(samples, channels, 9, 8), normal(filters, channels, kernel, kernel), normal(filters)
    for padding in (0, 2):
        error = worst_error(F.conv2d, torch.nn.functional.conv2d, arrays, torch, padding=padding)
        assert error <= 1e-12


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_of_any_size_give_the_same(stride, padding, monkeypatch):
    x, weight = normal(16, 3, 6, 5), normal(4, 3, 3, 3)
    results = []
    for block in (1, 2000, 10**9):
        monkeypatch.setattr(im2col, "BLOCK", block)
        im2col.im2col_layout.cache_clear()
        inputs = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = F.conv2d(*inputs, stride=stride, padding=padding)
        results.append([y.array, *(g.array for g in grad(y, inputs, normal(*y.shape)))])
    im2col.im2col_layout.cache_clear()
    for several, whole in product(results[:2], results[2:]):
        for a, b in zip(several, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_transposed_convolution_is_the_transpose(stride, groups):
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for every x and y: the definition of the transpose."""
    options = {"stride": stride, "padding": 1, "groups": groups}
    x, weight = Tensor(normal(2, 4, 7, 7)), Tensor(normal(6, 4 // groups, 3, 3))
    Ax = F.conv2d(x, weight, **options)
    y = Tensor(normal(*Ax.shape, seed=3))
    forth = (Ax.array * y.array).sum()
    back = (x.array * F.conv_transpose2d(y, weight, **options).array).sum()
    assert forth == pytest.approx(back, rel=1e-12)


def test_a_kernel_of_one_1_moves_the_image():
    x = normal(2, 1, 5, 6)
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 0, 2] = 1
    y = F.conv2d(Tensor(x), Tensor(weight), padding=1).array
    np.testing.assert_array_equal(y[:, :, 1:, :-1], x[:, :, :-1, 1:])
    assert not y[:, :, 0].any()
    assert not y[:, :, :, -1].any()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_views_give_the_same_as_their_copies(padding, stride):
    size = (4 + 2 * padding - 1) // stride + 1
    views = (
        normal(6, 6, 4, 8).transpose(3, 2, 0, 1),
        normal(3, 3, 4, 6)[::-1].transpose(3, 2, 0, 1),
        normal(12)[::2],
        np.broadcast_to(normal(8, 6, 1, 1), (8, 6, size, size)),
    )
    results = []
    for *arrays, dy in (views, [np.ascontiguousarray(view) for view in views]):
        inputs = [Tensor(array, requires_grad=True) for array in arrays]
        y = F.conv2d(*inputs, padding=padding, stride=stride)
        results.append([y.array, *(g.array for g in grad(y, inputs, dy))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


def test_dx_is_not_computed_if_it_is_not_needed(monkeypatch):
    x, weight = Tensor(normal(2, 1, 4, 4)), Tensor(normal(3, 1, 3, 3), requires_grad=True)
    y = F.conv2d(x, weight)
    monkeypatch.setattr("tinygrad_norm.nn.convolution.conv_products.conv_adjoint", None)
    assert grad(y, weight, normal(*y.shape))[0].shape == weight.shape


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_a_frozen_weight_still_passes_the_gradient_on(function):
    x, bias = Tensor(normal(2, 3, 4, 4), requires_grad=True), Tensor(normal(3), requires_grad=True)
    y = function(x, Tensor(normal(3, 3, 3, 3)), bias)
    dy = normal(*y.shape, seed=1)
    dx, dbias = grad(y, (x, bias), dy)
    assert dx.shape == x.shape
    np.testing.assert_allclose(dbias.array, dy.sum((0, 2, 3)))


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
@pytest.mark.parametrize("stride", [1, 2])
def test_half_precision_accumulates_in_float32(function, stride):
    arrays = normal(4, 32, 14, 14) * 0.1 + 1, normal(32, 32, 3, 3) * 0.02 + 0.05, normal(32)
    results = []
    for dtype in (np.float16, np.float64):
        inputs = [Tensor(array.astype(np.float16).astype(dtype), requires_grad=True) for array in arrays]
        y = function(*inputs, stride=stride)
        results.append([y, *grad(y, inputs, (normal(*y.shape) + 2).astype(np.float16))])
    for low, high in zip(*results, strict=True):
        assert low.dtype == np.float16
        assert relative_error(low.array.astype(float), high.array) < 1e-3


def test_too_large_results_are_infinite_without_a_warning():
    x = Tensor(np.full((1, 2, 4, 4), 3e38, np.float32), requires_grad=True)
    y = F.conv2d(x, Tensor(np.ones((1, 2, 3, 3), np.float32)))
    assert np.isposinf(y.array).all()
    assert np.isfinite(grad(y, x, np.ones(y.shape, np.float32))[0].array).all()


def test_changing_x_before_backward_is_detected():
    x, weight = Tensor(normal(2, 1, 4, 4)), Tensor(normal(3, 1, 3, 3), requires_grad=True)
    y = F.conv2d(x, weight)
    x.zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


# -- modules

LAYERS = {
    "Conv1d": (("Conv1d", 4, 6, 3), {"stride": 2, "padding": 1}, (3, 4, 9)),
    "Conv2d": (("Conv2d", 4, 6, (3, 2)), {"padding": (1, 0), "bias": False}, (3, 4, 5, 6)),
    "Conv2d same": (("Conv2d", 4, 6, (4, 3)), {"padding": "same", "groups": 2}, (3, 4, 5, 6)),
    "Conv3d": (("Conv3d", 4, 6, 2), {"dilation": 2, "groups": 2}, (2, 4, 3, 4, 3)),
    "ConvTranspose1d": (("ConvTranspose1d", 4, 6, 3), {"stride": 2, "output_padding": 1}, (3, 4, 5)),
    "ConvTranspose2d": (
        ("ConvTranspose2d", 4, 6, 3, 2, 1, 1, 2, False),
        {"dilation": (1, 2)},
        (3, 4, 4, 3),
    ),
    "ConvTranspose3d": (("ConvTranspose3d", 4, 6, (1, 2, 3)), {"padding": (0, 1, 1)}, (2, 4, 2, 3, 3)),
}
layers = pytest.mark.parametrize(("arguments", "options", "shape"), LAYERS.values(), ids=LAYERS.keys())


def same_layers(torch, arguments, options):
    name, *sizes = arguments
    mine = getattr(nn, name)(*sizes, **options).double()
    reference = getattr(torch.nn, name)(*sizes, **options).double()
    return mine, reference


def check_equal(mine, reference, x, torch, tolerance=1e-12):
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = mine(ours), reference(theirs)
    dy = normal(*z.shape, seed=3)
    gradients = grad(y, [ours, *mine.parameters()], dy)
    references = torch.autograd.grad(z, [theirs, *reference.parameters()], torch.tensor(dy))
    for a, b in zip((y, *gradients), (z.detach(), *references), strict=True):
        assert relative_error(a.array, b.numpy()) <= tolerance


@layers
def test_layers_equal_pytorchs_and_states_travel_both_ways(arguments, options, shape, torch):
    mine, reference = same_layers(torch, arguments, options)
    assert repr(mine) == repr(reference)
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    check_equal(mine, reference, normal(*shape), torch)
    other, _ = same_layers(torch, arguments, options)
    reference.load_state_dict({k: torch.tensor(v.array) for k, v in other.state_dict().items()})
    check_equal(other, reference, normal(*shape), torch)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_modes_equal_pytorch(axes, padding, mode, torch):
    arguments = f"Conv{axes}d", 2, 3, (4, 3, 2)[:axes]
    mine, reference = same_layers(torch, arguments, {"padding": padding, "padding_mode": mode})
    assert repr(mine) == repr(reference)
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    check_equal(mine, reference, normal(2, 2, 5, 4, 3)[(..., *[0] * (3 - axes))], torch)


@pytest.mark.parametrize("output_size", [9, (10, 9), (10, 10)])
def test_output_size_chooses_among_those_that_stride_leaves_open(output_size, torch):
    mine, reference = same_layers(torch, ("ConvTranspose2d", 2, 3, 3), {"stride": 2})
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    x = normal(1, 2, 4, 4)
    size = (output_size, output_size) if isinstance(output_size, int) else output_size
    y = mine(Tensor(x), output_size=output_size)
    assert y.shape == (1, 3, *size)
    z = reference(torch.tensor(x), output_size=size)
    assert relative_error(y.array, z.detach().numpy()) <= 1e-12


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(lambda: nn.Conv2d(8, 60, 5, groups=2), 100), (lambda: nn.ConvTranspose2d(60, 8, 5, groups=2), 100)],
    ids=["Conv2d", "ConvTranspose2d"],
)
def test_start_values_are_pytorchs_distribution(layer, fan_in):
    """Uniform in ±1/√fan_in, from the stream that manual_seed restarts."""
    first = layer()
    bound = 1 / math.sqrt(fan_in)
    values = first.weight.array
    assert values.dtype == first.bias.dtype == np.float32
    assert abs(values).max() <= bound
    assert abs(first.bias.array).max() <= bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    tn.manual_seed(0)
    np.testing.assert_array_equal(layer().weight.array, values)


def test_twenty_training_steps_equal_pytorch(torch):
    """Convolution, pools, transposed convolution: the same weights after the same steps."""

    def network(nn):
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1),
            nn.Tanh(),
            nn.AvgPool2d(3, padding=1),
            nn.Conv2d(4, 4, 2, groups=2, padding="same", padding_mode="circular"),
            nn.AdaptiveAvgPool2d(1),
        ).double()

    mine, reference = network(nn), network(torch.nn)
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    x, target = normal(8, 2, 8, 8), normal(8, 4, 1, 1, seed=1)
    start = mine.state_dict()["0.weight"].array.copy()
    for _ in range(20):
        loss = ((mine(Tensor(x)) - Tensor(target)) ** 2).mean()
        expected = ((reference(torch.tensor(x)) - torch.tensor(target)) ** 2).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-8)
        loss.backward()
        expected.backward()
        for p, q in zip(mine.parameters(), reference.parameters(), strict=True):
            p.data -= 0.5 * p.grad.array
            p.grad = None
            q.data -= 0.5 * q.grad
            q.grad = None
    for p, q in zip(mine.parameters(), reference.parameters(), strict=True):
        assert relative_error(p.array, q.detach().numpy()) <= 1e-8
    assert abs(mine.state_dict()["0.weight"].array - start).max() > 1e-3
