"""Where the steps of a transformer normalize: all placements, and DeepNorm."""

import copy
from functools import partial

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

D, H, FF = 8, 2, 16
X = np.random.default_rng(0).normal(2.0, 3.0, (3, 5, D)).astype("float32")


def layer(placement=None, **options):
    tn.manual_seed(0)
    return nn.TransformerEncoderLayer(D, H, FF, 0.0, "gelu", placement=placement, **options)


def parts(made):
    return lambda x: made.self_attn(x, x, x)[0], lambda x: made.linear2(F.gelu(made.linear1(x)))


def normal(x):
    return F.layer_norm(x, (D,))


@pytest.mark.parametrize(
    ("placement", "step"),
    [
        ("post", lambda x, f: normal(x + f(x))),
        ("pre", lambda x, f: x + f(normal(x))),
        ("peri", lambda x, f: x + normal(f(normal(x)))),
        (nn.DeepNorm(1.7, 0.6), lambda x, f: normal(1.7 * x + f(x))),
        ("output", lambda x, f: x + normal(f(x))),
        ("scaled", lambda x, f: x + f(normal(x) / 3**0.5)),
    ],
    ids=("post", "pre", "peri", "deep", "output", "scaled"),
)
def test_every_step_normalizes_where_it_should(placement, step):
    made = layer(placement, layer_index=3)
    x = expected = tn.tensor(X)
    for f in parts(made):
        expected = step(expected, f)
    np.testing.assert_allclose(made(x).numpy(), expected.numpy(), 1e-5, 1e-5)


def test_norm_first_is_a_short_word_for_two_of_them():
    for norm_first, placement in ((False, "post"), (True, "pre")):
        short, long = layer(norm_first=norm_first), layer(placement)
        assert short.placement == long.placement == placement
        assert short.norm_first is long.norm_first is norm_first
        np.testing.assert_array_equal(short(tn.tensor(X)).numpy(), long(tn.tensor(X)).numpy())
    assert layer("peri").norm_first
    with pytest.raises(AttributeError):
        layer().norm_first = True


def test_peri_has_twice_the_normalizations():
    names = [name for name, module in layer("peri").named_modules() if isinstance(module, nn.LayerNorm)]
    assert names == ["norm1", "norm2", "post_norm1", "post_norm2"]
    decoder = nn.TransformerDecoderLayer(D, H, FF, placement="peri", norm=nn.RMSNorm)
    assert sum(isinstance(module, nn.RMSNorm) for module in decoder.modules()) == 6


def test_what_peri_adds_has_one_size_whatever_the_weights():
    made = layer("peri")
    for linear in (made.linear2, made.self_attn.out_proj):
        linear.weight.data *= 1e3
    x = tn.tensor(X)
    added = (made(x) - x).numpy()
    assert 0.9 < np.sqrt((added**2).mean()) < 2.0  # two steps of size 1


def test_sub_has_norms_inside_its_steps():
    made, x = layer("sub"), tn.tensor(X)
    attention = nn.MultiheadAttention(D, H)
    attention.load_state_dict(made.self_attn.state_dict(), strict=False)
    q, k, v = (attention._heads(part) for part in attention._project(*[normal(x)] * 3))
    heads = F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(-2)
    z = x + made.self_attn.out_proj(normal(heads))
    y = z + made.linear2(F.layer_norm(F.gelu(made.linear1(normal(z))), (FF,)))
    np.testing.assert_allclose(made(x).numpy(), y.numpy(), 1e-5, 1e-5)
    assert made.inner_norm.normalized_shape == (FF,)


def test_hybrid_normalizes_q_k_and_v_and_then_the_stream():
    made, x = layer("hybrid"), tn.tensor(X)
    assert isinstance(made.self_attn, nn.QKNormAttention)
    assert (made.self_attn.norm, made.self_attn.v_norm is None) == ("rms", False)
    z = x + made.self_attn(x, x, x)[0]
    y = normal(z) + made.linear2(F.gelu(made.linear1(normal(z))))
    np.testing.assert_allclose(made(x).numpy(), y.numpy(), 1e-5, 1e-5)
    assert not hasattr(made, "norm1")
    decoder = nn.TransformerDecoderLayer(D, H, FF, placement="hybrid", qk_norm="layer")
    assert [name for name, _ in decoder.named_children() if name.startswith("norm")] == ["norm3"]
    assert decoder.multihead_attn.norm == "layer"


def test_a_weight_of_the_values_would_only_scale_the_output_projection():
    """So hybrid's norm of v has none."""
    made, x = layer("hybrid").self_attn, tn.tensor(X)
    weight = np.random.default_rng(1).uniform(0.5, 2, D // H).astype("float32")
    made.v_norm = nn.RMSNorm(D // H)
    made.v_norm.weight.data[:] = weight
    y = made(x, x, x)[0].numpy()
    made.v_norm.weight.data[:] = 1
    made.out_proj.weight.data *= np.tile(weight, H)
    np.testing.assert_allclose(made(x, x, x)[0].numpy(), y, 1e-4, 1e-6)


def test_mix_is_post_in_the_first_quarter_and_pre_behind_it():
    stack = nn.TransformerEncoder(layer("mix"), 9)
    assert [made.norm_first for made in stack.layers] == [False] * 2 + [True] * 7
    assert [made.ends_with_norm for made in stack.layers] == [True] * 2 + [False] * 7
    x = tn.tensor(X)
    for index, place in ((0, "post"), (5, "pre")):
        made, same = stack.layers[index], layer(place)
        same.load_state_dict(made.state_dict())
        np.testing.assert_array_equal(made(x).numpy(), same(x).numpy())
    assert not any(made.ends_with_norm for made in nn.TransformerEncoder(layer("mix"), 3).layers)


def test_a_stack_tells_its_layers_where_they_are():
    model = nn.Transformer(D, H, 3, 2, FF, placement="scaled", qk_norm="rms-all", softcap=5.0)
    assert [(part.layer_index, part.depth) for part in model.encoder.layers] == [(1, 3), (2, 3), (3, 3)]
    assert [(part.layer_index, part.depth) for part in model.decoder.layers] == [(1, 2), (2, 2)]
    assert {part.self_attn.softcap for part in model.decoder.layers} == {5.0}
    x = tn.tensor(X)
    assert model(x, x).shape == X.shape
    alone = layer("scaled")
    with pytest.raises(RuntimeError, match="'scaled' depends on the number of the layer: pass layer_index"):
        alone(x)
    alone.place_in_stack(2, 3)
    assert alone(x).shape == X.shape


def test_deep_takes_its_depth():
    assert layer("deep", depth=6).placement == nn.DeepNorm.alone(6)


def stream_variance(placement, blocks):
    """The variance of the stream after so many steps; each adds as much as it gets, at right angles."""
    rng = np.random.default_rng(0)
    make = partial(nn.LayerNorm, eps=0.0)
    x = tn.tensor(rng.normal(size=(1, 256)))
    x = F.layer_norm(x, (256,), eps=0.0)

    def at_right_angles(u):
        """A vector of the length of u, without a mean and without a part along x."""
        basis = np.stack([np.ones(256), x.numpy()[0], rng.normal(size=256)], 1)
        return tn.tensor(np.linalg.qr(basis)[0][:, 2] * np.linalg.norm(u.numpy()))[None]

    for index in range(1, blocks + 1):
        made = nn.TransformerEncoderLayer(256, 1, 1, 0.0, norm=make, placement=placement).double()
        made.place_in_stack(index, blocks)
        x = made._step(1, x, at_right_angles)
    return x.numpy().var()


@pytest.mark.parametrize(
    ("placement", "expected"),
    [("pre", 65.0), ("peri", 65.0), ("post", 1.0), ("scaled", 1 + sum(1 / n for n in range(1, 65)))],
)
def test_the_variance_of_the_stream_after_64_blocks_is_exact(placement, expected):
    assert stream_variance(placement, 64) == pytest.approx(expected, rel=1e-12)
    if placement == "scaled":
        assert expected == pytest.approx(5.744, abs=5e-4)


@pytest.mark.parametrize("wrong", [1.0, 64.0, "l squared"], ids=["no scale", "all by the depth", "by l"])
def test_wrong_scales_of_the_layers_are_seen(wrong, monkeypatch):
    def step(self, i, x, f):
        scale = self.layer_index if wrong == "l squared" else wrong**0.5
        return x + f(self.norm1(x) / scale)

    monkeypatch.setattr(nn.TransformerEncoderLayer, "_step", step)
    assert abs(stream_variance("scaled", 64) - 5.744) > 0.5


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("layers", [1, 6, 24, 1000])
def test_deep_norm_keeps_the_update_of_any_depth(layers, steps):
    """2K·β² = α² for K steps, and α·β = 1/√2."""
    found = nn.DeepNorm.alone(layers) if steps == 2 else nn.DeepNorm.decoder(layers)
    assert 2 * steps * layers * found.beta**2 == pytest.approx(found.alpha**2)
    assert found.alpha * found.beta == pytest.approx(0.5**0.5)


def test_deep_norm_of_an_encoder_that_is_read():
    found = nn.DeepNorm.encoder(18, 18)
    assert found == nn.DeepNorm(0.81 * 18 ** (5 / 16), 0.87 * 18 ** (-5 / 16))
    assert found.alpha * found.beta == pytest.approx(0.5**0.5, rel=0.01)


def test_deep_norm_makes_the_weights_of_values_outputs_and_networks_smaller():
    plain, deep = layer(), layer(nn.DeepNorm(2.0, 0.25))
    shrunk = {"self_attn.out_proj.weight", "linear1.weight", "linear2.weight"}
    for (name, before), (_, after) in zip(plain.named_parameters(), deep.named_parameters(), strict=True):
        before, after = before.numpy(), after.numpy()
        if name == "self_attn.in_proj_weight":
            np.testing.assert_array_equal(after[: 2 * D], before[: 2 * D])
            np.testing.assert_allclose(after[2 * D :], 0.25 * before[2 * D :], 1e-6)
        else:
            np.testing.assert_allclose(after, before * (0.25 if name in shrunk else 1), 1e-6)


def test_a_whole_transformer_knows_its_depths():
    tn.manual_seed(0)
    model = nn.Transformer(D, H, 3, 2, FF, placement="deep")
    assert {part.placement for part in model.encoder.layers} == {nn.DeepNorm.encoder(3, 2)}
    assert {part.placement for part in model.decoder.layers} == {nn.DeepNorm.decoder(2)}
    for part in model.encoder.layers:  # xavier_uniform_ draws from ±√(6/(D + FF))
        largest = abs(part.linear1.weight.numpy()).max()
        assert largest == pytest.approx(part.placement.beta * (6 / (D + FF)) ** 0.5, rel=0.05)
    assert copy.deepcopy(model).decoder.layers[1].placement == nn.DeepNorm.decoder(2)
    x = tn.tensor(X)
    assert model(x, x).shape == X.shape


def new_stack(placement, layers):
    """New layers, whose matrices start as those of nn.Transformer."""
    stack = [nn.TransformerEncoderLayer(16, 2, 64, 0.0, placement=placement) for _ in range(layers)]
    for parameter in (p for made in stack for p in made.parameters() if p.ndim > 1):
        nn.init.xavier_uniform_(parameter)
    for made in stack if isinstance(placement, nn.DeepNorm) else ():
        placement.scale_(made)
    return stack


def run(stack, x):
    for made in stack:
        x = made(x)
    return F.layer_norm(x, (16,)) if stack[0].norm_first else x


def first_update(placement, layers):
    """Σ‖dW‖² over the matrices that DeepNorm scales: what gradient descent moves in its first step."""
    total = 0.0
    for seed in range(3):
        tn.manual_seed(seed)
        stack = new_stack(placement, layers)
        y = run(stack, tn.randn(6, 2, 16))
        y.backward(tn.randn(*y.shape))
        for made in stack:
            found = [made.linear1.weight.grad, made.linear2.weight.grad, made.self_attn.out_proj.weight.grad]
            found.append(made.self_attn.in_proj_weight.grad[32:])
            total += sum((dweight**2).sum().item() for dweight in found)
    return total


def test_the_first_update_of_deep_norm_does_not_grow_with_depth():
    deep = [first_update(nn.DeepNorm.alone(layers), layers) for layers in (3, 12)]
    post = [first_update("post", layers) for layers in (3, 12)]
    assert 0.7 < deep[1] / deep[0] < 1.4
    assert post[1] / post[0] > 3


def last_gradient(order, layers):
    """The length of the gradient of the last layer's W₂ at the start, a geometric mean over seeds."""
    lengths = []
    for seed in range(4):
        tn.manual_seed(seed)
        stack = new_stack(nn.DeepNorm.alone(layers) if order == "deep" else order, layers)
        embedded = 0.02 * tn.randn(8, 8, 16)  # as small as embeddings start in a GPT
        logits = nn.Linear(16, 32)(run(stack, embedded)).flatten(0, 1)
        F.cross_entropy(logits, tn.tensor(np.random.default_rng(seed).integers(32, size=64))).backward()
        lengths.append(np.linalg.norm(stack[-1].linear2.weight.grad.numpy()))
    return np.exp(np.mean(np.log(lengths)))


SLOPES = {"pre": -0.5, "post": 0.0, "peri": -0.5, "deep": -0.5}


@pytest.mark.parametrize(("order", "slope"), SLOPES.items())
def test_how_the_gradient_of_the_last_layer_falls_with_depth(order, slope):
    """As depth^slope: flat in post-LN; β/α = 1/√(4N) in DeepNorm. Without training (Xiong et al. 2020)."""
    depths = [2, 4, 8, 16, 24]
    lengths = [last_gradient(order, depth) for depth in depths]
    assert np.polyfit(np.log(depths), np.log(lengths), 1)[0] == pytest.approx(slope, abs=0.08), lengths


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ((0.0, 1.0), ValueError, "alpha must be a positive number, got 0.0"),
        ((1.0, np.inf), ValueError, "beta must be a positive number, got inf"),
        ((1.0, "1"), TypeError, "beta must be a number, got '1'"),
    ],
)
def test_deep_norm_takes_positive_numbers(numbers, error, message):
    with pytest.raises(error, match=message):
        nn.DeepNorm(*numbers)


def test_deep_norm_has_layers():
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        nn.DeepNorm.alone(0)
    with pytest.raises(ValueError, match="decoder_layers must be at least 1, got 0"):
        nn.DeepNorm.encoder(3, 0)
