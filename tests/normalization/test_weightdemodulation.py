"""Weight demodulation and the modulated convolution."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
N, OUT, IN, K = 3, 4, 5, (3, 2)
W, S, DY = RNG.normal(size=(OUT, IN, *K)), RNG.normal(size=(N, IN)), RNG.normal(size=(N, OUT, IN, *K))
X = RNG.normal(size=(N, IN, 6, 7))
AXES = (2, 3, 4)


def by_hand(w, s, eps=1e-8):
    u = s[:, None, :, None, None] * w
    return u, ((u * u).sum(AXES, keepdims=True) + eps) ** -0.5


def drawn():
    return [tn.tensor(a, requires_grad=True) for a in (W, S)]


def test_each_output_of_each_sample_has_length_1():
    y = F.weight_demodulation(tn.tensor(W), tn.tensor(S)).numpy()
    u, d = by_hand(W, S)
    np.testing.assert_allclose(y, u * d, 1e-13, 1e-14)
    np.testing.assert_allclose((y**2).sum(AXES), 1, 1e-8)


def test_a_style_ten_times_as_large_changes_nothing():
    once, tenfold = (F.weight_demodulation(tn.tensor(W), tn.tensor(k * S), 0.0).numpy() for k in (1, 10))
    np.testing.assert_allclose(once, tenfold, 1e-13, 1e-14)


# -- mistakes, planted and found


def demodulation(backward):
    class Planted(Function):
        def forward(self, w, s):
            u, d = by_hand(w, s)
            self.saved = u, d, w, s
            return u * d

        def backward(self, dy):
            return backward(dy, *self.saved)

    return Planted


def parts(du, w, s):
    return (s[:, None, :, None, None] * du).sum(0), (w * du).sum((1, 3, 4))


def right(G, u, d, w, s):
    return parts(d * (G - u * d * (G * u * d).sum(AXES, keepdims=True)), w, s)


def means_for_sums(G, u, d, w, s):
    return parts(d * (G - u * d * (G * u * d).mean(AXES, keepdims=True)), w, s)


def one_sample_of_dw(G, u, d, w, s):
    du = d * (G - u * d * (G * u * d).sum(AXES, keepdims=True))
    return (s[:, None, :, None, None] * du)[0], parts(du, w, s)[1]


def without_the_length(G, u, d, w, s):
    return parts(d * G, w, s)


def test_the_formulas_of_the_docstring_are_right_and_those_of_the_op():
    assert gradcheck(demodulation(right).apply, drawn())
    inputs = drawn()
    for ours, derived in zip(
        grad(F.weight_demodulation(*inputs), inputs, tn.tensor(DY)),
        grad(demodulation(right).apply(*inputs), inputs, tn.tensor(DY)),
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), derived.numpy(), 1e-10, 1e-12)


@pytest.mark.parametrize("mistake", [means_for_sums, one_sample_of_dw, without_the_length])
def test_a_planted_mistake_is_found(mistake):
    assert not gradcheck(demodulation(mistake).apply, drawn(), raise_exception=False)


# -- the convolution


@pytest.mark.parametrize("demodulate", [True, False])
def test_scaling_inputs_and_outputs_of_one_convolution_is_the_same(demodulate):
    w, s, x = (tn.tensor(a, requires_grad=True) for a in (W, S, X))
    y = F.modulated_conv2d(x, w, s, (1, 0), demodulate)
    scaled = F.conv2d(x * s[:, :, None, None], w, padding=(1, 0))
    u = w * s[:, None, :, None, None]
    d = ((u * u).sum(AXES) + 1e-8) ** -0.5
    other = scaled * d[:, :, None, None] if demodulate else scaled
    assert y.shape == other.shape
    terms = IN * K[0] * K[1]
    assert abs(y.numpy() - other.numpy()).max() <= 4e-16 * terms
    dy = tn.tensor(RNG.normal(size=y.shape))
    for a, b in zip(grad(y, [x, w, s], dy), grad(other, [x, w, s], dy), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-10, 1e-12)


def test_it_is_a_grouped_convolution_with_one_group_for_each_sample():
    w, s, x = (tn.tensor(a) for a in (W, S, X))
    weights = F.weight_demodulation(w, s).reshape(N * OUT, IN, *K)
    y = F.conv2d(x.reshape(1, N * IN, 6, 7), weights, groups=N).reshape(N, OUT, 4, 6)
    np.testing.assert_allclose(F.modulated_conv2d(x, w, s).numpy(), y.numpy(), 1e-12, 1e-13)


def test_half_types_do_not_overflow_where_the_scaled_weight_would():
    """u = s·w is 9e8, and its square 8e17, where float16 ends at 65504: both are in float32."""
    w, s = (
        tn.tensor(np.full(shape, 30_000.0, "float16"), requires_grad=True)
        for shape in ((2, 64, 3, 3), (2, 64))
    )
    y = F.weight_demodulation(w, s)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), 1 / 24, 1e-3)
    for d in grad(y, [w, s], tn.ones(*y.shape, dtype="float16")):
        assert np.isfinite(d.numpy()).all()
    x = tn.ones(2, 64, 3, 3, dtype="float16")
    np.testing.assert_allclose(F.modulated_conv2d(x, w, s).numpy(), 24, 1e-2)
    assert np.isinf(F.modulated_conv2d(x, w, s, demodulate=False).numpy()).all()


def test_the_layer_starts_near_a_plain_convolution_with_outputs_of_size_1():
    tn.manual_seed(0)
    layer = nn.ModulatedConv2d(32, 16, 3, 4, padding=1)
    assert {name: p.shape for name, p in layer.named_parameters()} == {
        "modulation.weight": (32, 4),
        "modulation.bias": (32,),
        "weight": (16, 32, 3, 3),
    }
    x = tn.tensor(np.random.default_rng(0).normal(size=(2, 32, 16, 16)).astype("float32"))
    weights = layer.weight.numpy()
    weights = weights / np.sqrt((weights**2).sum((1, 2, 3), keepdims=True))
    y = layer(x, tn.zeros(2, 4))
    np.testing.assert_allclose(y.numpy(), F.conv2d(x, tn.tensor(weights), padding=1).numpy(), 1e-4, 1e-5)
    assert abs(layer(x, 5 * tn.randn(2, 4)).numpy()[..., 1:-1, 1:-1].std() - 1) < 0.1
    assert "style_dim=4, padding=(1, 1), demodulate=True" in repr(layer)


EMULATOR = pytest.param(
    "emulator", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
)


@pytest.mark.parametrize("backend", ["numpy", EMULATOR])
def test_an_empty_batch_has_weights_of_no_sample(backend):
    with tn.use_backend(backend):
        w, s = tn.ones(3, 2, 3, requires_grad=True), tn.ones(0, 2, requires_grad=True)
        y = F.weight_demodulation(w, s)
        assert y.shape == (0, 3, 2, 3)
        dw, ds = grad(y, [w, s], tn.ones(0, 3, 2, 3))
    assert dw.shape == w.shape
    assert not dw.numpy().any()
    assert ds.shape == (0, 2)


def test_an_empty_batch_has_no_images_and_no_gradient():
    layer = nn.ModulatedConv2d(3, 2, 3, 4)
    y = layer(tn.zeros(0, 3, 5, 5), tn.zeros(0, 4))
    assert y.shape == (0, 2, 3, 3)
    y.sum().backward()
    assert not layer.weight.grad.numpy().any()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: F.modulated_conv2d(tn.ones(2, 3, 4, 4), tn.ones(2, 4, 3, 3), tn.ones(2, 3)),
            ValueError,
            r"\(2, 3, 4, 4\)",
        ),
        (
            lambda: F.modulated_conv2d(tn.ones(2, 3, 4, 4), tn.ones(2, 3, 3, 3), tn.ones(1, 3)),
            ValueError,
            r"style \(N, in\) = \(2, 3\)",
        ),
        (
            lambda: F.modulated_conv2d(tn.ones(2, 3, 4, 4), tn.ones(2, 3, 3, 3).double(), tn.ones(2, 3)),
            TypeError,
            "float64",
        ),
        (
            lambda: F.modulated_conv2d(tn.ones(2, 3, 2, 2), tn.ones(2, 3, 3, 3), tn.ones(2, 3)),
            ValueError,
            "window|kernel|fit",
        ),
        (lambda: nn.ModulatedConv2d(0, 2, 3, 4), ValueError, "in_channels"),
        (lambda: nn.ModulatedConv2d(3, 2, 0, 4), ValueError, "kernel_size"),
        (lambda: nn.ModulatedConv2d(3, 2, 3, 4, eps=-1.0), ValueError, "eps"),
    ],
    ids=["channels", "style", "dtype", "small", "no channels", "no kernel", "eps"],
)
def test_what_does_not_fit_raises(call, error, words):
    with pytest.raises(error, match=words):
        call()
