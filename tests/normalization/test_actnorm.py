"""ActNorm: set once by the first batch, an exact determinant, and a gradient that goes through it."""

import copy

import numpy as np
import pytest
from tinygrad_norm.autograd.functional import jacobian

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch import actnorm

RNG = np.random.default_rng(0)
X = 5.0 + 3.0 * RNG.normal(size=(4, 3, 2, 2))
S, T = RNG.normal(size=3), RNG.normal(size=3)


def layer():
    made = nn.ActNorm(3).double()
    made(tn.tensor(X))
    return made


def test_the_first_batch_gets_mean_0_and_deviation_1_and_later_ones_change_nothing():
    made = nn.ActNorm(3).double()
    assert not made.initialized.item()
    y, _ = made(tn.tensor(X))
    assert made.initialized.item()
    np.testing.assert_allclose(y.detach().numpy().mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.detach().numpy().std((0, 2, 3)), 1, 1e-6)  # eps is beside the deviation
    np.testing.assert_allclose(made.log_scale.numpy(), -np.log(X.std((0, 2, 3)) + 1e-6), 1e-12)
    before = [p.numpy().copy() for p in made.parameters()]
    made(tn.tensor(100 * X))
    made.eval()(tn.tensor(X))
    for parameter, values in zip(made.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.numpy(), values)


def test_a_state_says_that_it_is_initialized():
    loaded = nn.ActNorm(3).double()
    loaded.load_state_dict(layer().state_dict())
    expected = loaded.eval()(tn.tensor(X))[0].numpy()
    found = loaded.train()(tn.tensor(X + 1))[0].numpy()
    assert abs(found.mean()) > 0.1  # X + 1 did not set it again
    np.testing.assert_allclose(found - expected, np.exp(loaded.log_scale.numpy())[:, None, None] + 0 * X)


@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
def test_a_state_that_is_not_initialized_is_set_by_the_next_batch_also_if_it_is_loaded_late(assign):
    made = layer()
    twin = copy.deepcopy(made)
    made.load_state_dict(nn.ActNorm(3).double().state_dict(), assign=assign)
    with pytest.raises(RuntimeError, match="has seen none"):
        made.eval()(tn.tensor(X))
    y, _ = made.train()(tn.tensor(2 * X))
    np.testing.assert_allclose(y.detach().numpy().mean((0, 2, 3)), 0, atol=1e-12)
    twin.initialized.numpy()[...] = False
    with pytest.raises(RuntimeError, match="has seen none"):
        twin.eval()(tn.tensor(X))


def test_an_initialized_layer_reads_its_buffer_once(monkeypatch):
    made, reads = layer(), []
    monkeypatch.setattr(actnorm, "to_numpy", lambda array: reads.append(1) or array)
    for _ in range(3):
        made(tn.tensor(X))
    assert len(reads) <= 1


def test_evaluation_never_sets_it():
    made = nn.ActNorm(3).eval()
    for call in (made, made.inverse):
        with pytest.raises(RuntimeError, match="has seen none: call train"):
            call(tn.tensor(X.astype("float32")))
    assert not made.initialized.item()
    assert not made.log_scale.numpy().any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_first_batch_that_is_not_finite_is_refused_and_sets_nothing(value):
    made, x = nn.ActNorm(3), X.astype("float32")
    x[1, 1] = value
    with pytest.raises(ValueError, match="with NaN or infinity"):
        made(tn.tensor(x))
    assert not made.initialized.item()
    assert not made.bias.numpy().any()


def test_a_channel_that_does_not_vary_is_not_divided_by_0():
    x = X.copy()
    x[:, 2] = 7.0
    y, log_det = nn.ActNorm(3).double()(tn.tensor(x))
    np.testing.assert_array_equal(y.detach().numpy()[:, 2], 0)
    assert np.isfinite(log_det.detach().numpy()).all()


def test_without_eps_a_channel_that_does_not_vary_is_refused_and_sets_nothing():
    made, x = nn.ActNorm(3, eps=0.0).double(), X.copy()
    x[:, 2] = 7.0
    with pytest.raises(ValueError, match="channel 2 does not vary"):
        made(tn.tensor(x))
    assert not made.initialized.item()
    assert not made.bias.numpy().any()
    made(tn.tensor(X))  # a better first batch
    np.testing.assert_allclose(made.log_scale.numpy(), -np.log(X.std((0, 2, 3))), 1e-12)


def test_the_determinant_is_that_of_the_jacobian():
    x, s, t = tn.tensor(X[:1]), tn.tensor(S), tn.tensor(T)
    J = jacobian(lambda x: F.activation_norm(x, s, t)[0], x).numpy().reshape(12, 12)
    _, log_det = F.activation_norm(tn.tensor(X), s, t)
    np.testing.assert_allclose(log_det.numpy(), np.full(4, np.linalg.slogdet(J)[1]), 1e-14)


def test_the_inverse_undoes_it_and_its_determinant():
    made = layer()
    made.bias.array[...] += T
    y, log_det = made(tn.tensor(X))
    x, back = made.inverse(y)
    np.testing.assert_allclose(x.detach().numpy(), X, 1e-13)
    np.testing.assert_allclose(back.detach().numpy(), -log_det.detach().numpy(), 1e-15)


def test_the_gradient_of_the_scale_has_a_part_from_the_determinant():
    """Planted: that part forgotten. ds is then another one, and gradcheck says so."""
    x, s, t = (tn.tensor(a, requires_grad=True) for a in (X, S, T))
    dy, d = RNG.normal(size=X.shape), RNG.normal(size=4)

    def loss(s, forget=False):
        y, log_det = F.activation_norm(x, s, t)
        return (y * tn.tensor(dy)).sum() + ((log_det.detach() if forget else log_det) * tn.tensor(d)).sum()

    ds, forgotten = grad(loss(s), s)[0].numpy(), grad(loss(s, forget=True), s)[0].numpy()
    y = np.exp(S)[:, None, None] * (X + T[:, None, None])
    np.testing.assert_allclose(ds, (dy * y).sum((0, 2, 3)) + 4 * d.sum(), 1e-12)
    assert abs(forgotten - ds).max() > 0.05 * abs(ds).max()
    assert tn.gradcheck(loss, [s])
    with pytest.raises(tn.gradient_check.GradcheckError):
        tn.gradcheck(lambda s: loss(s, forget=True), [s])


def test_half_types_keep_the_determinant_in_float32():
    x = tn.tensor(X.astype(np.float16))
    y, log_det = F.activation_norm(x, tn.tensor(S.astype(np.float32)), tn.tensor(T.astype(np.float32)))
    assert (y.dtype, log_det.dtype) == (np.float16, np.float32)
