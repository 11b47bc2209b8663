"""What the registry cannot say of spectral normalization: singular vectors, zeros, extremes."""

import copy
import shutil

import numpy as np
import pytest
from kernel_runs import worst_error

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn.utils.parametrizations import spectral_norm as normalized
from tinygrad_norm.normalization import SpectralNorm, spectral_norm
from tinygrad_norm.normalization.weight.spectralnorm import power_method
from tinygrad_norm.registry import REGISTRY, Case, Input

SLOW = pytest.mark.slow
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
backends = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def singular_vectors(matrix):
    left, values, right = np.linalg.svd(matrix)
    return Tensor(left[:, 0].copy()), Tensor(right[0].copy()), values


def test_with_the_singular_vectors_the_largest_singular_value_becomes_1():
    weight = normal(5, 3)
    u, v, values = singular_vectors(weight)
    found = np.linalg.svd(spectral_norm(Tensor(weight), u, v).numpy())[1]
    np.testing.assert_allclose(found, values / values[0], rtol=1e-13)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_power_method_finds_the_singular_vectors(dim):
    weight = normal(3, 4, 5)
    matrix = np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)
    u, v = Tensor(normal(matrix.shape[0], seed=1)), Tensor(normal(matrix.shape[1], seed=2))
    power_method(Tensor(weight), u, v, 300, dim)
    expected_u, expected_v, _ = singular_vectors(matrix)
    sign = np.sign(u.numpy() @ expected_u.numpy())
    np.testing.assert_allclose(u.numpy(), sign * expected_u.numpy(), atol=1e-10)
    np.testing.assert_allclose(v.numpy(), sign * expected_v.numpy(), atol=1e-10)


def test_for_singular_vectors_the_gradient_is_that_of_the_true_function():
    """Though u and v are constants in it: W / (the largest singular value of W), by finite differences."""
    weight, dy, step = normal(4, 3), normal(4, 3, seed=1), 1e-6

    def loss(w):
        return (w / np.linalg.norm(w, 2) * dy).sum()

    numeric = np.array(
        [(loss(weight + d) - loss(weight - d)) / (2 * step) for d in step * np.eye(12).reshape(12, 4, 3)]
    )
    u, v, _ = singular_vectors(weight)
    x = Tensor(weight, requires_grad=True)
    (dx,) = grad(spectral_norm(x, u, v), [x], dy)
    np.testing.assert_allclose(dx.numpy().reshape(-1), numeric, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose((dx.numpy() * weight).sum(), 0, atol=1e-13)


@backends
def test_a_weight_of_zeros_stays_zero_and_leaves_the_vectors_alone(backend):
    with tn.use_backend(backend):
        norm = SpectralNorm(Tensor(np.zeros((4, 3))))
        before = norm._u.numpy().copy()
        assert np.linalg.norm(before) == pytest.approx(1)
        x = Tensor(np.zeros((4, 3)), requires_grad=True)
        y = norm(x)
        (dx,) = grad(y, [x], normal(4, 3))
        assert not y.numpy().any()
        assert not dx.numpy().any()
        np.testing.assert_array_equal(norm._u.numpy(), before)
        assert np.linalg.norm(norm(Tensor(normal(4, 3))).numpy(), 2) > 0.5


@backends
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e18, 1e30, 3e37], ids="scale {:g}".format)
def test_any_scale_of_the_weight_gives_the_same_result(scale, backend):
    weight, dy = normal(20, 30).astype(np.float32), normal(20, 30, seed=1).astype(np.float32)
    results = []
    for factor in (1, np.float32(scale)):
        tn.manual_seed(3)
        with tn.use_backend(backend):
            x = Tensor(weight * factor, requires_grad=True)
            norm = SpectralNorm(x)
            y = norm(x)
            (dx,) = grad(y, [x], dy)
            results.append((y.numpy(), dx.numpy() * factor, norm._u.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * abs(a).max())


def test_a_weight_with_a_singular_value_beyond_float32():
    weight = np.random.default_rng(0).uniform(-3e38, 3e38, (20, 30)).astype(np.float32)
    exact = weight.astype(np.float64)
    tn.manual_seed(3)
    x = Tensor(weight, requires_grad=True)
    norm = SpectralNorm(x, n_power_iterations=200)
    y = norm(x)
    (dx,) = grad(y, [x], np.ones_like(weight))
    np.testing.assert_allclose(y.numpy(), exact / np.linalg.norm(exact, 2), rtol=1e-4, atol=1e-6)
    assert np.isfinite(dx.numpy()).all()


def test_a_weight_with_one_axis_is_divided_by_its_length():
    x = normal(5)
    norm = SpectralNorm(Tensor(x))
    assert not norm.state_dict()
    np.testing.assert_allclose(norm(Tensor(x)).numpy(), x / np.linalg.norm(x), rtol=1e-14)


def test_the_vectors_come_from_the_seed_and_are_close_from_the_start():
    weight = Tensor(normal(6, 4))
    tn.manual_seed(7)
    first = SpectralNorm(weight)
    tn.manual_seed(7)
    again = SpectralNorm(weight)
    np.testing.assert_array_equal(first._u.numpy(), again._u.numpy())
    assert np.linalg.norm(first(weight).numpy(), 2) == pytest.approx(1, abs=1e-3)


def test_evaluation_leaves_the_vectors_alone_and_training_moves_them():
    weight, other = Tensor(normal(6, 4)), Tensor(normal(6, 4, seed=1))
    norm = SpectralNorm(weight).eval()
    before = norm._u.numpy().copy()
    norm(other)
    np.testing.assert_array_equal(norm._u.numpy(), before)
    norm.train()(other)
    assert abs(norm._u.numpy() - before).max() > 1e-3
    expected = Tensor(norm._u.numpy().copy()), Tensor(norm._v.numpy().copy())
    SpectralNorm.forward(norm, other)
    power_method(other, *expected, 1)
    np.testing.assert_array_equal(norm._u.numpy(), expected[0].numpy())


def test_half_precision_is_only_stored():
    weight, dy = normal(8, 6).astype(np.float16), normal(8, 6, seed=1).astype(np.float16)
    u, v, _ = singular_vectors(weight.astype(np.float64))
    results = []
    for dtype in (np.float16, np.float64):
        x = Tensor(weight.astype(dtype), requires_grad=True)
        y = spectral_norm(x, Tensor(u.numpy().astype(dtype)), Tensor(v.numpy().astype(dtype)))
        (dx,) = grad(y, [x], dy.astype(dtype))
        assert y.dtype == dx.dtype == dtype
        results.append((y.numpy(), dx.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3 * abs(b).max())


@needs_compiler
@pytest.mark.parametrize(
    ("H", "D"),
    [(1, 5), (31, 33), (5, 1023), pytest.param(3, 4096, marks=SLOW), pytest.param(2, 65537, marks=SLOW)],
)
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_the_kernels_take_matrices_of_every_size(H, D, checked):
    u, v = (Input((n,), differentiable=False) for n in (H, D))
    with emulator.schedule(seed=1, checked=checked):
        assert worst_error(REGISTRY["spectral_norm"], Case(((H, D), u, v)), np.float32) <= 1e-5
        assert worst_error(REGISTRY["spectral_norm"], Case(((H, D), u, v)), np.float16) <= 2e-3


@backends
@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e-1, 1e14])
def test_a_step_keeps_length_1_however_short_the_product_is(scale, backend):
    weight, u, v = normal(4, 3).astype(np.float32), normal(4, seed=1), normal(3, seed=2)
    with tn.use_backend(backend):
        vectors = Tensor(u.astype(np.float32)), Tensor(v.astype(np.float32) / 10)
        power_method(Tensor(weight * np.float32(scale)), *vectors, 1)
        found = [to_numpy(x.array) for x in vectors]
    product = weight @ v.astype(np.float32)
    expected_u = product / np.linalg.norm(product)
    product = weight.T @ expected_u
    np.testing.assert_allclose(found[0], expected_u, 1e-5)
    np.testing.assert_allclose(found[1], product / np.linalg.norm(product), 1e-5)


@backends
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tiny_weight_stays_normalized_from_call_to_call(dtype, backend):
    """With a product divided by the default eps of 1e-12, u and v shrank and the weight grew to 1e20."""
    weight = (normal(5, 4) * 1e-14).astype(dtype)
    with tn.use_backend(backend):
        norm = SpectralNorm(Tensor(weight))
        for _ in range(60):
            y = norm(Tensor(weight)).numpy()
    np.testing.assert_allclose(y, weight / np.linalg.norm(weight.astype(np.float64), 2), 1e-3)


def test_a_deep_copy_has_vectors_of_its_own():
    layer = normalized(nn.Linear(5, 4))
    other = copy.deepcopy(layer)
    before = layer.parametrizations.weight[0]._u.numpy().copy()
    other(tn.ones(1, 5))
    np.testing.assert_array_equal(layer.parametrizations.weight[0]._u.numpy(), before)
    assert (other.parametrizations.weight[0]._u.numpy() != before).any()


# -- what the power method promises


def stretch(weight):
    """The largest singular value, as a matrix with one row per output: 1 if σ was exact, more otherwise."""
    return np.linalg.norm(weight.numpy().reshape(len(weight), -1), 2)


@pytest.mark.parametrize("seed", range(5))
def test_after_15_steps_sigma_is_within_1_percent_of_the_svd(seed):
    """If the second singular value is at most 0.8 of the first, whatever the others are."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, 20)))[0] for n in (40, 30))
    weight = left * (5 * np.r_[1, np.full(19, 0.8)]) @ right.T
    tn.manual_seed(seed)
    norm = SpectralNorm(Tensor(weight)).eval()
    assert 1 - 1e-12 <= stretch(norm(Tensor(weight))) < 1.01


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(32, 64), lambda: nn.Conv2d(8, 16, 3)], ids=["linear", "conv"]
)
@pytest.mark.parametrize("seed", range(3))
def test_of_a_random_weight_it_is_within_1_percent_after_100_calls(make, seed):
    """Its largest singular values lie close to each other: after 15 steps, it may be 5 percent."""
    tn.manual_seed(seed)
    weight = make().weight
    norm = SpectralNorm(weight)
    assert 1 - 1e-6 <= stretch(norm.eval()(weight)) < 1.1
    norm.train()
    for _ in range(100):
        y = norm(weight)
    assert 1 - 1e-6 <= stretch(y) < 1.01


def test_kept_vectors_are_better_than_fresh_ones():
    """The same single step in each call, on a weight that drifts as in training."""
    rng = np.random.default_rng(0)
    weight, kept, fresh = rng.normal(size=(30, 20)), [], []
    norm = SpectralNorm(Tensor(weight))
    for _ in range(20):
        weight = weight + 0.02 * rng.normal(size=weight.shape)
        kept.append(np.linalg.norm(norm(Tensor(weight)).numpy(), 2) - 1)
        u, v = (Tensor(x / np.linalg.norm(x)) for x in (rng.normal(size=30), rng.normal(size=20)))
        power_method(Tensor(weight), u, v, 1)
        fresh.append(np.linalg.norm(spectral_norm(Tensor(weight), u, v).numpy(), 2) - 1)
    assert max(kept) < 0.02 < 0.1 < min(fresh)


def test_an_mlp_never_stretches_a_pair_of_points():
    """Three layers with σ = 1, and ReLU between: the Lipschitz constant is at most 1."""
    tn.manual_seed(0)
    layers = [normalized(nn.Linear(*sizes)) for sizes in ((2, 32), (32, 32), (32, 1))]
    mlp = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    for _ in range(200):
        mlp(tn.zeros(1, 2).double())
    mlp.eval()
    a, b = normal(2000, 2), normal(2000, 2, seed=1)
    b[1000:] = a[1000:] + 1e-3 * b[1000:]
    moved = abs(mlp(tn.tensor(a)).numpy() - mlp(tn.tensor(b)).numpy())[:, 0]
    ratios = moved / np.linalg.norm(a - b, axis=1)
    assert ratios.max() <= 1 + 1e-4


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("sizes", [(1, 0), (0, 1), (0, 0), (3, 0), (0, 3)])
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_weights_without_elements(sizes, dim, torch):
    def made(library):
        return library.nn.utils.parametrizations.spectral_norm(library.nn.Linear(*sizes), dim=dim)

    ours, theirs = made(tn), made(torch)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    y = ours(tn.ones(2, sizes[0]))
    y.sum().backward()
    assert y.shape == (2, sizes[1])
    assert ours.parametrizations.weight.original.grad.shape == sizes[::-1]
