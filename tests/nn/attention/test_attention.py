"""What the registry does not cover of attention: masked rows, extremes, blocks, dropout, memory, errors."""

import functools
import inspect
import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.attention import attention_weights
from tinygrad_norm.nn.attention.scaleddotproduct import attention, attention_composed

SHAPE = (2, 3, 4, 5)


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def qkv(*shape, dtype=np.float64, scale=1.0):
    return [Tensor(normal(*shape, seed=k, dtype=dtype) * dtype(scale), requires_grad=True) for k in range(3)]


def reference(q, k, v, mask=None, scale=None):
    """Attention in extended precision, from its definition."""
    q, k, v = (x.numpy().astype(np.longdouble) for x in (q, k, v))
    s = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    s = s if mask is None else s + mask
    e = np.exp(s - s.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True) @ v).astype(np.float64)


# -- masked rows


@pytest.mark.parametrize("kind", ["bool", "infinite"])
def test_a_row_masked_completely_gives_zeros_and_no_gradient(kind):
    q, k, v = qkv(*SHAPE)
    allowed = np.ones((4, 4), bool)
    allowed[1] = False
    mask = Tensor(allowed) if kind == "bool" else Tensor(np.where(allowed, 0.0, -np.inf), requires_grad=True)
    y, w = attention(q, k, v, mask)
    assert not y.numpy()[:, :, 1].any()
    assert not w.numpy()[:, :, 1].any()
    xs = [q, k, v] + [mask] * (kind == "infinite")
    dxs = [dx.numpy() for dx in grad([y, w], xs, [normal(*y.shape, seed=5), normal(*w.shape, seed=6)])]
    assert all(np.isfinite(dx).all() for dx in dxs)
    assert not dxs[0][:, :, 1].any()
    rows = [0, 2, 3]
    alone = F.scaled_dot_product_attention(q[:, :, rows], k, v)
    np.testing.assert_allclose(y.numpy()[:, :, rows], alone.numpy(), rtol=1e-12)


def test_without_any_key_the_output_is_zero():
    q, k, v = (
        Tensor(normal(2, 3, 4), requires_grad=True),
        Tensor(np.ones((2, 0, 4))),
        Tensor(np.ones((2, 0, 5))),
    )
    y = F.scaled_dot_product_attention(q, k, v)
    assert y.shape == (2, 3, 5)
    assert not y.numpy().any()
    (dq,) = grad(y, [q], np.ones(y.shape))
    assert not dq.numpy().any()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_in_nothing_out(shape):
    q, k, v = qkv(*shape)
    y = F.scaled_dot_product_attention(q, k, v)
    assert y.shape == shape
    assert all(dx.shape == shape for dx in grad(y, [q, k, v], np.ones(shape)))


def test_causal_hides_the_future():
    q, k, v = qkv(2, 6, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    for i in range(6):
        seen = F.scaled_dot_product_attention(q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1]).numpy()
        np.testing.assert_allclose(y[:, i : i + 1], seen, rtol=1e-12)


# -- extremes


def everywhere(test):
    """Run `test` on the CPU and, where the host does not look at values, on the emulator."""

    @functools.wraps(test)
    def run(where, **arguments):
        if where == "emulator" and shutil.which("g++") is None:
            pytest.skip("the emulator needs g++")
        with tn.use_backend(where):
            test(**arguments)

    parameters = [inspect.Parameter("where", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    run.__signature__ = inspect.Signature([*parameters, *inspect.signature(test).parameters.values()])
    return pytest.mark.parametrize("where", ["numpy", "emulator"])(run)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 5.0, 30.0, 1e3, 1e15, 1e30])
@pytest.mark.parametrize("masked", [False, True])
@everywhere
def test_scores_of_any_size(dtype, scale, masked):
    q, k, v = qkv(2, 3, 4, dtype=dtype, scale=scale)
    mask = np.where(np.tri(3, dtype=bool), 0.0, -np.inf) if masked else None
    y = F.scaled_dot_product_attention(q, k, v, is_causal=masked)
    # Above 1e15 all weights are 0 or 1, and the rounding of the scores does not matter.
    np.testing.assert_allclose(y.numpy() / scale, reference(q, k, v, mask) / scale, rtol=0, atol=2e-4)
    for dx in grad(y, [q, k, v], normal(2, 3, 4, seed=7, dtype=dtype)):
        assert np.isfinite(dx.numpy()).all()
        assert dx.dtype == dtype


@pytest.mark.parametrize("scale", [1e38, 2e38])  # times 1.3: above 2**127, where the next power is infinite
@everywhere
def test_products_beyond_the_largest_number(scale):
    q, k = (Tensor(normal(1, 3, 4, seed=s, dtype=np.float32) * np.float32(scale), True) for s in range(2))
    v = Tensor(normal(1, 3, 4, seed=2, dtype=np.float32))
    y = F.scaled_dot_product_attention(q, k, v)
    best = np.argmax(q.numpy().astype(float) @ k.numpy().astype(float).swapaxes(-1, -2), -1)[0]
    np.testing.assert_array_equal(y.numpy()[0], v.numpy()[0, best])
    for mask in (np.zeros((3, 3)), np.tri(3)):
        masked = F.scaled_dot_product_attention(q, k, v, Tensor(mask.astype(np.float32)))
        np.testing.assert_array_equal(masked.numpy(), y.numpy())
    assert all(np.isfinite(dx.numpy()).all() for dx in grad(y, [q, k], normal(1, 3, 4, seed=3)))


@everywhere
def test_without_features_all_keys_have_one_weight():
    q, k, v = tn.zeros(1, 2, 0), tn.zeros(1, 3, 0), Tensor(normal(1, 3, 4))
    y = F.scaled_dot_product_attention(q.double(), k.double(), v, scale=1.0)
    np.testing.assert_allclose(y.numpy(), np.broadcast_to(v.numpy().mean(1, keepdims=True), (1, 2, 4)))


@pytest.mark.parametrize("offset", [-1e30, -1e9, -300.0, -61.0, 59.0, 61.0, 300.0, 1e4])
def test_an_offset_common_to_a_row_changes_nothing(offset):
    q, k, v = qkv(*SHAPE)
    mask = np.zeros((4, 4))
    mask[1] = offset
    y = F.scaled_dot_product_attention(q, k, v, Tensor(mask))
    expected = F.scaled_dot_product_attention(q, k, v).numpy()
    if offset < -1e20:  # the scores are lost in the rounding of the offset: equal weights
        expected[:, :, 1] = v.numpy().mean(2)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-16 * abs(min(offset, 1e10)))


def test_a_mask_decides_where_the_scores_are_tiny():
    q, k, v = qkv(1, 3, 4, dtype=np.float32, scale=1e-30)
    mask = np.array([[-200.0, -201.0, -300.0]] * 3, np.float32)
    w = attention(q, k, v, Tensor(mask))[1].numpy()
    np.testing.assert_allclose(w[0, 0, :2], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-6)


@pytest.mark.parametrize("low", [-1e9, -1e4, -100.0])
def test_very_negative_masks_leave_out(low):
    q, k, v = qkv(*SHAPE, dtype=np.float32)
    mask = np.where(np.tri(4, dtype=bool), 0.0, low).astype(np.float32)
    y = F.scaled_dot_product_attention(q, k, v, Tensor(mask))
    causal = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(y.numpy(), causal.numpy(), rtol=1e-6)


def test_half_precision_is_summed_in_single():
    q, k, v = (x.half() for x in qkv(2, 300, 8, dtype=np.float32))
    y, w = attention(q, k, v)
    assert y.dtype == w.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), reference(q, k, v), rtol=2e-3, atol=2e-4)
    for dx in grad(y, [q, k, v], normal(*y.shape, seed=4).astype(np.float16)):
        assert dx.dtype == np.float16
        assert np.isfinite(dx.numpy()).all()


def test_a_float32_mask_joins_float64_inputs():
    q, k, v = qkv(*SHAPE)
    mask = normal(4, 4, seed=5, dtype=np.float32)
    y = F.scaled_dot_product_attention(q, k, v, Tensor(mask))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.numpy(), reference(q, k, v, mask), rtol=1e-12)


# -- blocks and memory


@pytest.mark.parametrize("block", [1, 40, 100])
def test_blocks_change_nothing(block, monkeypatch):
    rng = np.random.default_rng(0)
    masks = [None, Tensor(rng.random((4, 5)) < 0.7), Tensor(normal(6, 1, 1, 5), requires_grad=True)]
    kept = Tensor((rng.random((6, 2, 4, 5)) < 0.5) * 2.0)
    for mask in masks:
        results = []
        for size in (attention_weights.BLOCK, block):
            monkeypatch.setattr(attention_weights, "BLOCK", size)
            q, k, v = (
                Tensor(normal(*s, seed=i), True)
                for i, s in enumerate([(6, 2, 4, 3), (1, 5, 3), (6, 1, 5, 2)])
            )
            ys = attention(q, k, v, mask, kept)
            xs = [q, k, v] + [mask] * (mask is masks[2])
            results.append([*ys, *grad(ys, xs, [normal(*y.shape, seed=9) for y in ys])])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-15)


def test_heads_that_are_views_keep_their_layout():
    """Multi-head attention relies on this to concatenate the heads without a copy."""
    x = Tensor(normal(2, 5, 12), requires_grad=True)
    q, k, v = (part.unflatten(-1, (2, 2)).permute(0, 2, 1, 3) for part in x.chunk(3, -1))
    y = F.scaled_dot_product_attention(q, k, v)
    assert y.array.transpose(0, 2, 1, 3).flags.c_contiguous
    copies = [Tensor(part.numpy().copy(), requires_grad=True) for part in (q, k, v)]
    expected = F.scaled_dot_product_attention(*copies)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-13)
    dy = normal(*y.shape, seed=3)
    (dx,) = grad(y, [x], dy)
    parts = [d.numpy().transpose(0, 2, 1, 3).reshape(2, 5, 4) for d in grad(expected, copies, dy)]
    np.testing.assert_allclose(dx.numpy(), np.concatenate(parts, -1), rtol=1e-12, atol=1e-15)


def test_groups_repeat_nothing():
    q, k, v = (
        Tensor(normal(2, 6, 3, 4), True),
        Tensor(normal(2, 2, 5, 4), True),
        Tensor(normal(2, 2, 5, 4), True),
    )
    y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    node = y.creator
    while node.name != "Attention":
        node = node.inputs[0].creator
    assert node.saved[1].size == k.numpy().size
    assert np.shares_memory(node.saved[1], k.array)
    y.backward(normal(*y.shape))
    assert k.grad.shape == k.shape


@pytest.mark.parametrize("wanted", range(4))
def test_only_the_gradients_that_are_wanted(wanted):
    values = [normal(*SHAPE, seed=k) for k in range(3)] + [normal(4, 4, seed=3)]
    dy = normal(*SHAPE, seed=4)
    everything = [Tensor(x, requires_grad=True) for x in values]
    expected = grad(F.scaled_dot_product_attention(*everything), everything, dy)[wanted]
    one = [Tensor(x, requires_grad=i == wanted) for i, x in enumerate(values)]
    (dx,) = grad(F.scaled_dot_product_attention(*one), [one[wanted]], dy)
    np.testing.assert_array_equal(dx.numpy(), expected.numpy())


@pytest.mark.parametrize("changed", ["query", "key", "value", "weights"])
def test_what_backward_needs_may_not_change(changed):
    q, k, v = qkv(2, 3, 4)
    y, w = attention(q, k, v)
    {"query": q, "key": k, "value": v, "weights": w}[changed].data[0] += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


# -- dropout


def test_dropout_scales_what_it_keeps_and_is_seeded():
    q, k = (Tensor(np.zeros((1, 400, 4))) for _ in range(2))
    v = Tensor(np.eye(400)[None])  # so that the output is the weights
    tn.manual_seed(5)
    w = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3).numpy()
    np.testing.assert_allclose(np.unique(w), [0, 1 / 400 / 0.7], rtol=1e-12)
    np.testing.assert_allclose((w == 0).mean(), 0.3, atol=0.005)
    tn.manual_seed(5)
    np.testing.assert_array_equal(F.scaled_dot_product_attention(q, k, v, dropout_p=0.3).numpy(), w)
    assert not np.array_equal(F.scaled_dot_product_attention(q, k, v, dropout_p=0.3).numpy(), w)


def test_dropout_of_everything_gives_zeros():
    q, k, v = qkv(*SHAPE)
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=1.0)
    assert not y.numpy().any()
    assert not any(dx.numpy().any() for dx in grad(y, [q, k, v], np.ones(y.shape)))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"enable_gqa": True}], ids=str)
def test_gradients_through_frozen_dropout_equal_finite_differences(options):
    def frozen(*inputs):
        tn.manual_seed(2)
        return F.scaled_dot_product_attention(*inputs, dropout_p=0.3, **options)

    shapes = (4, 3, 2), (2, 3, 2), (2, 3, 2)
    shapes = shapes if "enable_gqa" in options else [(2, 3, 2)] * 3
    assert tn.gradcheck(frozen, [Tensor(normal(*s, seed=k), True) for k, s in enumerate(shapes)])


def test_dropout_equals_the_composed_form_with_the_same_mask():
    q, k, v = qkv(2, 3, 4)
    tn.manual_seed(4)
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)
    tn.manual_seed(4)
    kept = F.dropout(tn.ones(2, 3, 3, dtype=tn.float64), 0.4)
    expected, _ = attention_composed(q, k, v, None, kept)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12)
    assert (kept.numpy() == 0).any()


# -- the weights as an output


def test_weights_sum_to_1_and_mix_the_values():
    q, k, v = qkv(*SHAPE)
    y, w = attention(q, k, v)
    np.testing.assert_allclose(w.numpy().sum(-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(y.numpy(), w.numpy() @ v.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(y.numpy(), F.scaled_dot_product_attention(q, k, v).numpy())


def test_no_gradient_is_recorded_where_none_is_wanted():
    q, k, v = qkv(*SHAPE)
    with tn.no_grad():
        assert F.scaled_dot_product_attention(q, k, v).creator is None


def test_a_message_says_what_came_and_what_to_do():
    q, k, v = Tensor(normal(8, 3, 4)), Tensor(normal(2, 3, 4)), Tensor(normal(2, 3, 4))
    with pytest.raises(ValueError, match=r"\(8, 3, 4\), \(2, 3, 4\).*enable_gqa=True"):
        F.scaled_dot_product_attention(q, k, v)
    with pytest.raises(ValueError, match=r"attn_mask has shape \(3, 4\), expected .* \(2, 3, 3\)"):
        F.scaled_dot_product_attention(k, k, v, Tensor(np.ones((3, 4))))
    with pytest.raises(TypeError, match=r"True takes part.*got list"):
        F.scaled_dot_product_attention(k, k, v, [[True]])
