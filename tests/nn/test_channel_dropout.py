"""Dropout of channels, and for SELU: what is kept, how often, its mean and variance, and the gradient."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

LAYERS = [
    pytest.param(nn.Dropout1d, (40, 30, 5), id="1d"),
    pytest.param(nn.Dropout2d, (40, 30, 3, 4), id="2d"),
    pytest.param(nn.Dropout3d, (40, 30, 2, 3, 2), id="3d"),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_a_channel_is_zeroed_or_scaled_as_one_and_so_is_its_gradient(layer, shape):
    rng = np.random.default_rng(0)
    x = tn.tensor(rng.uniform(1, 2, shape), requires_grad=True)
    dy = rng.uniform(1, 2, shape)
    y = layer(0.25)(x)
    y.backward(tn.tensor(dy))
    factors = (y.detach().numpy() / x.detach().numpy()).reshape(40, 30, -1)
    np.testing.assert_allclose(factors, factors[:, :, :1] * np.ones_like(factors), rtol=1e-12)
    assert set(np.round(np.unique(factors), 9)) == {0.0, round(4 / 3, 9)}
    assert abs((factors[:, :, 0] == 0).mean() - 0.25) < 0.05
    np.testing.assert_allclose(x.grad.numpy(), dy * factors.reshape(shape), rtol=1e-12)


@pytest.mark.parametrize(("layer", "shape"), [*LAYERS, pytest.param(nn.AlphaDropout, (4,), id="alpha")])
def test_evaluation_and_p_0_return_the_input_itself(layer, shape):
    x = tn.ones(shape)
    assert layer(0.7).eval()(x) is x
    assert layer(0.0)(x) is x
    assert not layer(1.0)(x).any()
    assert "p=0.7" in repr(layer(0.7))


def test_what_one_sample_is_follows_pytorch():
    """(C, L) and (C, D, H, W) are single samples; dropout2d takes three axes as (N, C, L)."""
    for function, shape, channels in (
        (F.dropout1d, (200, 4), 1),
        (F.dropout2d, (3, 200, 4), 2),
        (F.dropout3d, (200, 2, 2, 2), 1),
    ):
        y = function(tn.ones(shape)).numpy().reshape(*shape[:channels], -1)
        assert ((y == 0).all(-1) | (y == 2).all(-1)).all()
        assert 0.2 < (y[..., 0] == 0).mean() < 0.8
    for function, shape in ((F.dropout1d, (3,)), (F.dropout2d, (3, 4)), (F.dropout3d, (2, 3, 4))):
        with pytest.raises(ValueError, match="got shape"):
            function(tn.ones(shape))


def test_the_seed_decides_and_half_stays_half():
    x = tn.ones(100, 20, 3)
    tn.manual_seed(7)
    first, second = F.dropout1d(x), F.dropout1d(x)
    tn.manual_seed(7)
    assert tn.equal(F.dropout1d(x), first)
    assert not tn.equal(first, second)
    for function in (F.dropout1d, F.alpha_dropout, F.feature_alpha_dropout):
        assert function(x.half(), training=True).dtype == tn.float16


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_0_and_variance_1(name, p):
    x = tn.tensor(np.random.default_rng(3).normal(size=(400, 500, 2)))
    tn.manual_seed(1)
    y = getattr(F, name)(x, p, training=True)
    assert abs(y.mean().item()) < 0.02
    assert abs(y.var().item() - 1) < 0.02


def test_alpha_dropouts_two_values_are_pytorchs(torch):
    x = np.full((50, 60), 0.3)
    ours = F.alpha_dropout(tn.tensor(x), 0.4, training=True)
    theirs = torch.nn.functional.alpha_dropout(torch.tensor(x), 0.4, training=True)
    np.testing.assert_allclose(np.unique(ours.numpy()), np.unique(theirs.numpy()), rtol=1e-12)
    y = F.feature_alpha_dropout(tn.tensor(x).unsqueeze(2).expand(50, 60, 4), 0.4, training=True)
    np.testing.assert_allclose(np.unique(y.numpy()), np.unique(theirs.numpy()), rtol=1e-12)
    assert (y == y[:, :, :1]).all()


def test_fold_and_unfold_are_the_functions(torch):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    columns, expected = nn.Unfold(3, padding=1)(tn.tensor(x)), torch.nn.Unfold(3, padding=1)
    np.testing.assert_allclose(columns.numpy(), expected(torch.tensor(x)).numpy())
    images, expected_images = nn.Fold((5, 4), 3, padding=1), torch.nn.Fold((5, 4), 3, padding=1)
    np.testing.assert_allclose(
        images(columns).numpy(), expected_images(torch.tensor(columns.numpy())).numpy(), rtol=1e-12
    )
    assert repr(images) == repr(expected_images)
    assert repr(nn.Unfold(3, padding=1)) == repr(expected)
    with pytest.raises(ValueError, match="stride"):
        nn.Unfold(2, stride=0)
