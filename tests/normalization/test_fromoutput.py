"""Normalizations that keep their output: the gradients of those that keep their input, for less memory."""

import inspect

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.gradient_check.registered import COMPOSED_TOLERANCE, differences, evaluate
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch import inplaceabn
from tinygrad_norm.registry import REGISTRY

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (16, 6, 4)), RNG.normal(size=(16, 6, 4))
PAIRS = {
    "layer": (lambda: nn.LayerNorm((6, 4)), lambda: nn.LayerNorm((6, 4), memory_efficient=True)),
    "rms": (lambda: nn.RMSNorm((6, 4)), lambda: nn.RMSNorm((6, 4), memory_efficient=True)),
    "zero-centered": (
        lambda: nn.RMSNorm((6, 4), zero_centered=True),
        lambda: nn.RMSNorm((6, 4), zero_centered=True, memory_efficient=True),
    ),
    "batch": (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.LeakyReLU(0.01)), lambda: nn.InPlaceABN(6)),
    "batch, 0.3": (
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.LeakyReLU(0.3)),
        lambda: nn.InPlaceABN(6, activation_param=0.3),
    ),
    "batch, identity": (
        lambda: nn.Sequential(nn.BatchNorm1d(6)),
        lambda: nn.InPlaceABN(6, activation="identity"),
    ),
}
pairs = pytest.mark.parametrize("name", PAIRS)


def made(name, dtype=np.float64, weight=None):
    """Both layers, with the same weights, some of which are negative."""
    layers = [make().to(dtype) for make in PAIRS[name]]
    for parameters in zip(*(layer.parameters() for layer in layers), strict=True):
        values = RNG.normal(size=parameters[0].shape) + 0.1 if weight is None else weight
        for parameter in parameters:
            parameter.copy_(tn.tensor(np.broadcast_to(values, parameter.shape).astype(dtype)))
    return layers


def results(layer, dtype=np.float64):
    x = tn.tensor(X.astype(dtype), requires_grad=True)
    y = layer(x)
    return y, [a.numpy() for a in (y, *grad(y, [x, *layer.parameters()], tn.tensor(DY.astype(dtype))))]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pairs
def test_outputs_and_gradients_are_those_of_the_layer_that_keeps_its_input(name, mode):
    layers = made(name)
    for layer in layers:
        layer.train()(tn.tensor(X[:8]))  # running statistics
        getattr(layer, mode)()
    for a, b in zip(*(results(layer)[1] for layer in layers), strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-9 * max(1, abs(b).max()))
    for a, b in zip(*(layer.buffers() for layer in layers), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pairs
def test_what_is_kept_is_the_output_and_little_else(name):
    x = tn.tensor(X, requires_grad=True)
    y = made(name)[1](x)
    kept = [a for a in y.creator.saved if isinstance(a, np.ndarray)]
    assert not any(np.shares_memory(a, x.array) for a in kept)
    own = [a for a in kept if not np.shares_memory(a, y.array)]
    assert sum(a.nbytes for a in own) <= 0.2 * x.array.nbytes


def test_the_state_is_that_of_batch_normalization():
    layer = nn.InPlaceABN(6)
    assert list(layer.state_dict()) == list(nn.BatchNorm1d(6).state_dict())
    layer.load_state_dict(nn.BatchNorm1d(6).state_dict())


@pytest.mark.parametrize(
    ("weight", "least", "most"), [(1.0, 0, 6e-7), (1e-2, 1e-6, 2e-5), (1e-4, 1e-4, 2e-3)]
)
@pytest.mark.parametrize("name", ["layer", "batch"])
def test_small_weights_cost_digits(name, weight, least, most):
    """The error of x̂ in float32, with b = 1: epsilon·|y|/w."""
    _, layer = made(name, np.float32, 1.0)
    layer.weight.fill_(weight)
    y = layer(tn.tensor(X.astype("float32"), requires_grad=True))
    kept, w, b, *_ = y.creator.saved
    z = np.where(kept > 0, kept, kept / np.float32(0.01)) if name == "batch" else kept
    axes = (0, 2) if name == "batch" else (1, 2)
    exact = (X - X.mean(axes, keepdims=True)) / np.sqrt(X.var(axes, keepdims=True) + 1e-5)
    assert least <= abs((z - b) / w - exact.reshape(kept.shape)).max() <= most


@pairs
def test_a_weight_of_zero_is_refused_only_if_a_gradient_is_required(name):
    layer = made(name)[1]
    weight = layer.weight
    weight.fill_(-1.0 if name == "zero-centered" else 0.0)
    with pytest.raises(ValueError, match=f"{weight.numel()} of {weight.numel()} weights are 0"):
        layer(tn.tensor(X))
    with tn.no_grad():
        y = layer(tn.tensor(X)).numpy()
    assert np.isfinite(y).all()


def test_an_activation_without_an_inverse_is_refused():
    for options in ({"activation": "relu"}, {"activation_param": 0.0}, {"activation_param": -0.1}):
        with pytest.raises(ValueError, match="activation"):
            nn.InPlaceABN(4, **options)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("z / slope", "z"),
        ("dz * slope", "dz"),
        ("rstd * dx", "dx"),
        ("x_hat_of(z, weight, bias)", "x_hat_of(z, None, bias)"),
    ],
    ids=["not inverted", "no slope", "no r", "not divided"],
)
def test_mistakes_in_the_backward_are_caught(monkeypatch, right, wrong):
    text = inspect.getsource(inplaceabn.inplace_abn_backward.numpy_version).replace("@kernel\n", "")
    assert right in text
    names = dict(vars(inplaceabn))
    exec(text.replace(right, wrong), names)
    monkeypatch.setattr(inplaceabn, "inplace_abn_backward", names["inplace_abn_backward"])
    op = REGISTRY["inplace_abn"]
    forms = (evaluate(op, form, op.cases[0]) for form in (op.function, op.composed))
    assert max(differences(*forms).values()) > COMPOSED_TOLERANCE


def test_half_precision_finds_x_hat_in_float32():
    x, dy = (tn.tensor(a.astype("float16")) for a in (X, DY))
    found = []
    for memory_efficient in (False, True):
        x.requires_grad = True
        y = nn.LayerNorm((6, 4), memory_efficient=memory_efficient)(x)
        found.append(grad(y, x, dy)[0].numpy())
    assert found[1].dtype == np.float16
    assert np.linalg.norm(found[0] - found[1]) < 2e-3 * np.linalg.norm(found[0])


def test_functions_take_what_theirs_do():
    for name in ("layer_norm", "rms_norm"):
        ours, plain = (inspect.signature(getattr(F, prefix + name)) for prefix in ("memory_efficient_", ""))
        assert ours == plain
