"""RNN with a batch-normalized product with the input, frame-wise and sequence-wise."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
T, N, D, H = 5, 6, 3, 4
X, DY = RNG.normal(size=(T, N, D)), RNG.normal(size=(T, N, H))
LENGTHS = [5, 2, 5, 3, 2, 5]
VALID = np.arange(T)[:, None] < LENGTHS


def layer_of(**options):
    layer = nn.BatchNormRNN(D, H, **options).double()
    layer.gamma_ih_l0.array[...] = RNG.uniform(0.5, 1.5, H)
    layer.bias_l0.array[...] = RNG.normal(size=H)
    return layer


def by_hand(layer, x):
    p = x @ layer.weight_ih_l0.T
    if layer.mode == "frame":
        rows = [
            F.batch_norm(p[t], weight=layer.gamma_ih_l0, bias=layer.bias_l0, training=True) for t in range(T)
        ]
    else:
        rows = F.batch_norm(
            p.flatten(0, 1), weight=layer.gamma_ih_l0, bias=layer.bias_l0, training=True
        ).reshape(T, N, H)
    h, ys = tn.tensor(np.zeros((N, H))), []
    for t in range(T):
        h = (rows[t] + h @ layer.weight_hh_l0.T).tanh()
        ys.append(h)
    return tn.stack(ys)


def p_of(layer):
    return X @ layer.weight_ih_l0.numpy().T


@pytest.mark.parametrize("mode", ["frame", "sequence"])
def test_only_the_product_with_the_input_is_normalized(mode):
    layer, x = layer_of(mode=mode), tn.tensor(X, requires_grad=True)
    inputs = [x, *layer.parameters()]
    found, expected = layer(x)[0], by_hand(layer, x)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), 1e-11, 1e-13)
    for a, b in zip(grad(found, inputs, tn.tensor(DY)), grad(expected, inputs, tn.tensor(DY)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-9, 1e-11)


@pytest.mark.parametrize("mode", ["frame", "sequence"])
def test_padding_is_in_no_statistic_and_gets_output_and_gradient_0(mode):
    layer, x = layer_of(mode=mode, bidirectional=True), tn.tensor(X, requires_grad=True)
    y, _ = layer(x, lengths=LENGTHS)
    y.backward(tn.tensor(RNG.normal(size=y.shape)))
    mean = layer.running_mean_l0.numpy().copy()
    spoiled = tn.tensor(np.where(VALID[..., None], X, 1e9))
    again = layer_of(mode=mode, bidirectional=True)
    again.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(again(spoiled, lengths=LENGTHS)[0].numpy(), y.numpy())
    assert not y.numpy()[~VALID].any()
    assert not x.grad.numpy()[~VALID].any()
    assert (x.grad.numpy()[VALID] != 0).all()
    assert abs(mean).max() < 1


def test_evaluation_has_the_statistics_of_each_step_or_of_all():
    layer = layer_of(momentum=1.0, max_length=3)
    layer(tn.tensor(X))
    p = p_of(layer)
    np.testing.assert_allclose(layer.running_mean_l0.numpy(), p[:3].mean(1), 1e-11)
    np.testing.assert_allclose(layer.running_var_l0.numpy(), p[:3].var(1, ddof=1), 1e-11)
    assert layer.num_steps_tracked.item() == 3
    layer.eval()
    np.testing.assert_allclose(layer(tn.tensor(X[:, :1]))[0].numpy(), layer(tn.tensor(X))[0].numpy()[:, :1])
    layer = layer_of(mode="sequence", momentum=1.0)
    layer(tn.tensor(X))
    np.testing.assert_allclose(layer.running_mean_l0.numpy(), p_of(layer).mean((0, 1)), 1e-11)


def test_late_steps_with_one_sequence_need_sequence_wise_statistics():
    lengths = [5, 4, 4, 4, 4, 4]
    with pytest.raises(ValueError, match="step 4 has one"):
        layer_of()(tn.tensor(X), lengths=lengths)
    assert np.isfinite(layer_of(mode="sequence")(tn.tensor(X), lengths=lengths)[0].numpy()).all()


def test_wrong_options_have_clear_errors():
    for options, match in (
        ({"mode": "time"}, "'frame' or 'sequence'"),
        ({"nonlinearity": "sigmoid"}, "'tanh' or 'relu'"),
        ({"momentum": 2.0}, "momentum"),
        ({"max_length": 0}, "max_length"),
    ):
        with pytest.raises(ValueError, match=match):
            nn.BatchNormRNN(D, H, **options)
