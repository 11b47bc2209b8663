"""What is often said of normalizations, right and wrong: which direction stays, which pool, which eps."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
EPS = 1e-5
ROWS = {  # normalizations without affine of x (5, 40), and whether they subtract a mean
    "layer_norm": (lambda x: F.layer_norm(x, (40,), eps=EPS), True),
    "rms_norm": (lambda x: F.rms_norm(x, (40,), eps=EPS), False),
    "group_norm": (lambda x: F.group_norm(x.unsqueeze(1), 1, eps=EPS).squeeze(1), True),
    "instance_norm": (lambda x: F.instance_norm(x.unsqueeze(0), eps=EPS).squeeze(0), True),
    "batch_norm": (lambda x: F.batch_norm(x.T, training=True, eps=EPS).T, True),
}
rows = pytest.mark.parametrize("name", ROWS)


def differentiated(normalize, x, dy):
    x = tn.tensor(x, requires_grad=True)
    y = normalize(x)
    return y.numpy(), grad(y, x, tn.tensor(dy))[0].numpy()


@rows
@pytest.mark.parametrize("std", [1.0, 0.003])
def test_along_x_hat_the_share_eps_of_v_plus_eps_of_the_gradient_stays(name, std):
    """Only along 1 the gradient is exactly 0; at std 0.003, 53 % of the other direction stays."""
    normalize, centers = ROWS[name]
    x, dy = std * RNG.normal(size=(5, 40)), RNG.normal(size=(5, 40))
    x_hat, dx = differentiated(normalize, x, dy)
    v = x.var(1) if centers else (x**2).mean(1)
    straight = (dy * x_hat).sum(1) / np.sqrt(v + EPS)  # what is left along x̂ if the statistics are constants
    np.testing.assert_allclose((dx * x_hat).sum(1), straight * EPS / (v + EPS), 1e-8, 1e-9)
    if centers:
        np.testing.assert_allclose(dx.sum(1), 0, atol=1e-11 / std)
    if std == 0.003:
        assert 0.4 < (EPS / (v + EPS)).mean() < 0.65


@rows
def test_the_variance_is_biased_and_eps_stands_inside_of_the_root(name):
    normalize, centers = ROWS[name]
    x = 1e-3 * RNG.normal(size=(5, 40))
    m = x.mean(1, keepdims=True) if centers else 0.0
    expected = (x - m) / np.sqrt(((x - m) ** 2).mean(1, keepdims=True) + EPS)
    np.testing.assert_allclose(normalize(tn.tensor(x)).numpy(), expected, 1e-12)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_with_running_statistics_the_gradient_takes_the_straight_path_only(name):
    x, dy, w = RNG.normal(size=(4, 3, 5)), RNG.normal(size=(4, 3, 5)), RNG.normal(size=3)
    m, v = RNG.normal(size=3), RNG.uniform(1, 2, 3)
    option = {"training": False} if name == "batch_norm" else {"use_input_stats": False}
    running = tn.tensor(m), tn.tensor(v)
    _, dx = differentiated(lambda x: getattr(F, name)(x, *running, tn.tensor(w), **option), x, dy)
    np.testing.assert_allclose(dx, dy * (w / np.sqrt(v + EPS))[:, None], 1e-13)


def test_the_number_of_group_norm_is_that_of_groups_not_of_channels():
    """The paper has 32 groups, of C/32 channels each, not groups of 32 channels."""
    x = RNG.normal(size=(2, 64, 3))
    y = nn.GroupNorm(32, 64)(tn.tensor(x.astype("float32"))).numpy().reshape(2, 32, 2 * 3)
    np.testing.assert_allclose(y.mean(2), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(2), 1, 1e-3)
    assert abs(y.reshape(2, 2, 96).mean(2)).max() < 1e-6  # so larger groups have mean 0 too
    spread = abs(nn.GroupNorm(2, 64)(tn.tensor(x.astype("float32"))).numpy().reshape(2, 32, 6).mean(2)).max()
    assert spread > 0.1


def test_one_group_pools_like_layer_norm_but_its_affine_is_per_channel():
    group, layer = nn.GroupNorm(1, 6), nn.LayerNorm((6, 3, 2))
    assert (group.weight.shape, layer.weight.shape) == ((6,), (6, 3, 2))
    w, x, dy = RNG.normal(size=6), RNG.normal(size=(4, 6, 3, 2)), RNG.normal(size=(4, 6, 3, 2))
    over_positions = np.broadcast_to(w[:, None, None], (6, 3, 2)).copy()
    _, dx = differentiated(lambda x: F.group_norm(x, 1, tn.tensor(w)), x, dy)
    _, expected = differentiated(lambda x: F.layer_norm(x, (6, 3, 2), tn.tensor(over_positions)), x, dy)
    np.testing.assert_allclose(dx, expected, 1e-11, 1e-13)


def test_as_many_groups_as_channels_have_the_gradient_of_instance_norm():
    w, x, dy = RNG.normal(size=6), RNG.normal(size=(4, 6, 5)), RNG.normal(size=(4, 6, 5))
    _, dx = differentiated(lambda x: F.group_norm(x, 6, tn.tensor(w)), x, dy)
    _, expected = differentiated(lambda x: F.instance_norm(x, weight=tn.tensor(w)), x, dy)
    np.testing.assert_allclose(dx, expected, 1e-11, 1e-13)


def test_instance_norm_has_neither_affine_nor_running_statistics_by_default():
    assert not nn.InstanceNorm2d(3).state_dict()
    with pytest.raises(ValueError, match="more than one position"):
        nn.InstanceNorm2d(3)(tn.ones(2, 3, 1, 1))
    running = nn.InstanceNorm2d(3, track_running_stats=True)
    assert np.isfinite(running.eval()(tn.ones(2, 3, 1, 1)).numpy()).all()


def test_one_value_per_channel_has_no_variance_where_the_batch_gives_the_statistics():
    x = tn.ones(1, 3)
    assert nn.BatchNorm1d(3).eval()(x).shape == (1, 3)
    for layer in (nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False)):
        with pytest.raises(ValueError, match="more than one value per channel"):
            layer(x)
    with pytest.raises(ValueError, match="more than one value per channel"):
        nn.BatchNorm1d(3, track_running_stats=False).eval()(x)


def test_rms_norm_is_root_d_times_l2_normalization_in_its_gradient_too():
    x, dy = RNG.normal(size=(4, 9)), RNG.normal(size=(4, 9))
    y, dx = differentiated(lambda x: F.rms_norm(x, (9,), eps=0.0), x, dy)
    of_length_1 = differentiated(F.normalize, x, dy)
    np.testing.assert_allclose(y, 3 * of_length_1[0], 1e-13)
    np.testing.assert_allclose(dx, 3 * of_length_1[1], 1e-12, 1e-14)


def test_the_mean_square_minus_the_squared_mean_can_be_negative_our_variance_cannot():
    x = (1e4 + 1e-2 * RNG.normal(size=(64, 200))).astype("float32")
    assert ((x**2).mean(1) - x.mean(1) ** 2).min() < 0
    wide = x.astype("float64")
    layer = nn.BatchNorm1d(64, momentum=1.0)
    layer(tn.tensor(np.ascontiguousarray(x.T)))
    assert (layer.running_var.numpy() > 0).all()
    np.testing.assert_allclose(layer.running_var.numpy(), wide.var(1, ddof=1), 2e-3)


def test_batch_renorm_at_its_tightest_limits_has_the_gradients_of_batch_norm():
    x, dy, w, b = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3)), RNG.normal(size=3), RNG.normal(size=3)
    results = []
    for normalize, limits in ((F.batch_renorm, {"rmax": 1.0, "dmax": 0.0}), (F.batch_norm, {})):
        inputs = [tn.tensor(a, requires_grad=True) for a in (x, w, b)]
        running = tn.tensor(RNG.normal(size=3)), tn.tensor(RNG.uniform(1, 2, 3))
        y = normalize(inputs[0], *running, *inputs[1:], True, **limits)
        results.append([dx.numpy() for dx in grad(y, inputs, tn.tensor(dy))])
    for a, expected in zip(*results, strict=True):
        np.testing.assert_allclose(a, expected, 1e-11, 1e-13)


def test_the_slices_of_a_ghost_batch_share_one_affine():
    layer = nn.GhostBatchNorm1d(3, ghost_batch_size=2)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight": (3,), "bias": (3,)}


@pytest.mark.parametrize("alpha", [0.2, 0.9])
def test_inference_example_weighing_mixes_first_and_second_moments(alpha):
    """μ = α·E[x] + (1-α)·μ_ema, σ² = α·E[x²] + (1-α)·m2_ema - μ², and never below 0."""
    x, m, v = RNG.normal(2.0, 3.0, (4, 3, 6)), RNG.normal(size=(3, 1)), RNG.uniform(1, 5, (3, 1))
    mu = alpha * x.mean(2, keepdims=True) + (1 - alpha) * m
    var = alpha * (x**2).mean(2, keepdims=True) + (1 - alpha) * (v + m**2) - mu**2
    running = tn.tensor(m[:, 0]), tn.tensor(v[:, 0])
    y = F.weighed_batch_norm(tn.tensor(x), *running, inference_weight=alpha).numpy()
    np.testing.assert_allclose(y, (x - mu) / np.sqrt(var + EPS), 1e-11, 1e-13)
    flat = tn.full((1, 2, 5), 1234.567)  # in float32 the formula's difference of squares is rounding only
    constant = tn.full((2,), 1234.567), tn.zeros(2)
    y = F.weighed_batch_norm(flat, *constant, inference_weight=alpha).numpy()
    np.testing.assert_array_equal(y, 0)


def test_the_style_not_the_content_gives_scale_and_shift():
    x, z, dy = RNG.normal(2.0, 3.0, (2, 3, 8)), RNG.normal(-1.0, 0.5, (2, 3, 8)), RNG.normal(size=(2, 3, 8))
    x, z = tn.tensor(x, requires_grad=True), tn.tensor(z, requires_grad=True)
    y = F.adaptive_instance_norm(x, z)
    np.testing.assert_allclose(y.numpy().mean(2), z.numpy().mean(2), 1e-12)
    np.testing.assert_allclose(y.numpy().std(2), z.numpy().std(2), 1e-4)
    dx, dz = grad(y, [x, z], tn.tensor(dy))
    np.testing.assert_allclose(dx.numpy().sum(2), 0, atol=1e-12)
    np.testing.assert_allclose(dz.numpy().sum(2), dy.sum(2), 1e-11)  # the shift passes it on


def test_at_an_entry_of_0_lengths_with_p_below_1_have_an_infinite_slope():
    """So it counts as 0, as in PyTorch: the gradient stays finite."""
    x = tn.tensor([[0.0, -2.0, 1.0]], requires_grad=True)
    (dx,) = grad(F.normalize(x, 0.5), x, tn.tensor([[1.0, 2.0, 3.0]]))
    assert np.isfinite(dx.numpy()).all()


def test_eps_of_normalize_is_the_smallest_divisor_and_is_not_added():
    x = tn.tensor([[3.0, 4.0]])
    np.testing.assert_array_equal(F.normalize(x, eps=1.0).numpy(), np.float32([[0.6, 0.8]]))
    np.testing.assert_array_equal(F.normalize(x, eps=10.0).numpy(), np.float32([[0.3, 0.4]]))
