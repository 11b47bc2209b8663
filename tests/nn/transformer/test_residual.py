"""Where the steps of a transformer normalize: post-LN, pre-LN, sandwich and DeepNorm."""

import copy

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

D, H, FF = 8, 2, 16
X = np.random.default_rng(0).normal(2.0, 3.0, (3, 5, D)).astype("float32")


def layer(residual=None, **options):
    tn.manual_seed(0)
    return nn.TransformerEncoderLayer(D, H, FF, 0.0, "gelu", residual=residual, **options)


def parts(made):
    return lambda x: made.self_attn(x, x, x)[0], lambda x: made.linear2(F.gelu(made.linear1(x)))


def normal(x):
    return F.layer_norm(x, (D,))


@pytest.mark.parametrize(
    ("residual", "step"),
    [
        ("post", lambda x, f: normal(x + f(x))),
        ("pre", lambda x, f: x + f(normal(x))),
        ("sandwich", lambda x, f: x + normal(f(normal(x)))),
        (nn.DeepNorm(1.7, 0.6), lambda x, f: normal(1.7 * x + f(x))),
    ],
    ids=("post", "pre", "sandwich", "deep"),
)
def test_every_step_normalizes_where_it_should(residual, step):
    made = layer(residual)
    x = expected = tn.tensor(X)
    for f in parts(made):
        expected = step(expected, f)
    np.testing.assert_allclose(made(x).numpy(), expected.numpy(), 1e-5, 1e-5)


def test_norm_first_is_a_short_word_for_two_of_them():
    for norm_first, residual in ((False, "post"), (True, "pre")):
        short, long = layer(norm_first=norm_first), layer(residual)
        assert short.residual == long.residual == residual
        assert short.norm_first is long.norm_first is norm_first
        np.testing.assert_array_equal(short(tn.tensor(X)).numpy(), long(tn.tensor(X)).numpy())
    assert layer("sandwich").norm_first
    with pytest.raises(AttributeError):
        layer().norm_first = True


def test_a_sandwich_has_twice_the_normalizations():
    names = [name for name, module in layer("sandwich").named_modules() if isinstance(module, nn.LayerNorm)]
    assert names == ["norm1", "norm2", "post_norm1", "post_norm2"]
    decoder = nn.TransformerDecoderLayer(D, H, FF, residual="sandwich", norm=nn.RMSNorm)
    assert sum(isinstance(module, nn.RMSNorm) for module in decoder.modules()) == 6


def test_what_a_sandwich_adds_has_one_size_whatever_the_weights():
    made = layer("sandwich")
    for linear in (made.linear2, made.self_attn.out_proj):
        linear.weight.data *= 1e3
    x = tn.tensor(X)
    added = (made(x) - x).numpy()
    assert 0.9 < np.sqrt((added**2).mean()) < 2.0  # two steps of size 1


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
    model = nn.Transformer(D, H, 3, 2, FF, residual="deep")
    assert {part.residual for part in model.encoder.layers} == {nn.DeepNorm.encoder(3, 2)}
    assert {part.residual for part in model.decoder.layers} == {nn.DeepNorm.decoder(2)}
    for part in model.encoder.layers:  # xavier_uniform_ draws from ±√(6/(D + FF))
        largest = abs(part.linear1.weight.numpy()).max()
        assert largest == pytest.approx(part.residual.beta * (6 / (D + FF)) ** 0.5, rel=0.05)
    assert copy.deepcopy(model).decoder.layers[1].residual == nn.DeepNorm.decoder(2)
    x = tn.tensor(X)
    assert model(x, x).shape == X.shape


def new_stack(residual, layers):
    """New layers, whose matrices start as those of nn.Transformer."""
    stack = [nn.TransformerEncoderLayer(16, 2, 64, 0.0, residual=residual) for _ in range(layers)]
    for parameter in (p for made in stack for p in made.parameters() if p.ndim > 1):
        nn.init.xavier_uniform_(parameter)
    for made in stack if isinstance(residual, nn.DeepNorm) else ():
        residual.scale_(made)
    return stack


def run(stack, x):
    for made in stack:
        x = made(x)
    return F.layer_norm(x, (16,)) if stack[0].norm_first else x


def first_update(residual, layers):
    """Σ‖dW‖² over the matrices that DeepNorm scales: what gradient descent moves in its first step."""
    total = 0.0
    for seed in range(3):
        tn.manual_seed(seed)
        stack = new_stack(residual, layers)
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


SLOPES = {"pre": -0.5, "post": 0.0, "sandwich": -0.5, "deep": -0.5}


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
