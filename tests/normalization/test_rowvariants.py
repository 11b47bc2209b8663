"""Variants of row normalizations: SeeDNorm, pRMSNorm and AdaNorm, and their tempting mistakes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(0.0, 2.0, (6, 8)), RNG.normal(size=(6, 8))
ALPHA, BETA = RNG.normal(size=8), 0.3 * RNG.normal(size=8)


def differentiated(function, x=X):
    x = tn.tensor(x, requires_grad=True)
    y = function(x)
    return y.numpy(), grad(y, x, tn.tensor(DY))[0].numpy()


def off_by(planted, right):
    return abs(planted - right).max() / abs(right).max()


# -- SeeDNorm


def test_seednorm_begins_as_rms_norm_and_beta_learns_first():
    layer, x = nn.SeeDNorm(8), tn.tensor(X.astype("float32"))
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), F.rms_norm(x, (8,), eps=1e-6).numpy(), 1e-6)
    y.backward(tn.tensor(DY.astype("float32")))
    assert not layer.alpha.grad.numpy().any()
    assert abs(layer.beta.grad.numpy()).min() > 0


def test_seednorm_lets_the_size_of_a_row_through():
    beta = tn.tensor(BETA)
    small, large = (
        F.seed_norm(tn.tensor(c * X), tn.tensor(ALPHA), beta, eps=0.0).numpy() for c in (1.0, 2.0)
    )
    assert off_by(small, large) > 0.05


def test_a_forgotten_path_through_beta_is_found_out():
    alpha, beta = tn.tensor(ALPHA), tn.tensor(BETA)
    _, right = differentiated(lambda x: F.seed_norm(x, alpha, beta))
    t = np.tanh((X * BETA).sum(1, keepdims=True))
    _, planted = differentiated(lambda x: tn.tensor(t * ALPHA + 1) * F.rms_norm(x, (8,), eps=1e-6))
    assert off_by(planted, right) > 0.3


# -- pRMSNorm


def test_prmsnorm_of_all_entries_is_rms_norm_as_far_as_eps_is_small():
    layer = nn.pRMSNorm(8)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_allclose(layer(x).numpy(), F.rms_norm(x, (8,), eps=0.0).numpy(), 1e-5)


def test_prmsnorm_is_scale_free_as_a_whole_but_not_in_the_rest():
    def run(x):
        return F.partial_rms_norm(tn.tensor(x), 0.5).numpy()

    np.testing.assert_allclose(run(3 * X), run(X), 1e-7)
    rest = X * np.where(np.arange(8) < 4, 1, 3)
    np.testing.assert_allclose(run(rest)[:, 4:], 3 * run(X)[:, 4:], 1e-12)


def test_a_row_that_starts_with_zeros_has_a_finite_gradient():
    x = np.where(np.arange(8) < 4, 0.0, X)
    y, dx = differentiated(lambda x: F.partial_rms_norm(x, 0.5, eps=0.5), x)
    np.testing.assert_allclose(y, 2 * x)
    np.testing.assert_allclose(dx, 2 * DY)


def test_the_core_over_the_whole_row_is_found_out():
    _, right = differentiated(lambda x: F.partial_rms_norm(x, 0.5))
    r = 1 / np.sqrt((X[:, :4] ** 2).mean(1, keepdims=True))
    planted = r * (DY - X * r * (DY * X * r).mean(1, keepdims=True))
    assert off_by(planted, right) > 0.1


# -- the standard score and AdaNorm


def test_the_standard_score_is_numpys_with_an_unbiased_deviation():
    y = F.standard_score(tn.tensor(X), eps=0.1).numpy()
    np.testing.assert_allclose(
        y, (X - X.mean(1, keepdims=True)) / (X.std(1, ddof=1, keepdims=True) + 0.1), 1e-12
    )


def test_a_constant_row_has_the_straight_gradient_and_the_mean_path():
    y, dx = differentiated(lambda x: F.standard_score(x, eps=0.5), np.full((6, 8), 3.0))
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_allclose(dx, 2 * (DY - DY.mean(1, keepdims=True)), 1e-12)


def test_a_biased_one_over_n_in_the_unbiased_gradient_is_found_out():
    _, right = differentiated(lambda x: F.standard_score(x, eps=1e-4))
    centered = X - X.mean(1, keepdims=True)
    k = 1 / (X.std(1, ddof=1, keepdims=True) + 1e-4)
    planted = k * (DY - DY.mean(1, keepdims=True) - centered * k * (DY * centered * k).mean(1, keepdims=True))
    assert off_by(planted, right) > 0.01


def test_the_factor_of_adanorm_is_a_constant_in_the_backward():
    layer = nn.AdaNorm(8, scale=2.0).double()
    y, dx = differentiated(layer)
    z = F.standard_score(tn.tensor(X)).numpy()
    np.testing.assert_allclose(y, 2 * (1 - 0.1 * z) * z, 1e-12)
    phi = tn.tensor(2 * (1 - 0.1 * z))
    np.testing.assert_allclose(dx, differentiated(lambda x: phi * F.standard_score(x))[1], 1e-12)
    followed = differentiated(lambda x: 2 * (1 - 0.1 * F.standard_score(x)) * F.standard_score(x))[1]
    assert off_by(followed, dx) > 0.1


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_the_standard_score_is_torchs(eps):
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    y = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps)
    y.backward(torch.tensor(DY))
    found, dx = differentiated(lambda x: F.standard_score(x, eps))
    np.testing.assert_allclose(found, y.detach().numpy(), 1e-12)
    np.testing.assert_allclose(dx, x.grad.numpy(), 1e-9, 1e-12)
