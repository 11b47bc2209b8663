"""PCEN: a causal average of the loudness, whose gradient runs backwards."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.pcen import moving_average_backward, moving_average_forward

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 3.0, (2, 3, 9))
PARAMETERS = [tn.tensor(np.full(3, v)) for v in (1.0, 2.0, 0.5)]


def test_the_formula_step_by_step():
    y, m = F.pcen(tn.tensor(X), *PARAMETERS, smoothing=0.2).numpy(), X[..., 0]
    for t in range(X.shape[2]):
        m = 0.8 * m + 0.2 * X[..., t] if t else m
        np.testing.assert_allclose(y[..., t], np.sqrt(X[..., t] / (m + 1e-6) + 2) - np.sqrt(2), 1e-12)


@pytest.mark.parametrize("loudness", [1e-3, 1e4])
def test_a_gain_of_1_takes_out_a_constant_loudness(loudness):
    y, louder = (F.pcen(tn.tensor(k * X), *PARAMETERS, eps=0.0).numpy() for k in (1.0, loudness))
    np.testing.assert_allclose(louder, y, 1e-10)


def test_the_backward_of_the_average_is_its_transpose():
    A = moving_average_forward(np.eye(6), 0.3).T  # y = A·x
    np.testing.assert_allclose(moving_average_backward(np.eye(6), 0.3), A, 1e-14)
    assert np.array_equal(A, np.tril(A))
    np.testing.assert_allclose(A.sum(1), 1, 1e-14)


def test_the_future_pays_for_an_energy_and_the_past_does_not():
    """Planted: the average run forwards again, where it must run backwards."""
    x, dy = tn.tensor(X, requires_grad=True), np.zeros_like(X)
    dy[..., 4] = 1.0
    (dx,) = grad(F.pcen(x, *PARAMETERS, smoothing=0.2), [x], tn.tensor(dy))
    assert (dx.numpy()[..., 5:] == 0).all()
    assert (dx.numpy()[..., :4] < 0).all()
    assert (dx.numpy()[..., 4] > 0).all()
    wrong = moving_average_forward(dy.reshape(6, 9), 0.2)
    assert (wrong[:, 5:] != 0).all()


def test_a_small_energy_keeps_its_digits_beside_the_bias():
    x = (1e-9 * X).astype("float32")
    parameters = [tn.tensor(np.full(3, v, "float32")) for v in (0.0, 2.0, 0.5)]
    y = F.pcen(tn.tensor(x), *parameters).numpy()
    np.testing.assert_allclose(y, x / 2 / np.sqrt(2), 1e-5)


def test_silence_is_silent_and_half_types_work():
    layer = nn.PCEN(3)
    np.testing.assert_array_equal(layer(tn.zeros(2, 3, 4)).detach().numpy(), 0)
    y = layer(tn.tensor(X.astype(np.float16)))
    assert y.dtype == np.float16
    single = layer(tn.tensor(X.astype("float32"))).detach().numpy()
    np.testing.assert_allclose(y.detach().numpy(), single, 2e-2)
    assert [name for name, _ in layer.named_parameters()] == ["gain", "bias", "power"]
