"""GradNorm: gradient norms per task, their closed-form gradient, and the weights that balance them."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


class Network(nn.Module):
    """A shared layer, a shared one before it, and a head for each task."""

    def __init__(self, tasks=3, seed=0):
        super().__init__()
        tn.manual_seed(seed)
        self.first, self.shared = nn.Linear(4, 8), nn.Linear(8, 8)
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in range(tasks))

    def losses(self, seed=0, scales=(1.0, 5.0, 20.0)):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(16, 4))
        dtype = self.first.weight.dtype
        h = self.shared(self.first(tn.tensor(x, dtype=dtype)).tanh()).tanh()
        targets = [scale * np.tanh(x[:, i : i + 2]) for i, scale in enumerate(scales)]
        return [
            F.mse_loss(head(h), tn.tensor(y, dtype=dtype))
            for head, y in zip(self.heads, targets, strict=True)
        ]


def network(tasks=3):
    return Network(tasks).double()


def gradients(model):
    return [p.grad.numpy().copy() for p in model.parameters()]


def test_backward_gives_the_gradient_of_the_weighted_sum_and_the_norm_of_each_task():
    model = network()
    balance = optim.GradNorm([model.shared.weight, model.shared.bias], 3)
    balance.log_weights.copy_(np.log([0.5, 1.0, 1.5]))
    total = balance.backward(model.losses())
    found = gradients(model)
    weighted = [w * loss for w, loss in zip((0.5, 1.0, 1.5), model.losses(), strict=True)]
    norms = []
    for loss in weighted:
        model.zero_grad()
        loss.backward(retain_graph=True)
        shared = [model.shared.weight.grad.array, model.shared.bias.grad.array]
        norms.append(np.sqrt(sum((g**2).sum() for g in shared)))
    np.testing.assert_allclose(balance.norms.array, norms, rtol=1e-12)
    model.zero_grad()
    sum(weighted).backward()
    for a, b in zip(found, gradients(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(total.item(), sum(weighted).item(), rtol=1e-12)
    balance.backward(model.losses())  # it adds to what is there
    for a, b in zip(gradients(model), found, strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_the_closed_form_is_the_slope_of_the_loss_of_norms_with_targets_frozen(alpha):
    """Central differences of Σ |G_i - t_i| in log w, where every G_i is found by a backward pass again."""
    model = network()
    balance = optim.GradNorm([model.shared.weight], 3, alpha=alpha)
    balance.backward(model.losses())  # the first losses
    for p in model.parameters():
        p.copy_(p.array + 0.1 * np.random.default_rng(p.array.size).normal(size=p.shape))
    s = np.log([0.5, 1.0, 1.5])

    def norms(s):
        balance.log_weights.copy_(s)
        model.zero_grad()
        balance.backward(model.losses())
        return balance.norms.array.copy()

    G = norms(s)
    found = np.asarray(balance._gradient)
    L = np.array([loss.item() for loss in model.losses()])
    q = L / balance.initial_losses.array
    targets = G.mean() * (q / q.mean()) ** alpha
    assert (np.abs(G - targets) > 1e-3).all()  # away from the kink
    h = 1e-6
    for i in range(3):
        step = h * np.eye(3)[i]
        slope = (np.abs(norms(s + step) - targets).sum() - np.abs(norms(s - step) - targets).sum()) / (2 * h)
        assert found[i] == pytest.approx(slope, rel=1e-7)
        by_weight = found[i] / np.exp(s[i])  # dL_grad/dw_i = sign(G_i - t_i)·g_i
        assert by_weight == pytest.approx(np.sign(G[i] - targets[i]) * G[i] / np.exp(s[i]), rel=1e-12)


def test_weights_stay_positive_and_sum_to_the_number_of_tasks():
    model = network()
    balance = optim.GradNorm([model.shared.weight], 3, lr=0.5)
    np.testing.assert_array_equal(balance.weights.array, 1)
    for _ in range(20):
        balance.backward(model.losses())
        balance.step()
        w = balance.weights.array
        assert (w > 0).all()
        assert w.sum() == pytest.approx(3, rel=1e-12)


def test_without_alpha_all_norms_become_equal():
    model = network()
    balance = optim.GradNorm([model.shared.weight], 3, alpha=0.0, lr=0.02)
    for _ in range(300):
        model.zero_grad()
        balance.backward(model.losses())
        balance.step()
    G = balance.norms.array
    assert G.max() / G.min() < 1.1
    g = G / balance.weights.array
    assert g.max() / g.min() > 3  # they were not before


def test_a_task_that_is_behind_gets_a_larger_weight():
    weights = []
    for alpha in (0.0, 2.0):
        model = network()
        balance = optim.GradNorm([model.shared.weight], 3, alpha=alpha, lr=0.02)
        balance.backward(model.losses())
        balance.initial_losses.array[0] /= 4  # the first task has come less far than the others
        for _ in range(200):
            balance.backward(model.losses())
            balance.step()
        weights.append(balance.weights.array)
    assert weights[1][0] > 1.2 * weights[0][0]


def test_ten_regressions_with_scales_from_1_to_100_get_weights_of_about_one_over_their_scale():
    """Chen's toy, small: y_i = scale_i·tanh((B + ε_i)·x)."""
    scales = np.geomspace(1, 100, 10)
    rng = np.random.default_rng(0)
    B, eps = rng.normal(size=(4, 6)), 0.3 * rng.normal(size=(10, 4, 6))
    tn.manual_seed(0)
    shared = nn.Linear(32, 32)
    trunk = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), shared, nn.ReLU())
    heads = nn.ModuleList(nn.Linear(32, 4) for _ in scales)
    optimizer = optim.Adam([*trunk.parameters(), *heads.parameters()], 5e-4)
    balance = optim.GradNorm([shared.weight], 10, alpha=0.12, lr=0.05)
    for _ in range(150):
        x = rng.normal(size=(32, 6))
        y = scales[:, None, None] * np.tanh(np.einsum("ni,toi->tno", x, B + eps))
        targets = map(tn.tensor, y.astype(np.float32))
        h = trunk(tn.tensor(x.astype(np.float32)))
        losses = [F.mse_loss(head(h), t) for head, t in zip(heads, targets, strict=True)]
        optimizer.zero_grad()
        balance.backward(losses)
        optimizer.step()
        balance.step()
    w = balance.weights.numpy()
    slope = np.polyfit(np.log(scales), np.log(w), 1)[0]
    assert -1.25 < slope < -0.8
    balanced = w * scales
    assert balanced.max() / balanced.min() < 6  # the scales differ by 100


def test_a_shared_parameter_that_a_task_does_not_use():
    model = network(2)
    other = nn.Parameter(np.ones(3))
    balance = optim.GradNorm([model.shared.weight, other], 3)
    losses = [*model.losses(scales=(1.0, 5.0)), (other * 2).sum()]
    balance.backward(losses)
    np.testing.assert_allclose(balance.norms.array[2], 2 * np.sqrt(3), rtol=1e-12)
    np.testing.assert_array_equal(other.grad.array, 2)
    unused = optim.GradNorm([nn.Parameter(np.ones(3))], 2)
    with pytest.raises(ValueError, match="no loss depends on the params"):
        unused.backward(model.losses(scales=(1.0, 5.0)))


def test_one_tensor_of_losses_is_the_same_as_a_list():
    results = []
    for join in (list, tn.stack):
        model = network()
        balance = optim.GradNorm([model.shared.weight], 3)
        balance.backward(join(model.losses()))
        results.append([balance.norms.array, *gradients(model)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_a_loaded_state_goes_on_with_the_same_numbers():
    def steps(balance, model, seeds):
        for seed in seeds:
            balance.backward(model.losses(seed))
            balance.step()

    model = network()
    first, second = (optim.GradNorm([model.shared.weight], 3) for _ in range(2))
    steps(first, model, range(3))
    second.load_state_dict(first.state_dict())
    steps(first, model, range(3, 6))
    steps(second, model, range(3, 6))
    np.testing.assert_array_equal(first.weights.array, second.weights.array)
    with pytest.raises(ValueError, match="the state is of 3 tasks, not of 2"):
        optim.GradNorm([model.shared.weight], 2).load_state_dict(first.state_dict())


def test_a_frozen_parameter_is_named():
    model = network(2)
    balance = optim.GradNorm([model.shared.weight, model.shared.bias], 2)
    model.shared.bias.requires_grad = False
    with pytest.raises(ValueError, match="requires_grad=False"):
        balance.backward(model.losses(scales=(1.0, 5.0)))


def test_losses_are_positive_at_first_and_at_least_0_later():
    w = nn.Parameter(np.ones(2))
    balance = optim.GradNorm([w], 2)
    for first in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="first losses must be positive and finite"):
            balance.backward([w.sum(), w.sum() * 0 + first])
    assert w.grad is None
    balance.backward([w.sum(), 2 * w.sum()])
    with pytest.raises(ValueError, match="losses must be at least 0"):
        balance.backward([w.sum(), -w.sum()])
    for later in ([w.sum(), 0 * w.sum()], [0 * w.sum(), 0 * w.sum()]):
        balance.backward(later)
        balance.step()
        assert np.isfinite(balance.weights.array).all()


@needs_compiler
def test_what_a_gpu_cannot_check_leaves_the_weights_finite():
    with tn.use_backend("emulator"):
        w = nn.Parameter(np.ones(2, "float32")).to(tn.backends.current_backend().device)
        w = nn.Parameter(w.array)
        balance = optim.GradNorm([w], 3)
        for _ in range(2):
            balance.backward([w.sum(), 0 * w.sum(), -w.sum()])
            balance.step()
        assert np.isfinite(balance.weights.numpy()).all()


def test_a_backward_pass_that_fails_leaves_the_gradient():
    w = nn.Parameter(np.ones(2))
    balance = optim.GradNorm([w], 2)
    w.grad = tn.tensor([3.0, 4.0], dtype=float)
    loss = w.sum()
    spent = (w * w).sum()
    spent.backward()
    before = w.grad.numpy().copy()
    with pytest.raises(RuntimeError):
        balance.backward([spent, loss])
    np.testing.assert_array_equal(w.grad.numpy(), before)


def test_a_loaded_state_is_a_copy():
    model = network()
    first, second = (optim.GradNorm([model.shared.weight], 3) for _ in range(2))
    first.backward(model.losses())
    state = first.state_dict()
    second.load_state_dict(state)
    state["initial_losses"].array[:] = 7
    assert (second.initial_losses.array != 7).all()


@needs_compiler
def test_on_the_emulator_it_finds_the_same_weights():
    found = []
    for backend in ("numpy", "emulator"):
        with tn.use_backend(backend):
            model = Network(2).to(tn.backends.current_backend().device)
            balance = optim.GradNorm([model.shared.weight], 2, lr=0.1)
            for _ in range(2):
                balance.backward(model.losses(scales=(1.0, 5.0)))
                balance.step()
            found.append(balance.weights.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert abs(found[0] - 1).max() > 0.05


def test_what_does_not_fit_is_named():
    model = network()
    balance = optim.GradNorm([model.shared.weight], 3)
    with pytest.raises(RuntimeError, match="call backward"):
        balance.step()
    with pytest.raises(ValueError, match=r"expected 3 losses, each a scalar, got shapes \[\(\)\]"):
        balance.backward(model.losses()[:1])
    with pytest.raises(ValueError, match="each a scalar"):
        balance.backward([tn.ones(2, requires_grad=True)] * 3)
    with pytest.raises(TypeError, match="expected a list of 3 losses, got float"):
        balance.backward(1.0)
    with pytest.raises(TypeError, match="a loss must be a tensor, got float"):
        balance.backward([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="needs the parameters that all tasks share"):
        optim.GradNorm([], 3)
    with pytest.raises(ValueError, match="lr must be a positive number, got 0"):
        optim.GradNorm([model.shared.weight], 2, lr=0)
    with pytest.raises(ValueError, match="one has requires_grad=False"):
        optim.GradNorm([tn.ones(3)], 2)
    with pytest.raises(ValueError, match="num_tasks must be at least 1"):
        optim.GradNorm([model.shared.weight], 0)
    with pytest.raises(ValueError, match="alpha must be a number of at least 0, got -1"):
        optim.GradNorm([model.shared.weight], 2, alpha=-1.0)
    assert repr(balance) == "GradNorm(num_tasks=3, alpha=1.5)"
    assert isinstance(balance.weights, Tensor)
    assert not balance.weights.requires_grad
