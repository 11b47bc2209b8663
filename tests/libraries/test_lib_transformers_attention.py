"""Attention with norms of queries and keys, and with a soft cap, as Hugging Face transformers has it.

Their norms and softmax compute in float32: agreement is to 2e-6.
"""

from functools import partial

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from transformers.models.gemma2 import modeling_gemma2  # noqa: E402
from transformers.models.olmo2 import modeling_olmo2  # noqa: E402
from transformers.models.qwen3 import modeling_qwen3  # noqa: E402

N, T, E, H, D = 2, 6, 12, 3, 4
RNG = np.random.default_rng(0)
SIZES = {
    "hidden_size": E,
    "num_attention_heads": H,
    "num_key_value_heads": H,
    "num_hidden_layers": 1,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
}
MASK = np.triu(np.full((T, T), -np.inf), 1)


def close(found, expected):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * abs(expected).max())


@pytest.mark.parametrize("cap", [0.5, 50.0])
def test_the_soft_cap_of_gemma_2(cap):
    arrays = [RNG.normal(size=(N, H, T, D)) * 3 for _ in range(3)]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    ours = [Tensor(x, requires_grad=True) for x in arrays]
    layer = torch.nn.Identity()
    layer.num_key_value_groups = 1
    mask = torch.tensor(MASK)
    z, _ = modeling_gemma2.eager_attention_forward(layer, *theirs, mask, scaling=0.5, softcap=cap)
    y = F.scaled_dot_product_attention(*ours, Tensor(MASK), scale=0.5, softcap=cap)
    close(y.array.swapaxes(1, 2), z)
    dy = RNG.normal(size=y.shape)
    z.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    for found, x in zip(grad(y, ours, dy), theirs, strict=True):
        close(found.array, x.grad)


def attention_of(norm):
    if norm == "rms-all":
        config = transformers.Olmo2Config(**SIZES)
        made = modeling_olmo2.Olmo2Attention(config, 0)
    else:
        config = transformers.Qwen3Config(**SIZES, head_dim=D)
        made = modeling_qwen3.Qwen3Attention(config, 0)
    config._attn_implementation = "eager"
    return made.double()


@pytest.mark.parametrize("norm", ["rms-all", "rms"], ids=["OLMo 2", "Qwen3"])
def test_norms_of_queries_and_keys(norm):
    theirs = attention_of(norm)
    ours = nn.QKNormAttention(E, H, bias=False, batch_first=True, norm=norm).double()
    ours.q_norm.eps = ours.k_norm.eps = 1e-6
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(RNG.normal(size=parameter.shape)))
    projections = [getattr(theirs, f"{name}_proj").weight.detach().numpy() for name in "qkv"]
    ours.in_proj_weight.data[...] = np.concatenate(projections)
    ours.out_proj.weight.data[...] = theirs.o_proj.weight.detach().numpy()
    for name in ("q_norm", "k_norm"):
        getattr(ours, name).weight.data[...] = getattr(theirs, name).weight.detach().numpy()
    x = RNG.normal(size=(N, T, E))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    no_turn = torch.ones(N, T, D, dtype=torch.float64), torch.zeros(N, T, D, dtype=torch.float64)
    z, _ = theirs(b, no_turn, torch.tensor(MASK))
    y, _ = ours(a, a, a, attn_mask=Tensor(MASK), need_weights=False)
    close(y.array, z)
    dy = RNG.normal(size=y.shape)
    z.backward(torch.tensor(dy))
    dx, dq, dk = grad(y, (a, ours.q_norm.weight, ours.k_norm.weight), dy)
    close(dx.array, b.grad)
    close(dq.array, theirs.q_norm.weight.grad)
    close(dk.array, theirs.k_norm.weight.grad)


@pytest.mark.parametrize("placement", ["output", "peri"], ids=["OLMo 2", "Gemma 2"])
def test_where_the_norms_stand(placement):
    """Only the places: attention and network are those of the layer here, as modules there."""
    norm = partial(nn.RMSNorm, eps=1e-6, zero_centered=placement == "peri")
    ours = nn.TransformerEncoderLayer(
        E, H, 20, 0.0, "gelu", batch_first=True, bias=False, norm=norm, placement=placement
    ).double()
    for name, parameter in ours.named_parameters():
        parameter.data[...] = RNG.normal(size=parameter.shape) * (0.3 if "norm" in name else 1)
    if placement == "output":
        theirs = modeling_olmo2.Olmo2DecoderLayer(transformers.Olmo2Config(**SIZES), 0).double()
        names = {"post_attention_layernorm": "norm1", "post_feedforward_layernorm": "norm2"}
    else:
        config = transformers.Gemma2Config(**SIZES, head_dim=D)
        theirs = modeling_gemma2.Gemma2DecoderLayer(config, 0).double()
        names = {
            "input_layernorm": "norm1",
            "post_attention_layernorm": "post_norm1",
            "pre_feedforward_layernorm": "norm2",
            "post_feedforward_layernorm": "post_norm2",
        }
    theirs.self_attn, theirs.mlp = Outside(ours, "self_attn"), Outside(ours, "network")
    with torch.no_grad():
        for there, here in names.items():
            getattr(theirs, there).weight.copy_(torch.tensor(getattr(ours, here).weight.numpy()))
    x = RNG.normal(size=(N, T, E))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    close(y.array, z)
    dy = RNG.normal(size=y.shape)
    z.backward(torch.tensor(dy))
    close(grad(y, a, dy)[0].array, b.grad)


class Outside(torch.nn.Module):
    """A part of one of our layers as a module of PyTorch."""

    def __init__(self, layer, part):
        super().__init__()
        self.layer, self.part = layer, part

    def forward(self, x=None, hidden_states=None, **_):
        x = hidden_states if x is None else x
        y = Bridge.apply(x, self.layer, self.part)
        return (y, None) if self.part == "self_attn" else y


class Bridge(torch.autograd.Function):
    """Our forward and backward, for PyTorch's autograd."""

    @staticmethod
    def forward(ctx, x, layer, part):
        ctx.x = Tensor(x.detach().numpy(), requires_grad=True)
        ctx.y = layer.self_attn(ctx.x, ctx.x, ctx.x)[0] if part == "self_attn" else layer._feed_forward(ctx.x)
        return torch.tensor(ctx.y.array)

    @staticmethod
    def backward(ctx, dy):
        return torch.tensor(grad(ctx.y, ctx.x, dy.numpy())[0].array), None, None
