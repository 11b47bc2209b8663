"""Transformers: equal to PyTorch's for every option and mask; cases that PyTorch leaves undefined."""

import copy
import warnings

import numpy as np
import pytest
from twins import compare_gradients, compare_training, exchange_states, twins

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

L, S, N, D, H, FF = 3, 4, 2, 6, 3, 5

OPTIONS = {
    "default": {},
    "pre-LN": {"norm_first": True},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "gelu": {"activation": "gelu", "layer_norm_eps": 0.1},
    "pre-LN, gelu, batch first, no bias": {
        "norm_first": True,
        "activation": "gelu",
        "batch_first": True,
        "bias": False,
    },
}
over_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
HIDDEN = np.array([[False] * L, [False, True, False]])
MEMORY_HIDDEN = np.array([[False] * S, [False, True, False, True]])
CAUSAL = np.triu(np.full((L, L), -np.inf), 1)
RANDOM = np.random.default_rng(3).random((L, L)) < 0.3


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def sequence(length, options, batched=True, seed=0):
    batch = (N,) if batched else ()
    return normal(*((*batch, length) if options.get("batch_first") else (length, *batch)), D, seed=seed)


def layer(library, name, options):
    return getattr(library, name)(D, H, FF, 0.0, **options)


def stack(library, name, options):
    """Three layers and a normalization, with weights that differ from layer to layer."""
    norm = library.LayerNorm(D, eps=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's nested tensors
        made = getattr(library, name)(layer(library, name + "Layer", options), 3, norm)
    for i, parameter in enumerate(made.parameters()):
        parameter.data += i / 100
    return made


def whole(library, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.Transformer(D, H, 2, 1, FF, 0.0, **options)


# -- the layers


@over_options
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"src_mask": CAUSAL, "is_causal": True},
        {"src_mask": RANDOM},
        {"src_key_padding_mask": HIDDEN},
        {"src_mask": RANDOM, "src_key_padding_mask": HIDDEN},
        {"src_mask": normal(N * H, L, L, seed=4), "src_key_padding_mask": np.where(HIDDEN, -np.inf, 0.0)},
    ],
    ids=["none", "causal", "bool", "padding", "both", "per head"],
)
def test_encoder_layer(options, masks, torch):
    ours, theirs = twins(torch, lambda library: layer(library, "TransformerEncoderLayer", options))
    compare_gradients(torch, ours, theirs, [sequence(L, options)], masks)
    compare_gradients(torch, ours.eval(), theirs, [sequence(L, options)], masks)


@over_options
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"tgt_mask": CAUSAL, "tgt_is_causal": True},
        {"memory_mask": np.random.default_rng(4).random((L, S)) < 0.3},
        {"tgt_key_padding_mask": HIDDEN, "memory_key_padding_mask": MEMORY_HIDDEN},
    ],
    ids=["none", "causal", "memory", "padding"],
)
def test_decoder_layer(options, masks, torch):
    ours, theirs = twins(torch, lambda library: layer(library, "TransformerDecoderLayer", options))
    compare_gradients(torch, ours, theirs, [sequence(L, options), sequence(S, options, seed=1)], masks)


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@over_options
def test_layers_take_one_sample(name, options, torch):
    ours, theirs = twins(torch, lambda library: layer(library, name, options))
    xs = [sequence(L, options, batched=False), sequence(S, options, batched=False, seed=1)]
    compare_gradients(torch, ours, theirs, xs[: 1 + ("Decoder" in name)], {})


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@over_options
def test_layers_train_as_pytorchs(name, options, torch):
    ours, theirs = twins(torch, lambda library: layer(library, name, options))
    xs = [sequence(L, options), sequence(S, options, seed=1)]
    mask = "tgt_key_padding_mask" if "Decoder" in name else "src_key_padding_mask"
    compare_training(torch, ours, theirs, xs[: 1 + ("Decoder" in name)], {mask: HIDDEN})


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@over_options
def test_states_of_layers_travel_both_ways(name, options, torch, tmp_path):
    pairs = [twins(torch, lambda library: layer(library, name, options), seed) for seed in (0, 1)]
    exchange_states(*pairs, tmp_path)


@pytest.mark.parametrize("activation", ["module", "function"])
def test_any_activation(activation, torch):
    def make(library):
        silu = library.SiLU() if activation == "module" else library.functional.silu
        return library.TransformerEncoderLayer(D, H, FF, 0.0, silu)

    ours, theirs = twins(torch, make)
    compare_gradients(torch, ours, theirs, [sequence(L, {})], {})


# -- the stacks


@over_options
def test_encoder(options, torch):
    ours, theirs = twins(torch, lambda library: stack(library, "TransformerEncoder", options))
    for masks in ({}, {"mask": CAUSAL}, {"mask": RANDOM, "src_key_padding_mask": HIDDEN}):
        compare_gradients(torch, ours, theirs, [sequence(L, options)], masks)
    compare_training(torch, ours, theirs, [sequence(L, options)], {"mask": CAUSAL, "is_causal": True})


@over_options
def test_decoder(options, torch):
    ours, theirs = twins(torch, lambda library: stack(library, "TransformerDecoder", options))
    xs = [sequence(L, options), sequence(S, options, seed=1)]
    for masks in ({}, {"tgt_mask": CAUSAL, "memory_key_padding_mask": MEMORY_HIDDEN}):
        compare_gradients(torch, ours, theirs, xs, masks)
    compare_training(torch, ours, theirs, xs, {"tgt_mask": CAUSAL})


@over_options
def test_transformer(options, torch):
    ours, theirs = twins(torch, lambda library: whole(library, options))
    xs = [sequence(S, options), sequence(L, options, seed=1)]
    masks = {
        "tgt_mask": CAUSAL,
        "src_key_padding_mask": MEMORY_HIDDEN,
        "memory_key_padding_mask": MEMORY_HIDDEN,
    }
    compare_gradients(torch, ours, theirs, xs, masks)
    compare_training(torch, ours, theirs, xs, masks)


@over_options
def test_states_of_stacks_travel_both_ways(options, torch, tmp_path):
    exchange_states(
        *[twins(torch, lambda library: whole(library, options), seed) for seed in (0, 1)], tmp_path
    )


def test_the_mask_of_the_future_is_pytorchs(torch):
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    expected = torch.nn.Transformer.generate_square_subsequent_mask(4)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask.numpy(), expected.numpy())
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=tn.float64).dtype == np.float64


def test_the_weights_of_a_transformer_start_within_xaviers_bound():
    model = nn.Transformer(64, 4, 1, 1, 256)
    for module in (model.encoder.layers[0], model.decoder.layers[0]):
        bound = np.sqrt(6 / (64 + 256))
        assert 0.95 * bound < abs(module.linear2.weight.numpy()).max() <= bound


def test_custom_encoder_and_decoder_take_their_places():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, FF), 1)
    model = nn.Transformer(D, H, 1, 1, FF, custom_encoder=encoder)
    assert model.encoder is encoder
    assert model.encoder.norm is None


@pytest.mark.parametrize("norm_first", [False, True])
def test_no_position_sees_a_later_one(norm_first):
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(D, H, FF, 0.0, batch_first=True, norm_first=norm_first), 2
    ).double()
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    x = Tensor(normal(1, 5, D), requires_grad=True)
    for position in range(5):
        dy = np.zeros((1, 5, D))
        dy[0, position] = normal(D, seed=1)
        (dx,) = grad(encoder(x, mask, is_causal=True), [x], dy)
        seen = abs(dx.numpy()).sum((0, 2)) > 0
        np.testing.assert_array_equal(seen, np.arange(5) <= position)


def test_what_is_padded_does_not_matter():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, FF, 0.0), 2).double()
    x = sequence(L, {})
    changed = x.copy()
    changed[HIDDEN.T] = 100 * normal(D, seed=2)
    ys = [encoder(Tensor(v), src_key_padding_mask=Tensor(HIDDEN)).numpy() for v in (x, changed)]
    np.testing.assert_allclose(ys[0][~HIDDEN.T], ys[1][~HIDDEN.T], rtol=1e-12)


def test_copies_of_a_layer_are_equal_and_apart():
    base = nn.TransformerEncoderLayer(D, H, FF)
    encoder = nn.TransformerEncoder(base, 2)
    first, second = (copied.linear1.weight for copied in encoder.layers)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    first.data += 1
    assert not np.shares_memory(first.array, second.array)
    np.testing.assert_array_equal(second.numpy(), base.linear1.weight.numpy())
    assert len(list(copy.deepcopy(encoder).parameters())) == 2 * len(list(base.parameters()))


# -- other normalizations


def test_any_normalization_can_take_the_place_of_layer_norm():
    encoder_layer = nn.TransformerEncoderLayer(D, H, FF, 0.0, norm=nn.RMSNorm, norm_first=True).double()
    assert isinstance(encoder_layer.norm1, nn.RMSNorm)
    assert isinstance(encoder_layer.norm2, nn.RMSNorm)
    assert "norm1.bias" not in encoder_layer.state_dict()
    x = Tensor(normal(L, N, D))
    z = x + encoder_layer.self_attn(*[F.rms_norm(x, (D,))] * 3)[0]
    y = z + encoder_layer.linear2(F.relu(encoder_layer.linear1(F.rms_norm(z, (D,)))))
    np.testing.assert_allclose(encoder_layer(x).numpy(), y.numpy(), rtol=1e-12)


def test_every_part_of_a_transformer_gets_the_normalization():
    model = nn.Transformer(D, H, 1, 1, FF, norm=nn.RMSNorm)
    kinds = {type(module) for module in model.modules()}
    assert nn.RMSNorm in kinds
    assert nn.LayerNorm not in kinds


def test_without_normalization_a_zero_layer_is_the_identity():
    encoder_layer = nn.TransformerEncoderLayer(D, H, FF, norm=nn.Identity)
    for parameter in encoder_layer.parameters():
        parameter.zero_()
    x = Tensor(normal(L, N, D).astype(np.float32))
    np.testing.assert_array_equal(encoder_layer(x).numpy(), x.numpy())


# -- dropout, sizes, errors


def test_dropout_acts_in_training_only_and_is_seeded():
    encoder_layer = nn.TransformerEncoderLayer(D, H, FF, dropout=0.5).double()
    x = Tensor(normal(L, N, D))
    tn.manual_seed(1)
    y = encoder_layer(x).numpy()
    assert not np.array_equal(encoder_layer(x).numpy(), y)
    tn.manual_seed(1)
    np.testing.assert_array_equal(encoder_layer(x).numpy(), y)
    encoder_layer.eval()
    np.testing.assert_array_equal(encoder_layer(x).numpy(), encoder_layer(x).numpy())


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    "place", ["dropout", "dropout1", "dropout2", "dropout3", "self_attn", "multihead_attn"]
)
@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
def test_every_dropout_stands_where_pytorchs_does(name, place, norm_first, torch):
    """One of them drops everything, so the results cannot differ by chance."""
    if "Encoder" in name and place in ("dropout3", "multihead_attn"):
        pytest.skip("an encoder layer has no third step")

    def make(library):
        made = layer(library, name, {"norm_first": norm_first})
        part = getattr(made, place)
        setattr(part, "dropout" if "attn" in place else "p", 1.0)
        return made

    ours, theirs = twins(torch, make)
    xs = [sequence(L, {}), sequence(S, {}, seed=1)]
    compare_gradients(torch, ours, theirs, xs[: 1 + ("Decoder" in name)], {})


def test_gradients_through_dropout_equal_finite_differences():
    decoder_layer = nn.TransformerDecoderLayer(4, 2, 3, dropout=0.3, activation="gelu").double()

    def frozen(*xs):
        tn.manual_seed(3)
        return decoder_layer(*xs)

    assert tn.gradcheck(frozen, [Tensor(normal(2, 1, 4, seed=k), requires_grad=True) for k in range(2)])


@pytest.mark.parametrize("shape", [(1, 2, D), (3, 0, D), (1, D)])
def test_sequences_of_one_and_batches_of_none(shape):
    encoder_layer = nn.TransformerEncoderLayer(D, H, FF)
    x = Tensor(normal(*shape).astype(np.float32), requires_grad=True)
    y = encoder_layer(x)
    assert y.shape == shape
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.shape == shape


def test_a_sample_masked_completely_stays_finite():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, FF, 0.0), 2).double()
    x = Tensor(normal(L, N, D), requires_grad=True)
    y = encoder(x, src_key_padding_mask=Tensor(np.array([[False] * L, [True] * L])))
    (dx,) = grad(y, [x], normal(L, N, D, seed=1))
    assert np.isfinite(y.numpy()).all()
    assert np.isfinite(dx.numpy()).all()


def test_errors():
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, FF), 0)
    with pytest.raises(RuntimeError, match="generate_square_subsequent_mask"):
        nn.TransformerEncoderLayer(D, H, FF)(Tensor(np.ones((L, N, D), np.float32)), is_causal=True)
    with pytest.raises(ValueError, match="one batch size"):
        nn.Transformer(D, H, 1, 1, FF)(tn.ones(L, 2, D), tn.ones(L, 3, D))
