"""QKNorm: bounded scores, however large the weights; and where it stands in a transformer."""

from functools import partial

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.transformer.ngptblock import turn

X = np.random.default_rng(0).normal(size=(2, 5, 12)).astype("float32")


def layer(**options):
    tn.manual_seed(0)
    return nn.QKNormAttention(12, 3, batch_first=True, **options)


def heads(made, x):
    """Queries, keys and values (N, H, L, D) as the projections make them."""
    q, k, v = F.linear(x, made.in_proj_weight, made.in_proj_bias).chunk(3, -1)
    return (part.unflatten(-1, (3, 4)).swapaxes(1, 2) for part in (q, k, v))


def output(made, scores, v):
    return made.out_proj((F.softmax(scores, -1) @ v).swapaxes(1, 2).flatten(-2))


def test_g_starts_with_the_length_of_sequences():
    assert layer(length=100).g.item() == pytest.approx(np.log2(100**2 - 100))
    assert layer(length=2).g.item() == 1
    made = layer()
    assert [name for name, _ in made.named_parameters()] == [
        *("in_proj_weight", "in_proj_bias", "g", "out_proj.weight", "out_proj.bias")
    ]
    before = made.g.item()
    made.g.data += 1
    made.reset_parameters()
    assert made.g.item() == before


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e15])
@pytest.mark.parametrize("g", [0.5, 8.0, 40.0])
def test_no_score_exceeds_g_whatever_the_weights(size, g):
    """Two weights of a query differ by no more than e^(2g); the scores are what queries and keys make."""
    made, x = layer(), tn.tensor(X)
    made.in_proj_weight.data *= size
    made.g.data[:] = g
    q, k, v = heads(made, x)
    cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    q, k, v = made._as_heads(*(part.swapaxes(1, 2).flatten(-2) for part in (q, k, v)))
    scores = (q @ k.mT).numpy()
    assert 0.3 * g < abs(scores).max() <= g * (1 + 1e-6)
    np.testing.assert_allclose(scores, g * cosines.numpy(), 1e-4, 1e-5 * g)
    y, weights = made(x, x, x, average_attn_weights=False)
    np.testing.assert_allclose(y.numpy(), output(made, g * cosines, v).numpy(), 1e-3, 1e-4 * size)
    if g < 20:  # else float32 has no such weights
        weights = weights.numpy()
        assert np.log(weights.max(-1) / weights.min(-1)).max() <= 2 * g * (1 + 1e-5)


def test_scores_of_plain_attention_have_no_bound():
    made = nn.MultiheadAttention(12, 3, batch_first=True)
    made.in_proj_weight.data *= 30
    assert made(*[tn.tensor(X)] * 3, average_attn_weights=False)[1].numpy().max() > 0.999


@pytest.mark.parametrize(("norm", "kind"), [("layer", nn.LayerNorm), ("rms", nn.RMSNorm)])
def test_queries_and_keys_have_normalizations_of_their_own(norm, kind):
    made, x = layer(norm=norm), tn.tensor(X)
    assert type(made.q_norm) is type(made.k_norm) is kind
    assert made.q_norm.weight.shape == (4,)
    made.q_norm.weight.data *= 2
    q, k, v = heads(made, x)
    plain = kind(4)
    expected = output(made, 2 * plain(q) @ plain(k).mT / 2, v)
    np.testing.assert_allclose(made(x, x, x)[0].numpy(), expected.numpy(), 1e-4, 1e-5)
    assert made(x, x, x, need_weights=False)[1] is None
    np.testing.assert_allclose(made(x, x, x, need_weights=False)[0].numpy(), expected.numpy(), 1e-4, 1e-5)


def test_a_state_of_multi_head_attention_fits_but_for_g():
    made, other = layer(), nn.MultiheadAttention(12, 3)
    missing, unexpected = made.load_state_dict(other.state_dict(), strict=False)
    assert (missing, unexpected) == (["g"], [])


def test_masked_keys_are_left_out():
    made = layer()
    hidden = np.array([[False] * 5, [False, False, False, True, True]])
    y = made(*[tn.tensor(X)] * 3, key_padding_mask=tn.tensor(hidden))[0].numpy()
    other = X.copy()
    other[1, 3:] = 7
    z = made(tn.tensor(X), *[tn.tensor(other)] * 2, key_padding_mask=tn.tensor(hidden))[0].numpy()
    np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize("norm", ["l2", "layer", "rms"])
def test_a_transformer_takes_it_in_place_of_its_attention(norm):
    attention = partial(nn.QKNormAttention, norm=norm, length=5)
    made = nn.TransformerEncoderLayer(12, 3, 16, 0.0, batch_first=True, attention=attention)
    assert made.self_attn.norm == norm
    assert made.self_attn.batch_first
    assert made(tn.tensor(X)).shape == X.shape
    model = nn.Transformer(12, 3, 1, 1, 16, attention=attention)
    assert sum(isinstance(module, nn.QKNormAttention) for module in model.modules()) == 3
    with pytest.raises(TypeError, match=r"attention must make an attention, .* got 'l2'"):
        nn.TransformerEncoderLayer(12, 3, attention="l2")


@pytest.mark.parametrize("norm", ["rms-all", "rms-weightless"])
def test_norms_over_all_heads_and_without_a_weight(norm):
    made, x = layer(norm=norm), tn.tensor(X)
    q, k, v = (part.swapaxes(1, 2) for part in heads(made, x))  # (N, L, H, D)
    if norm == "rms-all":
        assert made.q_norm.weight.shape == (12,)
        made.k_norm.weight.data[:] = np.linspace(0.5, 2, 12)
        q = nn.RMSNorm(12)(q.flatten(-2)).unflatten(-1, (3, 4))
        k = (nn.RMSNorm(12)(k.flatten(-2)) * made.k_norm.weight).unflatten(-1, (3, 4))
    else:
        assert not list(made.q_norm.parameters())
        q, k = nn.RMSNorm(4)(q), nn.RMSNorm(4)(k)
    q, k, v = (part.swapaxes(1, 2) for part in (q, k, v))
    expected = output(made, q @ k.mT / 2, v)
    np.testing.assert_allclose(made(x, x, x)[0].numpy(), expected.numpy(), 1e-4, 1e-5)


def test_values_too_may_be_normalized():
    made, x = layer(norm="rms", v_norm=True), tn.tensor(X)
    q, k, v = heads(made, x)
    expected = output(made, nn.RMSNorm(4)(q) @ nn.RMSNorm(4)(k).mT / 2, nn.RMSNorm(4)(v))
    np.testing.assert_allclose(made(x, x, x)[0].numpy(), expected.numpy(), 1e-4, 1e-5)
    plain = layer(norm="rms")
    assert made.state_dict().keys() == plain.state_dict().keys()


def turned(x):
    return turn(tn.tensor(x)).numpy()  # (T, H, D)


def rms(x, weight=1.0):
    return x / np.sqrt((x * x).mean(-1, keepdims=True)) * weight


def test_a_weightless_norm_commutes_with_rotary_positions_and_a_weighted_one_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 3, 8)) * 5
    np.testing.assert_allclose(turned(rms(x)), rms(turned(x)), rtol=0, atol=1e-15)
    weight = rng.uniform(0.2, 3.0, 8)
    assert abs(turned(rms(x, weight)) - rms(turned(x), weight)).max() > 1
    pairs = np.tile(weight[:4], 2)  # feature i turns with i + 4
    np.testing.assert_allclose(turned(rms(x, pairs)), rms(turned(x), pairs), rtol=0, atol=3e-15)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_a_learned_weight_moves_the_bound(size):
    made, x = layer(norm="rms").double(), tn.tensor(X.astype(float))
    made.in_proj_weight.data *= size
    for weight, bound in ((1.0, 2.0), (4.0, 32.0)):  # √D·max|w_q·w_k|
        made.q_norm.weight.data[:] = made.k_norm.weight.data[:] = weight
        q, k, _ = made._as_heads(*made._project(x, x, x))
        scores = abs((q @ k.mT).numpy() / 2)
        assert 0.5 * bound < scores.max() <= bound * (1 + 1e-12)


def test_norms_over_all_heads_let_one_head_have_all_the_length():
    made, x = layer(norm="rms-all").double(), tn.tensor(X.astype(float))
    made.in_proj_weight.data[4:12] = made.in_proj_weight.data[16:24] = 0  # q and k of the other heads
    made.in_proj_weight.data[:4] *= 1e3
    made.in_proj_weight.data[12:16] = made.in_proj_weight.data[:4]
    q, k, _ = made._as_heads(*made._project(x, x, x))
    scores = (q @ k.mT).numpy() / 2
    assert scores.max() == pytest.approx(3 * 2, rel=1e-6)  # H·√D
