"""Power normalization: a walk in plain NumPy, what the gradient approximates, state, extremes, kernels."""

import shutil

import numpy as np
import pytest
from kernel_runs import TOLERANCE, worst_error

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import KERNELS, emulator, to_numpy
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch import powernorm
from tinygrad_norm.registry import REGISTRY, Case, fixed

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
backends = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
C, EPS = 3, 1e-3


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


class Walk:
    """The paper's algorithm, one batch after the other."""

    def __init__(self, weight, bias, alpha=0.9, warmup=0):
        self.weight, self.bias, self.alpha, self.warmup = weight, bias, alpha, warmup
        self.square, self.nu, self.steps = np.ones(C), np.zeros(C), 0

    def step(self, x, dy):
        """Return y, dx, dweight and dbias of rows, and move both running values."""
        self.steps += 1
        of_batch = (x**2).mean(0)
        warm = self.steps <= self.warmup
        scale = np.sqrt((of_batch if warm else self.square) + EPS)
        x_hat, g = x / scale, dy * self.weight
        projection, gamma = (g * x_hat).mean(0), (x_hat**2).mean(0)
        dx = (g - (projection if warm else self.nu) * x_hat) / scale
        self.square = self.alpha * self.square + (1 - self.alpha) * of_batch
        self.nu = self.nu * (1 - (1 - self.alpha) * gamma) + (1 - self.alpha) * projection
        return x_hat * self.weight + self.bias, dx, (dy * x_hat).sum(0), dy.sum(0)


def made(warmup, dtype=np.float64, **options):
    """A layer with weights and bias that are not trivial."""
    layer = nn.PowerNorm(C, EPS, warmup=warmup, **options).to(np.dtype(dtype).name)
    layer.weight.copy_(tn.tensor([1.5, -0.75, 0.5], dtype=dtype))
    layer.bias.copy_(tn.tensor([0.25, 0.125, -0.375], dtype=dtype))
    return layer


def step(layer, x, dy):
    x = Tensor(x, requires_grad=True)
    y = layer(x)
    gradients = grad(y, [x, layer.weight, layer.bias], dy)
    return [to_numpy(a.array) for a in (y, *gradients)]


def state(layer):
    return [to_numpy(a.array).copy() for a in (layer.running_rms, layer.running_projection)]


def compare_with_walk(backend, dtype, warmup, tolerance):
    with tn.use_backend(backend):
        layer = made(warmup, dtype)
        walk = Walk(np.array([1.5, -0.75, 0.5]), np.array([0.25, 0.125, -0.375]), warmup=warmup)
        for k in range(7):
            x, dy = (
                (1 + k) * normal(4, 5, C, seed=k).astype(dtype),
                normal(4, 5, C, seed=50 + k).astype(dtype),
            )
            rows = (a.reshape(-1, C).astype(np.float64) for a in (x, dy))
            for ours, right in zip(step(layer, x, dy), walk.step(*rows), strict=True):
                np.testing.assert_allclose(ours.reshape(right.shape), right, rtol=tolerance, atol=tolerance)
            for ours, right in zip(state(layer), (np.sqrt(walk.square), walk.nu), strict=True):
                np.testing.assert_allclose(ours, right, rtol=tolerance, atol=tolerance)
        assert layer.num_batches_tracked.item() == 7


@backends
@pytest.mark.parametrize("warmup", [0, 3, 100])
def test_several_steps_are_those_of_the_paper(warmup, backend):
    compare_with_walk(backend, np.float64, warmup, 1e-12)
    compare_with_walk(backend, np.float32, warmup, 1e-4)


def test_the_walk_sees_a_mistake(monkeypatch):
    monkeypatch.setattr(powernorm, "_projection", lambda weight, dweight, x: dweight / len(x))  # without w
    with pytest.raises(AssertionError):
        compare_with_walk("numpy", np.float64, 0, 1e-12)


def slopes(f, x, h=1e-6):
    """Central differences of f at x."""
    found = np.empty_like(x)
    for i in range(x.size):
        moved = [x.copy(), x.copy()]
        moved[0].flat[i] += h
        moved[1].flat[i] -= h
        found.flat[i] = (f(moved[0]) - f(moved[1])) / (2 * h)
    return found


def test_the_gradient_is_that_of_the_loss_less_a_penalty():
    """Of L - Σ ν·Σ x̂²/2, with ν and Ψ constant. Of L alone it is with ν = 0."""
    x, dy, rms, nu, weight = (
        normal(5, C),
        normal(5, C, seed=1),
        np.array([0.5, 1, 2]),
        normal(C),
        normal(C, seed=2),
    )

    def dx_for(nu):
        tensor = Tensor(x, requires_grad=True)
        y = F.power_norm(tensor, Tensor(rms), nu, Tensor(weight), None, True, momentum=0, eps=EPS)
        return grad(y, [tensor], dy)[0].numpy()

    def loss(x):
        return (weight * x / np.sqrt(rms**2 + EPS) * dy).sum()

    def penalized(x):
        return loss(x) - (nu * (x**2 / (rms**2 + EPS)).sum(0)).sum() / 2

    np.testing.assert_allclose(dx_for(Tensor(nu)), slopes(penalized, x), rtol=1e-7, atol=1e-7)
    for zero in (None, Tensor(0 * nu)):
        np.testing.assert_allclose(dx_for(zero), slopes(loss, x), rtol=1e-7, atol=1e-7)
    assert abs(dx_for(Tensor(nu)) - slopes(loss, x)).max() > 0.1


def test_at_rest_nothing_is_left_along_x_hat():
    """Of a batch that comes again and again, as exactly in warm-up; ν is Λ/Γ then."""
    layer, x, dy = made(0), 3 * normal(20, C), normal(20, C, seed=1)
    for _ in range(400):
        _, dx, *_ = step(layer, x, dy)
    np.testing.assert_allclose((dx * x).sum(0), 0, atol=1e-10)
    np.testing.assert_allclose(dx, step(made(1), x, dy)[1], rtol=1e-3, atol=1e-5)  # eps is in warm-up's only


def test_only_training_writes_and_nothing_does_with_momentum_0():
    x, dy = normal(6, C), normal(6, C, seed=1)
    for layer in (made(0, momentum=0.0), made(2, momentum=0.0), made(0).eval()):
        before = state(layer)
        for _ in range(3):
            step(layer, x, dy)
        np.testing.assert_array_equal(state(layer), before)


def test_forward_moves_one_value_and_its_first_backward_the_other():
    layer, x = made(0), Tensor(normal(6, C), requires_grad=True)
    start = state(layer)
    y = layer(x)
    after_forward = state(layer)
    assert (after_forward[0] != start[0]).all()
    np.testing.assert_array_equal(after_forward[1], start[1])
    y.sum().backward(retain_graph=True)
    once, dx = state(layer)[1], x.grad.numpy().copy()
    assert (once != start[1]).all()
    x.grad = None
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), dx)  # the node keeps the ν of its forward pass
    np.testing.assert_array_equal(state(layer)[1], once)  # a second backward of one forward moves nothing
    np.testing.assert_array_equal(state(layer)[0], after_forward[0])


def test_evaluation_is_the_running_value_and_its_gradient_exact():
    layer, x, dy = made(0), normal(6, C), normal(6, C, seed=1)
    step(layer, 2 * x, dy)
    rms, nu = state(layer)
    assert nu.all()
    y, dx, *_ = step(layer.eval(), x, dy)
    r = 1 / np.sqrt(rms**2 + EPS)
    np.testing.assert_allclose(y, x * r * layer.weight.numpy() + layer.bias.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, r * layer.weight.numpy() * dy, rtol=1e-12)


def test_training_goes_on_from_a_saved_state():
    layer, batches = made(3), [(normal(6, C, seed=k), normal(6, C, seed=9 + k)) for k in range(6)]
    for batch in batches[:2]:
        step(layer, *batch)
    again = made(3)
    again.load_state_dict(layer.state_dict())
    for batch in batches[2:]:  # the third is the last one of warm-up
        for a, b in zip(step(layer, *batch), step(again, *batch), strict=True):
            np.testing.assert_array_equal(a, b)
    layer.reset_running_stats()
    np.testing.assert_array_equal(state(layer), state(made(3)))
    assert layer.num_batches_tracked.item() == 0


@backends
@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e-18, 1e18, 1e30, 3e37])
def test_any_size_of_numbers_gives_right_results(size, backend):
    x, dy = (size * normal(40, C)).astype(np.float32), normal(40, C, seed=1).astype(np.float32)
    x[:, 1] = size
    options = {"training": True, "momentum": 0.0, "eps": 0.0, "warming_up": True}

    def results(dtype):
        tensor = Tensor(x.astype(dtype), requires_grad=True)
        y = F.power_norm(tensor, tn.ones(C, dtype=dtype), **options)
        return [to_numpy(a.array) for a in (y, *grad(y, [tensor], dy.astype(dtype)))]

    exact = results(np.float64)
    with tn.use_backend(backend):
        found = results(np.float32)
    for ours, right in zip(found, exact, strict=True):
        np.testing.assert_allclose(ours / abs(right).max(), right / abs(right).max(), rtol=1e-5, atol=1e-6)


def test_the_running_value_does_not_overflow():
    layer = made(100, np.float32)
    step(layer, np.full((4, C), 1e30, np.float32), np.ones((4, C), np.float32))
    np.testing.assert_allclose(layer.running_rms.numpy(), 1e30 * 0.1**0.5, rtol=1e-6)


@backends
def test_large_means_and_single_rows_and_nothing_at_all(backend):
    with tn.use_backend(backend):
        x = (1e4 + 1e-2 * normal(50, C)).astype(np.float32)
        y, dx, *_ = step(made(1, np.float32), x, np.ones_like(x))
        np.testing.assert_allclose(y, np.broadcast_to([1.75, -0.625, 0.125], x.shape), rtol=1e-5)
        assert abs(dx).max() < 1e-9  # the gradient along x is 0
        y, dx, *_ = step(made(1, np.float32), np.float32([[2, -3, 0]]), np.ones((1, C), np.float32))
        np.testing.assert_allclose(y, [[1.75, 0.875, -0.375]], rtol=1e-3)
        assert np.isfinite(dx).all()
        for shape in ((0, C), (2, 0, C)):
            layer = made(0)
            assert step(layer, np.ones(shape), np.ones(shape))[1].shape == shape
            np.testing.assert_array_equal(state(layer), state(made(0)))
        assert F.power_norm(tn.ones(2, 0), tn.ones(0), training=True).shape == (2, 0)


ROWS_AND_FEATURES = [(1, 1), (31, 2), (32, 33), (33, 1), (65, 300), (1023, 2), (4096, 1)]


@needs_compiler
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize(("N", "features"), ROWS_AND_FEATURES)
def test_the_kernels_for_any_number_of_rows_and_features(N, features, checked):
    rms = fixed(np.full(features, 0.5))
    for dtype in ("float32", "float64", "float16"):
        case = Case(
            ((N, features), rms, None, (features,), (features,)),
            {"training": True, "momentum": 0.0, "warming_up": True},
        )
        with emulator.schedule(seed=1, checked=checked), emulator.record() as launches:
            assert worst_error(REGISTRY["power_norm"], case, dtype) <= TOLERANCE[dtype]
        names = [launch.name.partition("<")[0] for launch in launches]
        assert [name for name in names if name != "column_sums"] == [
            *("squares_of_columns", "fixed_norm_forward", "power_norm_backward", "power_norm_backward")
        ]


def test_results_do_not_depend_on_threads():
    x = normal(3000, 200).astype(np.float32)
    rms = KERNELS["root_mean_squares"]
    whole = rms(x)
    with tn.backends.cpu.blocks.settings(threads=2):
        np.testing.assert_array_equal(rms(x), whole)
    np.testing.assert_allclose(whole, np.sqrt((x.astype(np.float64) ** 2).mean(0)), rtol=1e-6)
    with tn.use_loops("off"):
        np.testing.assert_allclose(rms(x), whole, rtol=1e-6)
