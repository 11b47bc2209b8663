"""Whitening over the batch, by eigenvectors and by iteration, and functions of symmetric matrices."""

import inspect
import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.registered import COMPOSED_TOLERANCE, differences, evaluate
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.whitening import iternorm
from tinygrad_norm.normalization.whitening.symmetricmatrix import (
    differences_of_inverse_roots,
    eigen,
    gradient_through,
    inverse_roots,
    symmetric_eigen,
)
from tinygrad_norm.registry import REGISTRY

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(4, 4))
X = (RNG.normal(size=(8, 3, 5, 4)) @ MIX + 2).transpose(0, 3, 1, 2)  # (8, 4, 3, 5), correlated channels
DY = RNG.normal(size=X.shape)
FUNCTIONS = {"decorrelated": F.decorrelated_batch_norm, "iter": F.iter_norm}
LAYERS = {"decorrelated": nn.DecorrelatedBatchNorm2d, "iter": nn.IterNorm}
both = pytest.mark.parametrize("kind", FUNCTIONS)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


def channels(x):
    return np.moveaxis(np.asarray(x), 1, 0).reshape(x.shape[1], -1)


def covariance(x):
    c = channels(x) - channels(x).mean(1, keepdims=True)
    return c @ c.T / c.shape[1]


def inverse_root(S):
    values, vectors = np.linalg.eigh(S)
    return (vectors / np.sqrt(values)) @ vectors.T


def results(function, x, dy, **options):
    x = tn.tensor(x, requires_grad=True)
    y = function(x, training=True, **options)
    return y.numpy(), grad(y, x, tn.tensor(dy.astype(x.dtype)))[0].numpy()


@both
def test_the_covariance_of_what_is_whitened_is_the_identity(kind):
    options = {"T": 8} if kind == "iter" else {}
    x = X + 5 * DY  # so that no direction has a small variance: 8 iterations are enough
    y, _ = results(FUNCTIONS[kind], x, DY, eps=0.0, **options)
    np.testing.assert_allclose(covariance(y), np.eye(4), atol=1e-9)
    y, _ = results(FUNCTIONS[kind], x, DY, eps=0.0, num_groups=2, **options)
    np.testing.assert_allclose(covariance(y)[:2, :2], np.eye(2), atol=1e-9)
    assert abs(covariance(y)[:2, 2:]).max() > 0.05


def test_iterations_beyond_the_end_lose_what_was_found():
    """Rounding errors grow from step to step, in float64 too."""
    errors = [abs(covariance(results(F.iter_norm, X, DY, T=T)[0]) - np.eye(4)).max() for T in (5, 9, 16)]
    assert errors[0] > errors[1] < 1e-3 < 1e3 < errors[2]


def test_the_whitening_matrix_is_the_symmetric_inverse_root():
    y, _ = results(F.decorrelated_batch_norm, X, DY, eps=1e-3)
    c = channels(X) - channels(X).mean(1, keepdims=True)
    np.testing.assert_allclose(channels(y), inverse_root(covariance(X) + 1e-3 * np.eye(4)) @ c, 1e-10, 1e-12)


def test_iterations_whiten_the_directions_of_large_variance_first():
    x = RNG.normal(size=(4000, 3)) * [10.0, 1.0, 0.1]
    variances = np.diag(covariance(results(F.iter_norm, x, x)[0]))
    assert variances[0] > 0.99 > 0.7 > variances[1] > 20 * variances[2]


def test_groups_of_one_channel_are_batch_normalization():
    found = results(F.decorrelated_batch_norm, X, DY, num_groups=4)
    for a, b in zip(found, results(F.batch_norm, X, DY), strict=True):
        np.testing.assert_allclose(a, b, 1e-12, 1e-12)


# -- equal eigenvalues


def nearly_white(n, d, size):
    """Rows (n, d) whose covariance is I, but for differences of eigenvalues of about `size`."""
    x = RNG.normal(size=(n, d))
    x = (x - x.mean(0)) @ inverse_root(np.cov(x.T, ddof=0))
    return (x * (1 + size * np.arange(d))).astype("float32")


def test_equal_eigenvalues_cost_no_digits():
    """They differ by about 1e-7, which is rounding in float32: only a difference of them would be noise."""
    x = nearly_white(256, 8, 1e-7)
    dy = RNG.normal(size=x.shape)
    _, single = results(F.decorrelated_batch_norm, x, dy)
    _, double = results(F.decorrelated_batch_norm, x.astype(float), dy)
    assert np.linalg.norm(single - double) < 1e-6 * np.linalg.norm(double)


def test_autograd_through_eigenvectors_is_wrong_there(torch):
    """PyTorch's gradient of the same formula, in float32; in float64 it is right to 1e-6."""
    x, errors = nearly_white(256, 8, 1e-7), {}
    dy = RNG.normal(size=x.shape)
    _, ours = results(F.decorrelated_batch_norm, x.astype(float), dy)
    for dtype in (torch.float32, torch.float64):
        given = torch.tensor(x).to(dtype).requires_grad_()
        c = given - given.mean(0)
        values, vectors = torch.linalg.eigh(c.T @ c / len(x) + 1e-5 * torch.eye(8, dtype=dtype))
        y = c @ (vectors / values.sqrt()) @ vectors.T
        y.backward(torch.tensor(dy).to(dtype))
        errors[dtype] = np.linalg.norm(given.grad.numpy() - ours) / np.linalg.norm(ours)
    assert errors[torch.float64] < 1e-6
    assert not errors[torch.float32] < 1e-2  # NaN, if two are equal


@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
@pytest.mark.parametrize("d", [1, 2, 3, 8, 33])
def test_eigenvectors_of_every_size(d, backend):
    A = RNG.normal(size=(3, d, d))
    A = A @ A.swapaxes(1, 2)
    A[1] = np.diag(np.repeat([2.0, 5.0], [d - d // 2, d // 2]))  # equal eigenvalues
    A[2, 0] = A[2, :, 0] = np.nan
    with tn.use_backend(backend):
        values, vectors = map(to_numpy, eigen(tn.tensor(A).array))
    for S, λ, U in zip(A[:2], values, vectors, strict=False):
        np.testing.assert_allclose(U.T @ U, np.eye(d), atol=1e-13)
        np.testing.assert_allclose(U * λ @ U.T, S, atol=1e-12 * abs(S).max())
    assert np.isnan(values[2]).all()


@needs_compiler
def test_the_kernel_stops_at_a_number_that_is_not_finite():
    with tn.use_backend("emulator"):
        S = tn.tensor(np.array([[[1.0, np.inf], [np.inf, 1.0]], [[2.0, 1.0], [1.0, 2.0]]])).array
        assert sorted(to_numpy(symmetric_eigen(S)[0])[1].round(12)) == [1.0, 3.0]


def test_the_gradient_through_a_matrix_of_zeros_is_zero():
    values, vectors = np.zeros((1, 3)), np.eye(3)[None]
    r = inverse_roots(values, 0.0)
    assert not r.any()
    assert not gradient_through(vectors, differences_of_inverse_roots(r), np.ones((1, 3, 3))).any()


# -- iterations


def test_iternorm_is_the_authors_formula_under_pytorchs_autograd(torch):
    given = torch.tensor(X, requires_grad=True)
    x = given.transpose(0, 1).reshape(2, 2, -1)
    c = x - x.mean(-1, keepdim=True)
    P = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    S = torch.baddbmm(P, c, c.transpose(1, 2), beta=1e-5, alpha=1 / c.shape[2])
    rtrace = (S * P).sum((1, 2), keepdim=True).reciprocal()
    for _ in range(5):
        P = torch.baddbmm(P, torch.matrix_power(P, 3), S * rtrace, beta=1.5, alpha=-0.5)
    y = ((P * rtrace.sqrt()) @ c).reshape(4, 8, 3, 5).transpose(0, 1)
    y.backward(torch.tensor(DY))
    ours = results(F.iter_norm, X, DY, num_groups=2)
    for a, b in zip(ours, (y.detach().numpy(), given.grad.numpy()), strict=True):
        assert abs(a - b).max() < 1e-13 * max(1, abs(b).max())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(0.5 * dW * W + dS * S)", "(0 * dW)"),  # the trace held constant
        ("P2 @ H", "P @ H @ P"),  # as if factors commuted
    ],
    ids=["trace", "order"],
)
def test_mistakes_in_the_backward_are_caught(monkeypatch, right, wrong):
    """With the trace held constant, dx of X is wrong by 2e-5 only: a loose test would pass it."""
    text = inspect.getsource(iternorm.iter_norm_backward.numpy_version).replace("@kernel\n", "")
    assert right in text
    names = dict(vars(iternorm))
    exec(text.replace(right, wrong), names)
    op = REGISTRY["iter_norm"]
    composed = evaluate(op, op.composed, op.cases[0])
    assert max(differences(evaluate(op, op.function, op.cases[0]), composed).values()) < COMPOSED_TOLERANCE
    _, before = results(F.iter_norm, X, DY)
    monkeypatch.setattr(iternorm, "iter_norm_backward", names["iter_norm_backward"])
    _, after = results(F.iter_norm, X, DY)
    assert np.linalg.norm(before - after) < 0.3 * np.linalg.norm(before)
    assert max(differences(evaluate(op, op.function, op.cases[0]), composed).values()) > COMPOSED_TOLERANCE


# -- statistics, modes, states


@both
def test_running_statistics_are_averages_of_means_and_of_whitening_matrices(kind):
    layer = LAYERS[kind](4, num_groups=2, momentum=0.25).double()
    layer(tn.tensor(X))
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * channels(X).mean(1), 1e-12)
    W = (layer.running_wm.numpy() - 0.75 * np.eye(2)) / 0.25
    if kind == "decorrelated":
        expected = [inverse_root(covariance(X)[at, at] + 1e-5 * np.eye(2)) for at in (np.s_[:2], np.s_[2:])]
        np.testing.assert_allclose(W, expected, 1e-9)
    mean, state = layer.running_mean.numpy().copy(), layer.state_dict()
    layer.eval()
    with tn.no_grad():
        layer.weight *= 3
    y = layer(tn.tensor(X)).numpy()
    z = np.einsum("gij,gjn->gin", layer.running_wm.numpy(), (channels(X) - mean[:, None]).reshape(2, 2, -1))
    np.testing.assert_allclose(channels(y), 3 * z.reshape(4, -1), 1e-12, 1e-12)
    assert list(state) == ["weight", "bias", "running_mean", "running_wm", "num_batches_tracked"]
    other = LAYERS[kind](4, num_groups=2).double().eval()
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(tn.tensor(X)).numpy(), y)
    layer.reset_running_stats()
    assert np.array_equal(layer.running_wm.numpy(), np.tile(np.eye(2), (2, 1, 1)))
    assert layer.num_batches_tracked.item() == 0


def test_without_momentum_every_batch_has_the_same_weight():
    layer = nn.IterNorm(4, momentum=None).double()
    batches = X[:4], X[4:]
    for batch in batches:
        layer(tn.tensor(batch))
    np.testing.assert_allclose(layer.running_mean.numpy(), channels(X).mean(1), 1e-12)


def test_the_average_of_whitening_matrices_is_not_that_of_the_average_covariance():
    batches = [X[k : k + 2] * (1 + k) for k in range(4)]
    layer = nn.DecorrelatedBatchNorm2d(4, momentum=None, eps=0.0).double()
    for batch in batches:
        layer(tn.tensor(batch))
    other = inverse_root(np.mean([covariance(batch) for batch in batches], 0))
    W = layer.running_wm.numpy()[0]
    assert np.linalg.norm(W - other) > 0.1 * np.linalg.norm(other)


def test_without_running_statistics_evaluation_is_as_training():
    layer = nn.IterNorm(4, track_running_stats=False).double()
    y = layer(tn.tensor(X)).numpy()
    np.testing.assert_array_equal(layer.eval()(tn.tensor(X)).numpy(), y)
    assert list(layer.state_dict()) == ["weight", "bias"]


@both
def test_a_second_derivative_does_not_touch_running_statistics(kind):
    layer = LAYERS[kind](4).double()
    x = tn.tensor(X, requires_grad=True)
    (dx,) = grad((layer(x) ** 3).sum(), x, create_graph=True)
    before = {name: buffer.numpy().copy() for name, buffer in layer.named_buffers()}
    (dx**2).sum().backward()
    for name, buffer in layer.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), before[name])


# -- degenerate batches


@both
def test_a_constant_channel_and_fewer_values_than_channels(kind):
    x = X.astype("float32")
    x[:, 1] = 7.0
    few = RNG.normal(size=(3, 6)).astype("float32")
    for given in (x, few):
        dy = RNG.normal(size=given.shape)
        single, double = (results(FUNCTIONS[kind], given.astype(t), dy) for t in ("float32", "float64"))
        for a, b in zip(single, double, strict=True):
            assert np.linalg.norm(a - b) < 1e-3 * np.linalg.norm(b)
    y, _ = results(FUNCTIONS[kind], x, DY)
    assert abs(y[:, 1]).max() < 1e-4
    y, dx = results(FUNCTIONS[kind], 0 * x, DY, eps=0.0)
    assert not y.any()
    assert not dx.any()


@both
def test_a_nan_spoils_its_group_only(kind):
    x = X.copy()
    x[1, 2, 0, 0] = np.nan
    for a in results(FUNCTIONS[kind], x, DY, num_groups=2):
        assert np.isnan(a[:, 2:]).all()
        assert not np.isnan(a[:, :2]).any()


@both
def test_half_precision_is_computed_in_float32(kind):
    x = X.astype("float16")
    half, double = results(FUNCTIONS[kind], x, DY), results(FUNCTIONS[kind], x.astype(float), DY)
    for a, b in zip(half, double, strict=True):
        assert a.dtype == np.float16
        assert np.linalg.norm(a - b) < 2e-3 * np.linalg.norm(b)


def test_groups_must_be_of_one_size():
    for layer in LAYERS.values():
        with pytest.raises(ValueError, match="num_groups must divide the number of channels, 4, got 3"):
            layer(4, 3)
    with pytest.raises(ValueError, match=r"running_wm has shape \(4, 4\), expected \(1, 4, 4\)"):
        F.iter_norm(tn.tensor(X), running_wm=tn.tensor(MIX), training=True)
