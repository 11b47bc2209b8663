"""MultiheadAttention: equal to PyTorch's for every option and mask; cases that PyTorch leaves undefined."""

import numpy as np
import pytest
from twins import compare_gradients, compare_training, exchange_states, twins

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad

L, S, N, E, H = 3, 5, 2, 6, 3

OPTIONS = {
    "default": {},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "bias_kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True},
    "bias_kv, zero, batch first": {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
    "kdim": {"kdim": 4},
    "kdim, vdim, bias_kv": {"kdim": 4, "vdim": 7, "add_bias_kv": True},
    "kdim, vdim, no bias": {"kdim": 4, "vdim": 7, "bias": False, "batch_first": True},
}
over_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def causal(length=L):
    return np.triu(np.ones((length, length), bool), 1)


PADDING = np.array([[False] * S, [False, True, False, True, True]])
MASK = np.random.default_rng(1).random((L, S)) < 0.3
MASKS = {
    "none": {},
    "bool": {"attn_mask": MASK},
    "float": {"attn_mask": normal(L, S, seed=2)},
    "infinite": {"attn_mask": np.where(MASK, -np.inf, 0.0)},
    "per head": {"attn_mask": np.random.default_rng(3).random((N * H, L, S)) < 0.3},
    "padding": {"key_padding_mask": PADDING},
    "float padding": {"key_padding_mask": normal(N, S, seed=4)},
    "bool and padding": {"attn_mask": MASK, "key_padding_mask": PADDING},
    "float and float padding": {
        "attn_mask": normal(N * H, L, S, seed=2),
        "key_padding_mask": np.where(PADDING, -np.inf, 0.5),
    },
}


def inputs(options, batched=True):
    shapes = (L, E), (S, options.get("kdim", E)), (S, options.get("vdim", E))
    axis = 0 if options.get("batch_first") else 1
    return [
        normal(*(np.insert(shape, axis, N) if batched else shape), seed=k) for k, shape in enumerate(shapes)
    ]


def pair(torch, options, seed=0):
    return twins(torch, lambda library: library.MultiheadAttention(E, H, **options), seed)


@over_options
@pytest.mark.parametrize("weights", [{}, {"need_weights": False}, {"average_attn_weights": False}], ids=str)
def test_outputs_and_gradients_equal_pytorchs(options, weights, torch):
    ours, theirs = pair(torch, options)
    compare_gradients(torch, ours, theirs, inputs(options), weights)
    compare_gradients(torch, ours, theirs, inputs(options, batched=False), weights)


@over_options
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks_mean_what_pytorchs_mean(options, masks, need_weights, torch):
    ours, theirs = pair(torch, options)
    compare_gradients(torch, ours, theirs, inputs(options), masks | {"need_weights": need_weights})


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [True, False])
def test_self_attention_with_a_causal_mask(batch_first, need_weights, torch):
    ours, theirs = pair(torch, {"batch_first": batch_first})
    masks = {"attn_mask": causal(), "is_causal": True, "need_weights": need_weights}
    x = inputs({"batch_first": batch_first})[:1]
    compare_gradients(torch, ours, theirs, x, masks, times=3)


@pytest.mark.parametrize("order", ["xxy", "xyx", "xyy"])
def test_inputs_that_are_partly_the_same(order, torch):
    ours, theirs = pair(torch, {})
    values = {"x": normal(L, N, E), "y": normal(L, N, E, seed=1)}
    own = {name: Tensor(value) for name, value in values.items()}
    others = {name: torch.tensor(value) for name, value in values.items()}
    y, _ = ours(*[own[name] for name in order])
    expected, _ = theirs(*[others[name] for name in order])
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)


@over_options
def test_training_equals_pytorchs(options, torch):
    ours, theirs = pair(torch, options)
    compare_training(torch, ours, theirs, inputs(options), {"key_padding_mask": PADDING})


@over_options
def test_states_travel_both_ways(options, torch, tmp_path):
    exchange_states(pair(torch, options), pair(torch, options, seed=1), tmp_path)


def test_a_float_mask_gets_its_gradient(torch):
    ours, theirs = pair(torch, {})
    xs = inputs({})
    mask, padding, dy = normal(L, S, seed=5), normal(N, S, seed=6), normal(L, N, E, seed=7)
    own = [Tensor(m, requires_grad=True) for m in (mask, padding)]
    y, _ = ours(*map(Tensor, xs), attn_mask=own[0], key_padding_mask=own[1])
    others = [torch.tensor(m, requires_grad=True) for m in (mask, padding)]
    torch_y, _ = theirs(*map(torch.tensor, xs), attn_mask=others[0], key_padding_mask=others[1])
    for dm, expected in zip(
        grad(y, own, dy), torch.autograd.grad(torch_y, others, torch.tensor(dy)), strict=True
    ):
        np.testing.assert_allclose(dm.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


def test_a_mask_of_bools_beside_one_of_numbers(torch):
    """PyTorch does the same, with a deprecation warning."""
    ours, _ = pair(torch, {})
    xs = [Tensor(x) for x in inputs({})]
    added = Tensor(normal(L, S, seed=5))
    y, weights = ours(*xs, attn_mask=added, key_padding_mask=Tensor(PADDING))
    infinite = Tensor(np.where(PADDING, -np.inf, 0.0))
    expected, _ = ours(*xs, attn_mask=added, key_padding_mask=infinite)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert not weights.numpy()[1][:, PADDING[1]].any()


def test_the_masks_of_one_sample_have_no_batch_axis():
    attention = nn.MultiheadAttention(E, H, batch_first=True).double()
    xs = [Tensor(x) for x in inputs({}, batched=False)]
    masks = {"attn_mask": Tensor(MASK), "key_padding_mask": Tensor(PADDING[1])}
    y, weights = attention(*xs, **masks)
    batch = [x.unsqueeze(0) for x in xs]
    masks["key_padding_mask"] = masks["key_padding_mask"].unsqueeze(0)
    expected, expected_weights = attention(*batch, **masks)
    np.testing.assert_array_equal(y.numpy(), expected.numpy()[0])
    np.testing.assert_array_equal(weights.numpy(), expected_weights.numpy()[0])
    assert weights.shape == (L, S)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_without_a_key_gets_the_bias_and_no_gradient(need_weights):
    """PyTorch gives NaN here if it returns weights."""
    attention = nn.MultiheadAttention(E, H).double()
    nn.init.normal_(attention.out_proj.bias)
    xs = [Tensor(x, requires_grad=True) for x in inputs({})]
    padding = np.array([[False] * S, [True] * S])
    y, weights = attention(*xs, key_padding_mask=Tensor(padding), need_weights=need_weights)
    np.testing.assert_array_equal(y.numpy()[:, 1], np.tile(attention.out_proj.bias.numpy(), (L, 1)))
    assert weights is None or not weights.numpy()[1].any()
    for dx in grad(y, xs, normal(L, N, E, seed=5)):
        assert np.isfinite(dx.numpy()).all()
        assert not dx.numpy()[:, 1].any()
        assert dx.numpy()[:, 0].any()


def test_weights_are_the_ones_used_after_dropout():
    attention = nn.MultiheadAttention(E, 1, dropout=0.5).double()
    query, key, value = inputs({})
    tn.manual_seed(1)
    y, weights = attention(Tensor(query), Tensor(key), Tensor(value))
    projected = value @ attention.in_proj_weight.numpy()[2 * E :].T
    mixed = np.einsum("nls,sne->lne", weights.numpy(), projected)
    expected = mixed @ attention.out_proj.weight.numpy().T
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)
    assert (weights.numpy() == 0).any()
    tn.manual_seed(1)
    again = attention(Tensor(query), Tensor(key), Tensor(value), need_weights=False)[0]
    np.testing.assert_allclose(again.numpy(), y.numpy(), rtol=1e-12)
    sums = attention.eval()(Tensor(query), Tensor(key), Tensor(value))[1].numpy().sum(-1)
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)


def test_gradients_through_dropout_equal_finite_differences():
    attention = nn.MultiheadAttention(4, 2, dropout=0.4).double()

    def frozen(*xs):
        tn.manual_seed(3)
        return attention(*xs)

    shapes = (2, 1, 4), (3, 1, 4), (3, 1, 4)
    xs = [Tensor(normal(*shape, seed=k), requires_grad=True) for k, shape in enumerate(shapes)]
    assert tn.gradcheck(frozen, xs)


@pytest.mark.parametrize("length", [0, 1])
def test_sequences_of_one_and_batches_of_none(length):
    attention = nn.MultiheadAttention(E, H)
    x = Tensor(normal(1, length, E).astype(np.float32), requires_grad=True)
    y, weights = attention(x, x, x)
    assert y.shape == (1, length, E)
    assert y.dtype == weights.dtype == np.float32
    np.testing.assert_array_equal(weights.numpy(), np.ones((length, 1, 1)))
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_weights_start_as_pytorchs():
    tn.manual_seed(0)
    attention = nn.MultiheadAttention(96, 4, add_bias_kv=True)
    bound = np.sqrt(6 / (96 + 3 * 96))
    weight = attention.in_proj_weight.numpy()
    assert 0.99 * bound < abs(weight).max() <= bound
    np.testing.assert_allclose(weight.std(), bound / np.sqrt(3), rtol=0.02)
    assert not attention.in_proj_bias.numpy().any()
    assert not attention.out_proj.bias.numpy().any()
    np.testing.assert_allclose(attention.bias_k.numpy().std(), np.sqrt(2 / (2 * 96)), rtol=0.2)
    assert abs(attention.out_proj.weight.numpy()).max() <= 1 / np.sqrt(96)
    separate = nn.MultiheadAttention(96, 4, kdim=32)
    assert abs(separate.k_proj_weight.numpy()).max() <= np.sqrt(6 / (96 + 32))


def test_half_precision_is_near_single():
    attention = nn.MultiheadAttention(E, H)
    xs = [x.astype(np.float32) for x in inputs({})]
    expected = attention(*map(Tensor, xs))[0].numpy()
    y, weights = attention.half()(*(Tensor(x.astype(np.float16)) for x in xs))
    assert y.dtype == weights.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), expected, rtol=2e-2, atol=5e-3)


def test_its_repr_tells_its_sizes():
    assert "embed_dim=6, num_heads=3" in repr(nn.MultiheadAttention(E, H))
