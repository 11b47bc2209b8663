"""EDM2's magnitude-preserving weights, convolution, SiLU and sum."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn import magnitude

RNG = np.random.default_rng(0)
W, DY = RNG.normal(size=(2, 4, 3, 2))


def parts(w, eps):
    rms = np.sqrt((w * w).mean((1, 2), keepdims=True))
    direction = w / (rms * np.sqrt(6))
    return direction, rms / (eps + rms), 1 / ((eps + rms) * np.sqrt(6))


@pytest.mark.parametrize("eps", [1e-4, 0.3])
def test_each_output_has_a_weight_of_length_a(eps):
    y = F.magnitude_preserving_weight(tn.tensor(W), eps).numpy()
    direction, share, _ = parts(W, eps)
    np.testing.assert_allclose(y, share * direction, 1e-12, 1e-14)
    np.testing.assert_allclose((y**2).sum((1, 2)), share[:, 0, 0] ** 2, 1e-12)


def test_the_gradient_is_that_of_the_docstring_and_not_weight_normalization_s():
    """With the length of y held constant, as in weight normalization, a share eps/(eps + ρ) would be lost."""
    eps = 0.3
    w = tn.tensor(W, requires_grad=True)
    (dw,) = grad(F.magnitude_preserving_weight(w, eps), [w], tn.tensor(DY))
    direction, share, q = parts(W, eps)
    along = direction * (DY * direction).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(dw.numpy(), q * (DY - share * along), 1e-10, 1e-12)
    assert abs(dw.numpy() - q * (DY - along)).max() > 0.05 * abs(dw.numpy()).max()
    inside = q * (DY - share**2 * along)  # eps inside the root
    assert abs(dw.numpy() - inside).max() > 0.01 * abs(dw.numpy()).max()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_row_of_zeros_stays_zero_and_has_the_gradient_of_a_division_by_eps(dtype):
    w = tn.tensor(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], dtype), requires_grad=True)
    y = F.magnitude_preserving_weight(w, 0.5)
    dy = np.array([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0]], dtype)
    (dw,) = grad(y, [w], tn.tensor(dy))
    assert not y.numpy()[0].any()
    np.testing.assert_allclose(dw.numpy(), dy / 0.5 / 3**0.5, 1e-6, 1e-7)
    (without_eps,) = grad(F.magnitude_preserving_weight(w, 0.0), [w], tn.tensor(dy))
    assert not without_eps.numpy()[0].any()


def test_steps_along_the_weight_of_an_extreme_row_are_finite():
    w = tn.tensor(np.array([[1e30, 2e30], [1e-30, -1e-30]], "float32"), requires_grad=True)
    y = F.magnitude_preserving_weight(w)
    np.testing.assert_allclose((y.numpy()[0] ** 2).sum(), 1, 1e-6)
    assert np.isfinite(grad(y, [w], tn.ones(2, 2))[0].numpy()).all()


# -- the layers around it


def test_the_convolution_sets_its_weight_in_training_only():
    tn.manual_seed(0)
    layer = nn.MPConv2d(8, 4, 3, padding=1)
    with tn.no_grad():
        layer.weight.copy_(layer.weight * 7)
    x = tn.randn(2, 8, 6, 6)
    given = layer.weight.numpy().copy()
    evaluated = layer.eval()(x).numpy()
    np.testing.assert_array_equal(layer.weight.numpy(), given)
    trained = layer.train()(x).numpy()
    np.testing.assert_allclose((layer.weight.numpy() ** 2).mean((1, 2, 3)), 1, 1e-3)
    np.testing.assert_allclose(trained, evaluated, 1e-3, 1e-3)
    layer(x).sum().backward()
    assert layer.weight.grad.shape == (4, 8, 3, 3)
    assert "8, 4, kernel_size=(3, 3), padding=(1, 1)" in repr(layer)


def test_the_convolution_can_be_used_twice_before_a_backward_and_sets_its_weight_after_each_step():
    tn.manual_seed(0)
    layer, x = nn.MPConv2d(4, 4, 3, padding=1).double(), tn.randn(2, 4, 5, 5).double()
    optimizer = tn.optim.SGD(layer.parameters(), 5.0)
    for _ in range(2):
        y = layer(layer(x))
        forced = layer.weight.detach().clone()
        np.testing.assert_allclose((forced.numpy() ** 2).mean((1, 2, 3)), 1, 1e-3)
        optimizer.zero_grad()
        (y**3).sum().backward()
        w = forced.clone().requires_grad_(True)
        direct = x
        for _ in range(2):
            direct = F.conv2d(direct, F.magnitude_preserving_weight(w), padding=1)
        np.testing.assert_allclose(layer.weight.grad.numpy(), grad((direct**3).sum(), w)[0].numpy(), 1e-10)
        optimizer.step()
        assert abs((layer.weight.numpy() ** 2).mean((1, 2, 3)) - 1).max() > 0.1
    for change in (
        lambda: layer.weight.data.__imul__(3),
        lambda: layer.load_state_dict({"weight": forced * 3}),
        lambda: layer.load_state_dict({"weight": forced * 3}, assign=True),
    ):
        change()
        copy.deepcopy(layer)(x)
        layer(x)
        np.testing.assert_allclose((layer.weight.numpy() ** 2).mean((1, 2, 3)), 1, 1e-3)


def test_in_a_captured_step_the_weight_is_set_once_in_each_run(monkeypatch):
    layer, graph, times = nn.MPConv2d(2, 2, 3), SimpleNamespace(kept={}), []
    monkeypatch.setattr(magnitude, "current_graph", lambda: graph)
    for _ in range(3):
        graph.kept = {}
        for _ in range(2):
            layer(tn.ones(1, 2, 4, 4))
            times.append(layer.weight.memory.written)
    assert times[0] == times[1] < times[2] == times[3] < times[4] == times[5]


def test_variance_1_in_is_variance_1_out():
    tn.manual_seed(0)
    a, b = tn.randn(2, 64, 32, 32), tn.randn(2, 64, 32, 32)
    y = nn.MPConv2d(64, 64, 3)(a).numpy()
    assert abs(y.std() - 1) < 0.05
    assert abs(np.sqrt((F.mp_silu(a).numpy() ** 2).mean()) - 1) < 0.01
    for t in (0.0, 0.3, 0.5, 1.0):
        assert abs(F.mp_sum(a, b, t).numpy().std() - 1) < 0.01
    np.testing.assert_array_equal(F.mp_sum(a, b, 0.0).numpy(), a.numpy())


def test_all_of_it_has_the_right_gradient():
    x = [tn.tensor(RNG.normal(size=(2, 3)), requires_grad=True) for _ in "ab"]
    assert gradcheck(lambda a, b: F.mp_sum(F.mp_silu(a), b, 0.3), x)


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_raises(t):
    with pytest.raises(ValueError, match="a share t from 0 to 1"):
        F.mp_sum(tn.ones(2), tn.ones(2), t)


def test_what_does_not_fit_raises():
    with pytest.raises(ValueError, match="8 channels"):
        nn.MPConv2d(8, 4, 3)(tn.ones(2, 4, 5, 5))
    with pytest.raises(ValueError, match="out_channels"):
        nn.MPConv2d(8, 0, 3)
    with pytest.raises(TypeError, match="mp_sum takes a Tensor"):
        F.mp_sum(1.0, tn.ones(2))
