"""Channels at one position: LayerNorm2d, PixelNorm, PositionalNorm and its moment shortcut."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.positionalnorm import PositionalNormFunction

RNG = np.random.default_rng(7)
X, DY = RNG.normal(1, 2, (2, 5, 3, 4)), RNG.normal(size=(2, 5, 3, 4))


def test_layer_norm_2d_is_layer_norm_of_channels_that_are_last():
    layer = nn.LayerNorm2d(5).double()
    w, b = RNG.normal(size=(2, 5))
    layer.load_state_dict({"weight": w, "bias": b})
    x = tn.tensor(X, requires_grad=True)
    y = layer(x)
    rows = F.layer_norm(tn.tensor(X.transpose(0, 2, 3, 1)), 5, tn.tensor(w), tn.tensor(b), 1e-6)
    np.testing.assert_array_equal(y.numpy(), rows.numpy().transpose(0, 3, 1, 2))
    assert gradcheck(layer, [x])
    one_group = F.group_norm(tn.tensor(X), 1, tn.tensor(w), tn.tensor(b), 1e-6)
    assert abs(y.numpy() - one_group.numpy()).max() > 0.1  # another pool


def test_layer_norm_2d_without_affine_and_with_wrong_inputs():
    layer = nn.LayerNorm2d(5, affine=False)
    assert layer.weight is layer.bias is None
    assert repr(nn.LayerNorm2d(5)) == "LayerNorm2d((5,), eps=1e-06, elementwise_affine=True)"
    with pytest.raises(ValueError, match="4-d"):
        layer(tn.ones(2, 5, 3))
    with pytest.raises(ValueError, match="5 channels"):
        layer(tn.ones(2, 4, 3, 3))


def test_pixel_norm_is_the_formula():
    y = nn.PixelNorm()(tn.tensor(X)).numpy()
    np.testing.assert_allclose(y, X / np.sqrt((X**2).mean(1, keepdims=True) + 1e-8), 1e-12)
    np.testing.assert_allclose((y**2).mean(1), 1, 1e-7)


def test_small_blocks_give_the_same():
    def everything():
        x, found = tn.tensor(X, requires_grad=True), []
        for layer in (nn.PixelNorm(), nn.PositionalNorm()):
            result = layer(x)
            results = result if isinstance(result, tuple) else (result,)
            cotangents = [tn.tensor(DY[:, : y.shape[1]]) for y in results]
            found += [*results, *grad(results, [x], cotangents)]
        return [a.numpy() for a in found]

    whole = everything()
    with blocks.settings(block=16):
        small = everything()
    for a, b in zip(small, whole, strict=True):
        np.testing.assert_allclose(a, b, 1e-12, 1e-13)


def test_positional_norm_is_the_formula():
    y, mean, std = (a.numpy() for a in nn.PositionalNorm()(tn.tensor(X)))
    np.testing.assert_allclose(mean, X.mean(1, keepdims=True), 1e-12)
    np.testing.assert_allclose(std, np.sqrt(X.var(1, keepdims=True) + 1e-5), 1e-12)
    np.testing.assert_allclose(y, (X - mean) / std, 1e-11)


def test_the_shortcut_right_behind_the_norm_is_its_inverse_and_so_is_its_gradient():
    x = tn.tensor(X, requires_grad=True)
    y = nn.MomentShortcut()(*nn.PositionalNorm()(x))
    np.testing.assert_allclose(y.numpy(), X, 1e-12)
    np.testing.assert_allclose(grad(y, [x], tn.tensor(DY))[0].numpy(), DY, 1e-11, 1e-12)


class _ForgetsTheMoments(PositionalNormFunction):
    """m and σ held constant."""

    def backward(self, dy, dmean, dstd):
        return super().backward(dy, 0 * dmean, 0 * dstd)


class _DividesByOneLess(PositionalNormFunction):
    """The variance of C - 1 in the gradient of σ, that of C in σ"""

    def backward(self, dy, dmean, dstd):
        C = dy.shape[1]
        return super().backward(dy, dmean, dstd * C / (C - 1))


@pytest.mark.parametrize(
    ("function", "passes"),
    [(PositionalNormFunction, True), (_ForgetsTheMoments, False), (_DividesByOneLess, False)],
    ids=["right", "moments forgotten", "unbiased in the gradient"],
)
def test_planted_mistakes_are_caught(function, passes):
    x = tn.tensor(X[:1, :, :2, :1], requires_grad=True)

    def decoded(x):
        y, mean, std = function.apply(x, eps=1e-5)
        return (y * y) * std + mean * std

    assert gradcheck(decoded, [x], raise_exception=False) is passes


def test_the_shortcut_must_stand_where_features_have_that_size():
    _, mean, std = nn.PositionalNorm()(tn.ones(2, 5, 4, 4))
    with pytest.raises(ValueError, match="of one size"):
        nn.MomentShortcut()(tn.ones(2, 3, 2, 2), mean, std)
    assert nn.MomentShortcut()(tn.ones(2, 3, 4, 4), mean, std).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    "layer", [nn.PixelNorm(), nn.PositionalNorm(), nn.LayerNorm2d(5)], ids=["pixel", "positional", "layer"]
)
def test_half_types_and_views(layer):
    whole = tn.tensor((X * 4).astype("float16"))
    for x in (whole, whole.movedim(2, 3)[:, :, 1:]):
        found, right = layer(x), layer(x.float())
        for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, right)), strict=True):
            assert a.dtype == np.float16
            np.testing.assert_allclose(a.numpy(), b.numpy(), 2e-3, 2e-3)
