"""Batch renormalization: between batch normalization and the running statistics."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch import batchrenorm
from tinygrad_norm.normalization.batch.batchrenorm import RenormSchedule, batch_renorm_composed

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (8, 3, 2)), RNG.normal(size=(8, 3, 2))
M, V = RNG.normal(size=3), RNG.uniform(1.0, 5.0, 3)
W, B = RNG.normal(size=3), RNG.normal(size=3)


def tensors(*arrays):
    return [tn.tensor(a, requires_grad=True) for a in arrays]


def running():
    return tn.tensor(M.copy()), tn.tensor(V.copy())


@pytest.mark.parametrize("limits", [(3.0, 5.0), (1.1, 0.1), (100.0, 100.0)])
def test_closed_and_composed_agree_where_the_corrections_move(limits):
    results = []
    for function in (F.batch_renorm, batch_renorm_composed):
        x, w, b = tensors(X, W, B)
        y = function(x, *running(), w, b, True, 0.1, 1e-5, *limits)
        results.append([y.numpy(), *(dx.numpy() for dx in grad(y, [x, w, b], tn.tensor(DY)))])
    for closed, composed in zip(*results, strict=True):
        np.testing.assert_allclose(closed, composed, 1e-9, 1e-12)


def test_the_gradient_is_that_of_finite_differences_with_frozen_corrections(monkeypatch):
    r, d = batchrenorm._corrections(X.mean((0, 2)), X.var((0, 2)), M, V, 1e-5, 3.0, 5.0)
    assert ((r != 1) & (r < 3) & (r > 1 / 3)).all()  # none is at a limit

    def normalize(x, w, b):
        return F.batch_renorm(x, *running(), w, b, True, momentum=0.0)

    with pytest.raises(RuntimeError, match="wrong gradient"):
        tn.gradcheck(normalize, tensors(X, W, B))
    frozen = r.reshape(1, 3, 1), d.reshape(1, 3, 1)
    monkeypatch.setattr(batchrenorm, "_corrections", lambda *statistics: frozen)
    assert tn.gradcheck(normalize, tensors(X, W, B))


def test_not_to_freeze_the_corrections_gives_another_gradient():
    x = tn.tensor(X, requires_grad=True)
    y = F.batch_renorm(x, *running(), training=True, rmax=1e9, dmax=1e9)
    (frozen,) = grad(y, x, tn.tensor(DY))
    (free,) = grad((x - tn.tensor(M[:, None])) / tn.tensor((V + 1e-5)[:, None]) ** 0.5, x, tn.tensor(DY))
    assert abs(frozen.numpy() - free.numpy()).max() > 0.1 * abs(free.numpy()).max()


def test_without_correction_it_is_batch_normalization_and_without_limits_it_is_evaluation():
    x = tn.tensor(X)
    (mean, var), (mean_bn, var_bn) = running(), running()
    y = F.batch_renorm(x, mean, var, tn.tensor(W), tn.tensor(B), True, rmax=1.0, dmax=0.0)
    expected = F.batch_norm(x, mean_bn, var_bn, tn.tensor(W), tn.tensor(B), True)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-13)
    for a, b in ((mean, mean_bn), (var, var_bn)):  # updated alike
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    in_training = F.batch_renorm(x, *running(), training=True, rmax=1e9, dmax=1e9)
    np.testing.assert_allclose(in_training.numpy(), F.batch_norm(x, *running()).numpy(), 1e-12, 1e-13)


def test_the_running_statistics_are_used_before_their_update():
    mean, var = running()
    first = F.batch_renorm(tn.tensor(X), mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(first.numpy(), F.batch_renorm(tn.tensor(X), *running(), training=True).numpy())
    np.testing.assert_allclose(mean.numpy(), X.mean((0, 2)))
    np.testing.assert_allclose(var.numpy(), X.var((0, 2), ddof=1))


def test_the_schedule_starts_as_batch_normalization_and_relaxes_the_limits():
    schedule = RenormSchedule(start=2, rmax_end=6, dmax_end=4)
    limits = [schedule.limits(np.array(n), np.float32, 3.0, 5.0) for n in range(8)]
    assert [float(r) for r, _ in limits] == [1, 1, 1, 1.5, 2, 2.5, 3, 3]
    assert [float(d) for _, d in limits] == [0, 0, 0, 2.5, 5, 5, 5, 5]
    layer, plain = nn.BatchRenorm1d(3, schedule=schedule), nn.BatchNorm1d(3)
    x = tn.tensor(X.astype("float32") * 5)
    for step in range(5):
        y, expected = layer(x).numpy(), plain(x).numpy()
        assert y.dtype == np.float32
        assert np.allclose(y, expected, atol=1e-6) == (step < 3)
    np.testing.assert_allclose(layer.running_var.numpy(), plain.running_var.numpy(), 1e-6)
    np.testing.assert_allclose(layer.eval()(x).numpy(), plain.eval()(x).numpy(), 1e-5)


def test_half_types_compute_in_float32():
    x = tn.tensor(X.astype("float16"))
    layer = nn.BatchRenorm1d(3, schedule=None)
    y = layer(x)
    assert y.dtype == tn.float16
    expected = nn.BatchRenorm1d(3, schedule=None)(x.float()).numpy()
    np.testing.assert_allclose(y.numpy(), expected, 2e-3, 2e-3)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_extreme_numbers_give_finite_results(scale):
    x = tn.tensor((X * scale).astype("float32"), requires_grad=True)
    y = nn.BatchRenorm1d(3, schedule=None)(x)
    (dx,) = grad(y, x, tn.tensor(DY.astype("float32")))
    assert np.isfinite(y.numpy()).all()
    assert np.isfinite(dx.numpy()).all()
