"""QKClip: which heads are scaled, by how much, and what is observed."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

X = np.random.default_rng(0).normal(size=(2, 5, 12))


def attention(**options):
    tn.manual_seed(0)
    made = nn.MultiheadAttention(12, 3, batch_first=True, **options).double()
    for parameter in made.parameters():
        parameter.data[...] = np.random.default_rng(parameter.numel()).normal(size=parameter.shape)
    return made


def scores(made, x, y, z):
    """The largest score of each head, by hand."""
    q, k, _ = made._project(*(tn.tensor(part) for part in (x, y, z)))
    q, k = made._heads(q), made._heads(made._extended(k, made.bias_k))
    return (q @ k.mT).numpy().max((0, 2, 3)) / 2  # √4


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"kdim": 7, "vdim": 5}, {"add_bias_kv": True}],
    ids=["packed", "no bias", "three weights", "a key of its own"],
)
def test_the_largest_score_of_the_same_batch_becomes_the_threshold(options):
    made = attention(**options)
    inputs = X, X[..., : made.kdim], X[..., : made.vdim]
    before = scores(made, *inputs)
    tau = float(np.sort(before)[1]) * 0.9  # one head stays
    clip = optim.QKClip(made, tau)
    values = {name: p.numpy().copy() for name, p in made.named_parameters()}
    made(*(tn.tensor(x) for x in inputs))
    np.testing.assert_allclose(clip.max_logits[""].numpy(), before, rtol=1e-12)
    clip.step()
    np.testing.assert_allclose(scores(made, *inputs), np.minimum(before, tau), rtol=1e-12)
    assert clip.max_logits == {"": None}
    q = made.q_proj_weight if made.in_proj_weight is None else made.in_proj_weight[:12]
    old = values["q_proj_weight"] if made.in_proj_weight is None else values["in_proj_weight"][:12]
    gamma = np.minimum(1, tau / before)
    np.testing.assert_allclose(q.numpy() / old, np.repeat(gamma**0.5, 4)[:, None] * np.ones((1, 12)), 1e-12)
    if made.in_proj_weight is not None:
        np.testing.assert_array_equal(made.in_proj_weight.numpy()[24:], values["in_proj_weight"][24:])
    np.testing.assert_array_equal(made.out_proj.weight.numpy(), values["out_proj.weight"])


def test_masked_scores_and_evaluation_do_not_count():
    made, x = attention(), tn.tensor(X)
    clip = optim.QKClip(made, 1.0)
    with tn.no_grad():
        made.eval()(x, x, x)
    assert clip.max_logits == {"": None}
    made.train()
    mask = np.triu(np.ones((5, 5), bool), 1)
    made(x, x, x, attn_mask=tn.tensor(mask))
    q, k, _ = (made._heads(part) for part in made._project(x, x, x))
    allowed = (q @ k.mT).numpy()[:, :, ~mask] / 2
    np.testing.assert_allclose(clip.max_logits[""].numpy(), allowed.max((0, 2)), rtol=1e-12)
    made(x, x, x, attn_mask=tn.tensor(np.where(mask, -np.inf, 0.0)))
    np.testing.assert_allclose(clip.max_logits[""].numpy(), allowed.max((0, 2)), rtol=1e-12)
    made(x, x, x)
    np.testing.assert_allclose(clip.max_logits[""].numpy(), scores(made, X, X, X), rtol=1e-12)
    clip.remove()
    made(x, x, x)
    assert made.observer is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_spread(value):
    made, x = attention(), X.copy()
    before = made.in_proj_weight.numpy().copy()
    x[0, 0, 0] = value
    clip = optim.QKClip(made, 1e3)
    made(*[tn.tensor(x)] * 3)
    clip.step()
    np.testing.assert_array_equal(made.in_proj_weight.numpy(), before)


def test_all_attentions_of_a_network_and_its_copies():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 3, 8, 0.0, batch_first=True), 2)
    clip = optim.QKClip(model, 0.01)
    x = tn.tensor(X.astype("float32"))
    other = copy.deepcopy(model)
    model(x)
    assert list(clip.max_logits) == ["layers.0.self_attn", "layers.1.self_attn"]
    assert other.layers[0].self_attn.observer.value is None
    clip.step()
    model(x)
    assert clip.max_logits["layers.0.self_attn"].numpy().max() <= 0.01 * (1 + 1e-5)


def test_what_cannot_be_clipped():
    with pytest.raises(ValueError, match=r"self_attn normalizes its queries and keys"):
        optim.QKClip(nn.TransformerEncoderLayer(12, 3, 8, attention=nn.QKNormAttention))
    with pytest.raises(ValueError, match="needs a module with an nn"):
        optim.QKClip(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="threshold must be a positive"):
        optim.QKClip(attention(), 0.0)
    made = attention()
    nn.utils.parametrizations.weight_norm(made, "in_proj_weight")
    with pytest.raises(ValueError, match="in_proj_weight of the module is computed by a parametrization"):
        optim.QKClip(made)


def test_an_attention_has_one_clip():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 3, 8, 0.0, batch_first=True), 2)
    first = optim.QKClip(model.layers[1], 0.01)
    with pytest.raises(ValueError, match=r"layers.1.self_attn is observed by another QKClip: call remove"):
        optim.QKClip(model)
    assert model.layers[0].self_attn.observer is None
    model(tn.tensor(X.astype("float32")))
    assert first.max_logits["self_attn"] is not None
    first.remove()
    assert len(optim.QKClip(model).max_logits) == 2
