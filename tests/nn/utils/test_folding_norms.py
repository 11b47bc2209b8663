"""The exact identities of layer and RMS normalization, and the functions that use them."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import center_writers, fold_norm

D, N = 6, 5
RNG = np.random.default_rng(0)


def randomized(module):
    """Return the module in float64 with random parameters."""
    rng = np.random.default_rng(1)
    module = module.double()
    for parameter in module.parameters():
        parameter.array[...] = rng.normal(size=parameter.shape)
    return module


def close(a, b, rtol=1e-12):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol, 1e-12)


def x(*shape):
    return tn.tensor(np.random.default_rng(2).normal(1.0, 2.0, shape or (N, D)))


# -- the identities


def rms(x, eps=1e-5):
    return F.rms_norm(x, x.shape[-1:], eps=eps)


def test_ii_layer_norm_is_rms_norm_of_the_centered_input():
    close(F.layer_norm(x(), (D,)), rms(x() - x().mean(-1, keepdim=True)))


def test_iv_rms_norm_commutes_with_a_rotation_and_layer_norm_does_not():
    Q = tn.tensor(np.linalg.qr(RNG.normal(size=(D, D)))[0])
    close(rms(x() @ Q), rms(x()) @ Q)
    off = F.layer_norm(x() @ Q, (D,)) - F.layer_norm(x(), (D,)) @ Q
    assert float(abs(off).max().item()) > 0.1
    w = tn.tensor(RNG.normal(size=D))  # nor does RMS normalization with a weight that was not folded
    off = F.rms_norm(x() @ Q, (D,), w) - F.rms_norm(x(), (D,), w) @ Q
    assert float(abs(off).max().item()) > 0.1


def test_v_crms_norm_is_rms_norm_of_the_whole_row_without_its_last_entry():
    whole = x() - x().mean(-1, keepdim=True)
    close(F.crms_norm(whole[:, :-1]), rms(whole)[:, :-1])
    close(F.crms_norm(whole[:, :-1]), F.layer_norm(x(), (D,))[:, :-1])


# -- (i): fold_norm


def zero_centered(norm):
    norm.zero_centered = True
    return norm


NORMS = {
    "layer": lambda: nn.LayerNorm(D),
    "no bias": lambda: nn.LayerNorm(D, bias=False),
    "no affine": lambda: nn.LayerNorm(D, elementwise_affine=False),
    "rms": lambda: nn.RMSNorm(D),
    "zero-centered": lambda: nn.RMSNorm(D, zero_centered=True),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_i_a_folded_norm_and_its_readers_compute_the_same(norm, bias):
    norm, a, b = randomized(norm()), randomized(nn.Linear(D, 4, bias)), randomized(nn.Linear(D, 3))
    before = copy.deepcopy((norm.state_dict(), a.state_dict()))
    bare, *folded = fold_norm(norm, a, b)
    assert not list(bare.parameters())
    for old, new in zip((a, b), folded, strict=True):
        close(new(bare(x())), old(norm(x())))
    for old, new in zip(before, (norm.state_dict(), a.state_dict()), strict=True):  # copies were changed
        assert all(np.array_equal(old[name].numpy(), new[name].numpy()) for name in old)


def test_beta_is_folded_before_gamma():
    """Planted: with W·diag γ in the place of W, the shift would be W·(γ∘β)."""
    norm, linear = randomized(nn.LayerNorm(D)), randomized(nn.Linear(D, 4))
    _, folded = fold_norm(norm, linear)
    W, gamma, beta = linear.weight.numpy(), norm.weight.numpy(), norm.bias.numpy()
    np.testing.assert_allclose(folded.bias.numpy(), linear.bias.numpy() + W @ beta, 1e-12)
    wrong = linear.bias.numpy() + (W * gamma) @ beta
    assert abs(folded.bias.numpy() - wrong).max() > 0.1


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "norm",
    [lambda: nn.GroupNorm(2, 4), lambda: nn.InstanceNorm2d(4, affine=True), lambda: nn.LayerNorm2d(4)],
    ids=["group", "instance", "layer"],
)
def test_a_norm_of_channels_is_folded_into_a_convolution(norm, groups):
    norm, conv = randomized(norm()), randomized(nn.Conv2d(4, 6, 3, groups=groups))
    bare, folded = fold_norm(norm, conv)
    close(folded(bare(x(2, 4, 5, 5))), conv(norm(x(2, 4, 5, 5))))
    assert not list(bare.parameters())
    padded = randomized(nn.Conv2d(4, 6, 3, padding=1))
    with pytest.raises(ValueError, match="pads with zeros, which the bias would not reach"):
        fold_norm(norm, padded)


def test_a_padding_named_same_is_refused_only_where_it_pads():
    norm = randomized(nn.GroupNorm(2, 4))
    conv = randomized(nn.Conv2d(4, 6, 1, padding="same"))
    bare, folded = fold_norm(norm, conv)
    close(folded(bare(x(2, 4, 5, 5))), conv(norm(x(2, 4, 5, 5))))
    for size in (3, (1, 2)):
        with pytest.raises(ValueError, match="pads with zeros"):
            fold_norm(norm, nn.Conv2d(4, 6, size, padding="same"))


# -- (iii): center_writers, and a whole model


class TinyGPT(nn.Module):
    """Embeddings and positions, pre-LN layers, a layer normalization, and an output layer."""

    def __init__(self, tied=False):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(7, D), nn.LearnedPositions(8, D, batch_first=True)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(D, 2, 8, 0.0, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, 7, bias=not tied)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, codes):
        stream = self.positions(self.tokens(codes))
        for layer in self.layers:
            stream = layer(stream)
        return self.head(self.norm(stream))


def without_means(model):
    """Return a copy of the model with RMS normalization in the place of layer normalization."""
    model = copy.deepcopy(model)
    model.tokens, model.positions = center_writers(model.tokens, model.positions)
    for layer in model.layers:
        layer.norm1, layer.self_attn = fold_norm(layer.norm1, layer.self_attn)
        layer.norm2, layer.linear1 = fold_norm(layer.norm2, layer.linear1)
        layer.self_attn, layer.linear2 = center_writers(layer.self_attn, layer.linear2)
        layer.norm1, layer.norm2 = (nn.RMSNorm(D, layer.norm1.eps, False) for _ in range(2))
    model.norm, model.head = fold_norm(model.norm, model.head)
    model.norm = nn.RMSNorm(D, model.norm.eps, False)
    return model


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_iii_a_pre_ln_gpt_becomes_one_with_rms_norm_and_gives_the_same_logits(tied):
    model, codes = randomized(TinyGPT(tied)), tn.tensor(RNG.integers(0, 7, (3, 8)))
    converted = without_means(model)
    assert not any(isinstance(part, nn.LayerNorm) for part in converted.modules())
    close(converted(codes), model(codes), 1e-9)
    if tied:  # centered copies: the output layer keeps its own weight
        assert converted.head.weight is not converted.tokens.weight
        assert model.head.weight is model.tokens.weight


def test_one_writer_that_was_forgotten_is_noticed():
    model, codes = randomized(TinyGPT()), tn.tensor(RNG.integers(0, 7, (3, 8)))
    converted = without_means(model)
    converted.positions = model.positions
    assert float(abs(converted(codes) - model(codes)).max().item()) > 0.01


def test_centered_writers_write_rows_of_mean_0():
    attention = randomized(nn.MultiheadAttention(D, 2, batch_first=True))
    for writer, inputs in (
        (randomized(nn.Linear(4, D)), (x(N, 4),)),
        (randomized(nn.Embedding(7, D, padding_idx=0)), (tn.tensor([[0, 3]]),)),
        (attention, (x(2, 3, D),) * 3),
    ):
        (centered,) = center_writers(writer)
        y = centered(*inputs)
        y = y[0] if isinstance(y, tuple) else y
        np.testing.assert_allclose(y.detach().numpy().mean(-1), 0, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fold_norm(nn.BatchNorm1d(D), nn.Linear(D, 2)), TypeError, "got BatchNorm1d"),
        (lambda: fold_norm(nn.LayerNorm(D)), TypeError, "got none"),
        (lambda: fold_norm(nn.LayerNorm((2, D)), nn.Linear(D, 2)), ValueError, "over the last axis"),
        (lambda: fold_norm(nn.LayerNorm(D), nn.Linear(4, 2)), ValueError, "has 6 features, Linear takes 4"),
        (lambda: fold_norm(nn.LayerNorm(D), nn.CosineLinear(D, 2)), TypeError, "got CosineLinear"),
        (lambda: fold_norm(nn.LayerNorm(D), nn.Conv1d(D, 2, 1)), TypeError, "does not read the axis"),
        (lambda: fold_norm(nn.LayerNorm2d(D), nn.Linear(D, 2)), TypeError, "does not read the axis"),
        (
            lambda: fold_norm(nn.RMSNorm(D, input_scaled=True), nn.Linear(D, 2)),
            TypeError,
            "normalizes after its weight",
        ),
        (
            lambda: fold_norm(nn.LayerNorm(D), nn.MultiheadAttention(D, 2, bias=False)),
            ValueError,
            "none that could take it",
        ),
        (
            lambda: fold_norm(nn.LayerNorm(D), nn.MultiheadAttention(D, 2, kdim=4)),
            ValueError,
            "does not read one norm",
        ),
        (lambda: center_writers(nn.ReLU()), TypeError, "got ReLU"),
    ],
    ids=["batch", "none", "axes", "size", "cosine", "conv", "layer 2d", "input", "no bias", "kdim", "relu"],
)
def test_what_cannot_be_folded_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
