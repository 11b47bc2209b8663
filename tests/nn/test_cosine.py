"""Cosine normalization: linear layers and convolutions whose outputs are cosines of angles."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
backends = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
RNG = np.random.default_rng(0)
OPS = {
    "linear": (F.cosine_linear, RNG.normal(size=(6, 5)), RNG.normal(size=(4, 5)), {}),
    "conv": (F.cosine_conv2d, RNG.normal(size=(2, 4, 5, 6)), RNG.normal(size=(6, 2, 3, 3)), {"groups": 2}),
}
ops = pytest.mark.parametrize("name", OPS)


def results(name, x=None, w=None, backend="numpy", dtype=np.float64):
    """y, dx and dw for a random dy."""
    function, own_x, own_w, options = OPS[name]
    with tn.use_backend(backend):
        tensors = [
            tn.Tensor((own if given is None else given).astype(dtype), requires_grad=True)
            for given, own in ((x, own_x), (w, own_w))
        ]
        y = function(*tensors, **options)
        dy = np.random.default_rng(1).normal(size=y.shape).astype(dtype)
        return [a.numpy().copy() for a in (y, *grad(y, tensors, dy))]


def test_linear_is_the_cosine_similarity_of_pytorch(torch):
    _, x, w, _ = OPS["linear"]
    a, b = (torch.tensor(v, requires_grad=True) for v in (x, w))
    y = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1, eps=1e-300)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.tensor(dy))
    for ours, theirs in zip(results("linear"), (y.detach(), a.grad, b.grad), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), 1e-9, 1e-12)


def test_conv_is_the_cosine_with_every_patch(torch):
    """PyTorch's unfold, group by group, then cosine similarity."""
    _, x, w, _ = OPS["conv"]
    a, b = (torch.tensor(v, requires_grad=True) for v in (x, w))
    patches = torch.nn.functional.unfold(a, 3).reshape(2, 2, 1, 18, 12)
    kernels = b.reshape(1, 2, 3, 18, 1)
    y = torch.nn.functional.cosine_similarity(patches, kernels, dim=3, eps=1e-300).reshape(2, 6, 3, 4)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.tensor(dy))
    for ours, theirs in zip(results("conv"), (y.detach(), a.grad, b.grad), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), 1e-9, 1e-12)


@ops
def test_stretching_changes_nothing_and_no_gradient_points_along(name):
    _, x, w, _ = OPS[name]
    y, dx, dw = results(name)
    assert abs(y).max() <= 1 + 1e-12
    per_sample, per_output = tuple(range(1, x.ndim)), tuple(range(1, w.ndim))
    np.testing.assert_allclose((dx * x).sum(per_sample), 0, atol=1e-12)
    np.testing.assert_allclose((dw * w).sum(per_output), 0, atol=1e-12)
    stretched = results(name, 7.0 * x, 0.1 * w)
    for a, b in zip(stretched, (y, dx / 7, dw * 10), strict=True):
        np.testing.assert_allclose(a, b, 1e-12, 1e-13)


@backends
@ops
def test_zeros_have_cosines_of_0_and_finite_gradients(name, backend):
    _, x, w, _ = OPS[name]
    x, w = x.copy(), w.copy()
    x[1], w[2] = 0, 0
    y, dx, dw = results(name, x, w, backend, np.float32)
    assert not y[1].any()
    assert not y[:, 2].any()
    assert not dx[1].any()
    assert not dw[2].any()
    for a, b in zip((y, dx, dw), results(name, x, w), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)


@backends
def test_a_patch_of_zeros_in_an_image_that_is_not(backend):
    x, w = RNG.normal(size=(1, 4, 5, 6)), OPS["conv"][2]
    x[0, :2, :3, :3] = 0  # the first window of the first group
    y, dx, _ = results("conv", x, w, backend, np.float32)
    assert not y[0, :3, 0, 0].any()
    assert y[0, 3:, 0, 0].all()
    assert np.isfinite(dx).all()


@backends
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e30], ids="scale {:g}".format)
@ops
def test_any_size_of_inputs_and_weights(name, scale, backend):
    _, x, w, _ = OPS[name]
    right = results(name)
    found = results(name, x * scale, w * 1e-3 / scale, backend, np.float32)
    for a, b in zip(found, (right[0], right[1] / scale, right[2] * 1e3 * scale), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5 * abs(b).max())


@backends
def test_one_sample_of_another_size_leaves_the_others_alone(backend):
    _, x, w, _ = OPS["conv"]
    large = x.copy()
    large[1] *= 1e30
    for a, b in zip(results("conv", large, w, backend, np.float32)[:2], results("conv")[:2], strict=True):
        np.testing.assert_allclose(a[0], b[0], 1e-4, 1e-5)


@backends
def test_a_nan_is_in_the_windows_that_see_it_only(backend):
    x = OPS["conv"][1].copy()
    x[0, 0, 0, 0] = np.nan
    y = results("conv", x, None, backend, np.float32)[0]
    assert np.isnan(y[0, :3, 0, 0]).all()
    assert np.isnan(y).sum() == 3


def test_half_precision_is_only_stored():
    for name in OPS:
        _, x, w, _ = OPS[name]
        x, w = x.astype(np.float16), w.astype(np.float16)
        for a, b in zip(results(name, x, w, dtype=np.float16), results(name, x, w), strict=True):
            assert a.dtype == np.float16
            np.testing.assert_allclose(a, b, 4e-3, 4e-3 * abs(b).max())


def test_without_outputs_or_samples():
    x, w = tn.ones(3, 4, requires_grad=True), tn.zeros(0, 4, requires_grad=True)
    F.cosine_linear(x, w).sum().backward()
    assert w.grad.shape == (0, 4)
    assert not x.grad.numpy().any()


# -- the layers


def test_layers_have_a_weight_and_no_bias():
    linear, conv = nn.CosineLinear(5, 3), nn.CosineConv2d(4, 6, 3, stride=2, padding=1, groups=2)
    assert {k: v.shape for k, v in linear.state_dict().items()} == {"weight": (3, 5)}
    assert {k: v.shape for k, v in conv.state_dict().items()} == {"weight": (6, 2, 3, 3)}
    x = tn.randn(2, 4, 7, 7)
    expected = F.cosine_conv2d(x, conv.weight, 2, 1, groups=2).numpy()
    np.testing.assert_array_equal(conv(x).numpy(), expected)
    assert linear(tn.randn(2, 3, 5)).shape == (2, 3, 3)


def test_padding_modes_pad_before_the_lengths():
    conv, x = nn.CosineConv2d(2, 3, 3, padding=1, padding_mode="circular"), tn.randn(1, 2, 4, 4)
    y = conv(x).numpy()
    np.testing.assert_allclose(conv(x.roll((1, 2), (2, 3))).numpy(), np.roll(y, (1, 2), (2, 3)), 1e-5, 1e-6)


def test_it_learns_angles():
    """Labels by the nearest of four directions, whatever the length of the points."""
    tn.manual_seed(0)
    angles = RNG.uniform(0, 2 * np.pi, 400)
    x = np.stack([np.cos(angles), np.sin(angles)], 1) * RNG.uniform(0.1, 100, (400, 1))
    labels = tn.tensor((angles // (np.pi / 2)).astype(np.int64))
    net = nn.CosineLinear(2, 4).double()
    optimizer = tn.optim.Adam(net.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(10 * net(tn.tensor(x)), labels).backward()
        optimizer.step()
    assert (net(tn.tensor(x)).numpy().argmax(1) == labels.numpy()).mean() > 0.95
