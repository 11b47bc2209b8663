"""nGPT: every vector of the embedding space has length 1, in the model and through training."""

import copy
import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.transformer.ngptblock import LearnedScale, turn


def normal(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def unit(*shape, seed=0, dtype=np.float64):
    return F.normalize(normal(*shape, seed=seed, dtype=dtype), dim=-1)


def lengths(x, dim=-1):
    return np.linalg.norm(np.asarray(getattr(x, "array", x), np.float64), axis=dim)


@pytest.mark.parametrize("steps", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_every_vector_keeps_length_1_through_training(steps):
    """In the weights after each step, and in each hidden state, q and k."""
    tn.manual_seed(0)
    model = nn.NGPT(12, 16, 2, 2)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    optimizer.register_step_post_hook(lambda *_: model.normalize_weights_())
    rng, losses = np.random.default_rng(0), []
    for _ in range(steps):
        tokens = np.cumsum(rng.integers(0, 3, (4, 9)), 1) % 12
        h = model[0](tn.tensor(tokens[:, :-1].copy()))
        for block in model[1:-1]:
            np.testing.assert_allclose(lengths(h), 1, atol=1e-6)
            q_k = block.in_proj(h)[..., :32].unflatten(-1, (4, 8))
            np.testing.assert_allclose(lengths(F.normalize(turn(q_k), dim=-1)), 1, atol=1e-6)
            h = block(h)
        np.testing.assert_allclose(lengths(h), 1, atol=1e-6)
        loss = F.cross_entropy(model[len(model) - 1](h).flatten(0, 1), tn.tensor(tokens[:, 1:].ravel()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for weight, dim in _matrices(model):
            np.testing.assert_allclose(lengths(weight, dim), 1, atol=1e-6)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - (0.8 if steps == 200 else 0)


def _matrices(model):
    """Every matrix, and along which axis its vectors of the embedding space lie."""
    yield model[0].weight, 1
    for block in list(model)[1:-1]:
        yield block.in_proj.weight, 1
        yield block.up_proj.weight, 1
        yield block.out_proj.weight, 0
        yield block.down_proj.weight, 0
    yield model[len(model) - 1].out_proj.weight, 1


def test_a_new_model_has_unit_vectors_and_its_scales_start_where_the_paper_says():
    model = nn.NGPT(12, 16, 2, 3)
    for weight, dim in _matrices(model):
        np.testing.assert_allclose(lengths(weight, dim), 1, atol=1e-6)
    assert sum(p.ndim == 2 for p in model.parameters()) == len(list(_matrices(model)))
    block = model[1]
    starts = {"alpha_attention": 0.05, "alpha_mlp": 0.05, "scale_qk": 1, "scale_up": 1, "scale_gate": 1}
    for name, start in starts.items():
        np.testing.assert_allclose(getattr(block, name)().array, start, rtol=1e-6)
    for name in ("alpha_attention", "alpha_mlp", "scale_qk"):
        np.testing.assert_allclose(getattr(block, name).weight.array, 1 / 4, rtol=1e-6)
    np.testing.assert_allclose(model[4].scale_logits().array, 1, rtol=1e-6)


def test_the_block_against_the_papers_equations():
    """Plain NumPy, one head and one step after the other."""
    tn.manual_seed(1)
    D, H, T = 8, 2, 5
    K = D // H
    block = nn.NGPTBlock(D, H, 2.0, 0.3).double()
    for scale in (m for m in block.modules() if isinstance(m, LearnedScale)):
        scale.weight.copy_(scale.weight.array * np.random.default_rng(3).uniform(0.5, 2, scale.weight.shape))
    x = unit(T, D, seed=2)

    def norm(z):
        return z / np.linalg.norm(z, axis=-1, keepdims=True)

    def effective(scale):
        return scale.weight.array * (scale.start / scale.scale)

    def rotated(z, t):
        out = np.empty(K)
        for i in range(K // 2):
            a = t * 10000 ** (-2 * i / K)
            out[i] = z[i] * np.cos(a) - z[i + K // 2] * np.sin(a)
            out[i + K // 2] = z[i] * np.sin(a) + z[i + K // 2] * np.cos(a)
        return out

    h = x.array
    W = block.in_proj.weight.array
    q, k, v = (h @ W[i * D : (i + 1) * D].T for i in range(3))
    s_qk, heads = effective(block.scale_qk), np.zeros((T, D))
    for i in range(H):
        part = slice(i * K, (i + 1) * K)
        qs = [s_qk[part] * norm(rotated(q[t, part], t)) for t in range(T)]
        ks = [s_qk[part] * norm(rotated(k[t, part], t)) for t in range(T)]
        for t in range(T):
            scores = math.sqrt(K) * np.array([qs[t] @ ks[j] for j in range(t + 1)])
            p = np.exp(scores - scores.max())
            heads[t, part] = (p / p.sum()) @ v[: t + 1, part]
    h_a = norm(heads @ block.out_proj.weight.array.T)
    h = norm(h + effective(block.alpha_attention) * (h_a - h))
    u, z = np.split(h @ block.up_proj.weight.array.T, 2, -1)
    u, z = u * effective(block.scale_up), z * effective(block.scale_gate) * math.sqrt(D)
    h_m = norm((u * z / (1 + np.exp(-z))) @ block.down_proj.weight.array.T)
    expected = norm(h + effective(block.alpha_mlp) * (h_m - h))
    np.testing.assert_allclose(block(x).array, expected, rtol=1e-10)
    batch = unit(3, T, D, seed=5)
    for i in range(3):
        np.testing.assert_allclose(block(batch).array[i], block(batch[i]).array, rtol=1e-12)


def test_a_block_is_causal():
    block = nn.NGPTBlock(8, 2).double()
    x = unit(6, 8)
    y = block(x).array
    changed = Tensor(x.array.copy())
    changed.array[4:] = unit(2, 8, seed=9).array
    np.testing.assert_array_equal(block(changed).array[:4], y[:4])
    assert (block(changed).array[4:] != y[4:]).any()


def test_turned_products_depend_on_the_distance_only_and_lengths_stay():
    q, k = unit(1, 1, 6, seed=1), unit(1, 1, 6, seed=2)
    T = 7
    qs, ks = (turn(Tensor(np.repeat(z.array, T, 0))).array[:, 0] for z in (q, k))
    products = qs @ ks.T
    for distance in range(T):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-12)
    np.testing.assert_allclose(lengths(qs), 1, rtol=1e-12)


def test_the_gradient_of_a_step_has_no_part_along_the_sphere_normal():
    """dL/dp of y = norm(p) is orthogonal to y: what the docstring derives."""
    p = tn.tensor(normal(5, 8).array, requires_grad=True)
    y = F.normalize(p, dim=-1)
    y.backward(normal(5, 8, seed=1))
    np.testing.assert_allclose((p.grad.array * y.array).sum(-1), 0, atol=1e-14)


def test_logits_are_bounded_by_the_learned_scale():
    model = nn.NGPT(12, 16, 2, 2).double()
    model.normalize_weights_()
    model[3].scale_logits.weight.copy_(model[3].scale_logits.weight.array * 7)
    logits = model(tn.tensor(np.arange(12).reshape(2, 6))).array
    assert np.abs(logits).max() <= 7 * (1 + 1e-12)


def test_normalizing_goes_through_a_copy_and_a_slice_is_a_plain_sequential():
    model = copy.deepcopy(nn.NGPT(12, 16, 2, 2))
    for parameter in model.parameters():
        parameter.copy_(parameter.array * 3)
    model.normalize_weights_()
    for weight, dim in _matrices(model):
        np.testing.assert_allclose(lengths(weight, dim), 1, atol=1e-6)
    np.testing.assert_allclose(model[1].alpha_mlp().array, 0.15, rtol=1e-6)  # scales are left as they are
    assert type(model[1:3]) is nn.Sequential
    assert model[1:3][0] is model[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_sequence(bad):
    block = nn.NGPTBlock(8, 2).double()
    x = unit(2, 5, 8).array.copy()
    x[0, 0, 1] = bad
    y = block(Tensor(x)).array
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_states_of_zero_and_of_any_length_stay_finite():
    block = nn.NGPTBlock(8, 2)
    for scale in (0.0, 1e-30, 1e30):
        x = tn.tensor(np.full((2, 3, 8), scale, np.float32), requires_grad=True)
        y = block(x)
        y.backward(normal(2, 3, 8, dtype=np.float32))
        assert np.isfinite(y.array).all()
        assert np.isfinite(x.grad.array).all()
    assert block(tn.zeros(0, 3, 8)).shape == (0, 3, 8)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        nn.NGPT(12, 16, 2, 0)
    with pytest.raises(TypeError, match="mlp_ratio must be a number, got '4'"):
        nn.NGPT(12, 16, 2, 1, "4")
    with pytest.raises(ValueError, match="even multiple of num_heads"):
        nn.NGPT(12, 16, 3, 1)
