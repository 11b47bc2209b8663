"""Residual blocks with batch normalization and without any: from their parts, and their variances."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F


def test_a_residual_block_normalizes_first():
    tn.manual_seed(0)
    block, x = nn.ResidualBlock(3, 4, stride=2).double(), tn.randn(2, 3, 5, 6, dtype=tn.float64)
    y = block(x)
    f = F.relu(F.batch_norm(x, None, None, training=True))
    h = F.relu(F.batch_norm(F.conv2d(f, block.conv1.weight, stride=2, padding=1), None, None, training=True))
    expected = F.conv2d(h, block.conv2.weight, padding=1) + F.conv2d(f, block.shortcut.weight, stride=2)
    assert y.shape == (2, 4, 3, 3)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-9)


def test_a_residual_block_of_one_size_adds_its_input():
    block = nn.ResidualBlock(3, 3).eval()
    nn.init.zeros_(block.conv2.weight)
    x = tn.randn(2, 3, 4, 4)
    assert block.shortcut is None
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_an_nf_block_is_the_formula_of_the_paper():
    tn.manual_seed(0)
    block = nn.NFBlock(3, 4, stride=2, alpha=0.3, beta=1.5, activation="silu").double()
    x = tn.randn(2, 3, 5, 6, dtype=tn.float64)

    def conv(layer, x, stride, padding):
        W = layer.weight.numpy()
        m, v = W.mean((1, 2, 3), keepdims=True), W.var((1, 2, 3), keepdims=True)
        W = 1.7872 / np.sqrt(W[0].size) * (W - m) / np.sqrt(v + 1e-6)
        return F.conv2d(x, tn.tensor(W), stride=stride, padding=padding)

    f = F.silu(x / 1.5)
    expected = conv(block.shortcut, f, 2, 0) + 0.3 * conv(
        block.conv2, F.silu(conv(block.conv1, f, 2, 1)), 1, 1
    )
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), 1e-4, 1e-4)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
def test_the_variances_of_nf_blocks_are_the_predicted_ones(activation):
    """From 1 up by α² a block, here 1, back to 1 + α² where the size changes: known without any data."""
    tn.manual_seed(0)
    stem = nn.ScaledWSConv2d(3, 64, 3, padding=1)
    blocks = [nn.NFBlock(64, 64, alpha=1.0, activation=activation)]
    for size, stride in ((64, 1), (64, 1), (96, 2), (96, 1), (96, 1)):
        before = blocks[-1].conv1.out_channels
        blocks.append(nn.NFBlock(before, size, stride, 1.0, blocks[-1].out_std, activation))
    for layer in nn.Sequential(stem, *blocks).modules():
        if isinstance(layer, nn.ScaledWSConv2d):
            layer.padding_mode = "circular"  # zeros at the border have no variance
            nn.init.zeros_(layer.bias)
    predicted = [block.out_std**2 for block in blocks]
    np.testing.assert_allclose(predicted, [2, 3, 4, 2, 3, 4])

    with tn.no_grad():
        x = stem(tn.randn(4, 3, 16, 16))
        found = [x.numpy().var((0, 2, 3)).mean()]
        for block in blocks:
            x = block(x)
            found.append(x.numpy().var((0, 2, 3)).mean())
    np.testing.assert_allclose(found, [1, *predicted], rtol=0.12)


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="beta must be a positive number, got 0"):
        nn.NFBlock(2, 2, beta=0)
    with pytest.raises(TypeError, match="alpha must be a number"):
        nn.NFBlock(2, 2, alpha="1")
    with pytest.raises(ValueError, match=r"unknown activation 'tanh'"):
        nn.NFBlock(2, 2, activation="tanh")
