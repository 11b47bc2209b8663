"""The block of ConvNeXt V2, from its parts."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F


def test_it_is_the_formula_of_the_paper():
    tn.manual_seed(0)
    block = nn.ConvNeXtV2Block(4, kernel_size=3, mlp_ratio=2)
    with tn.no_grad():
        block.grn.weight.copy_(tn.randn(8))
        block.grn.bias.copy_(tn.randn(8))
    x = tn.randn(2, 4, 5, 6)
    d = F.conv2d(x, block.dwconv.weight, block.dwconv.bias, padding=1, groups=4).movedim(1, -1)
    h = F.gelu(F.linear(F.layer_norm(d, (4,), eps=1e-6), block.pwconv1.weight, block.pwconv1.bias)).numpy()
    G = np.sqrt((h**2).sum((1, 2), keepdims=True))
    response = G / (G.mean(-1, keepdims=True) + 1e-6)
    h = block.grn.weight.numpy() * h * response + block.grn.bias.numpy() + h
    y = x.numpy() + np.moveaxis(h @ block.pwconv2.weight.numpy().T + block.pwconv2.bias.numpy(), -1, 1)
    np.testing.assert_allclose(block(x).numpy(), y, 1e-4, 1e-5)


def test_its_parts_have_the_names_of_the_paper_s_code_and_learn():
    block = nn.ConvNeXtV2Block(4)
    shapes = {name: p.shape for name, p in block.named_parameters()}
    assert shapes == {
        "dwconv.weight": (4, 1, 7, 7),
        "dwconv.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
        "pwconv1.weight": (16, 4),
        "pwconv1.bias": (16,),
        "grn.weight": (16,),
        "grn.bias": (16,),
        "pwconv2.weight": (4, 16),
        "pwconv2.bias": (4,),
    }
    x = tn.randn(2, 4, 8, 8)
    block(x).backward(tn.randn(2, 4, 8, 8))
    assert all(abs(p.grad.numpy()).max() > 0 for p in block.parameters())


def test_without_response_normalization_a_new_block_computes_the_same():
    tn.manual_seed(0)
    block, x = nn.ConvNeXtV2Block(4), tn.randn(2, 4, 8, 8)
    y = block(x).numpy()
    block.grn = nn.Identity()
    np.testing.assert_allclose(block(x).numpy(), y, 1e-6, 1e-7)


def test_what_does_not_fit_raises():
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        nn.ConvNeXtV2Block(4, kernel_size=4)
    with pytest.raises(ValueError, match="4-d input"):
        nn.ConvNeXtV2Block(4)(tn.ones(2, 4, 8))
    with pytest.raises(ValueError, match="4 channels"):
        nn.ConvNeXtV2Block(4)(tn.ones(2, 3, 8, 8))
