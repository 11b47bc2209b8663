"""What the registry cannot say of local response normalization: windows, extremes, the paper, kernels."""

import shutil

import numpy as np
import pytest
from kernel_runs import TOLERANCE, worst_error
from twins import compare_gradients, compare_training, exchange_states, twins

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cpu.blocks import settings
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample import localresponsenorm
from tinygrad_norm.registry import REGISTRY, Case

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
backends = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def forward_backward(x, dy, backend="numpy", **options):
    with tn.use_backend(backend):
        x = Tensor(x, requires_grad=True)
        y = F.local_response_norm(x, **options)
        (dx,) = grad(y, [x], dy.astype(x.dtype))
        return to_numpy(y.array).copy(), to_numpy(dx.array).copy()


def by_the_window(x, size, alpha, beta, k):
    """The definition, channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (window**2).sum(1)) ** beta
    return y


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 31])
def test_every_window_by_its_definition(channels, size):
    x, options = normal(2, channels, 3, 2), {"size": size, "alpha": 2.0, "beta": 0.6, "k": 1.5}
    np.testing.assert_allclose(
        F.local_response_norm(Tensor(x), **options).numpy(), by_the_window(x, **options)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 20])
def test_a_gradient_reaches_the_channels_of_its_window_and_no_others(size):
    C, c = 7, 3
    dy = np.zeros((1, C, 1))
    dy[0, c] = 1
    _, dx = forward_backward(normal(1, C, 1), dy, size=size, alpha=1.0)
    reached = np.flatnonzero(dx[0, :, 0])
    np.testing.assert_array_equal(reached, np.arange(max(0, c - size // 2), min(C, c + (size - 1) // 2 + 1)))


@backends
@pytest.mark.parametrize("k", [0.0, 1.0])
@pytest.mark.parametrize("beta", [0.5, 0.75, 2.0])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1.0, 1e8, 1e15, 1e20, 1e30], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_right_results(scale, beta, k, backend):
    x, dy = (normal(2, 6, 3) * scale).astype(np.float32), normal(2, 6, 3, seed=1)
    x[0, 2] = 0
    options = {"size": 3, "alpha": 0.5, "beta": beta, "k": k}
    with np.errstate(over="ignore"):
        right = [a.astype(np.float32) for a in forward_backward(x.astype(np.float64), dy, **options)]
    for ours, exact in zip(forward_backward(x, dy, backend, **options), right, strict=True):
        in_range = (abs(exact) < 1e36) & ((abs(exact) > 1e-30) | (exact == 0))
        assert not np.isnan(ours).any()
        size = abs(exact[in_range]).max(initial=0)
        np.testing.assert_allclose(ours[in_range], exact[in_range], rtol=1e-4, atol=1e-5 * size + 1e-44)


@pytest.mark.parametrize("k", [0.0, 1.0])
def test_a_large_channel_changes_nothing_outside_of_its_windows(k):
    """Neither in float32's ordinary range, where differences of running sums would cancel, nor beyond."""
    x, dy = normal(2, 9, 4).astype(np.float32), normal(2, 9, 4, seed=1).astype(np.float32)
    options = {"size": 3, "alpha": 1.0, "k": k}
    alone = forward_backward(x, dy, **options)
    for large in (1e4, 1e8, 1e25):
        x[:, 0] = large
        for ours, before in zip(forward_backward(x, dy, **options), alone, strict=True):
            np.testing.assert_allclose(ours[:, 3:], before[:, 3:], rtol=2e-5)


@backends
@pytest.mark.parametrize("beta", [-0.5, 0.0, 0.25, 0.5, 0.75, 3.0])
def test_windows_of_zeros_with_k_0_are_zero_with_a_finite_gradient(beta, backend):
    x, dy = normal(2, 8, 3).astype(np.float32), normal(2, 8, 3, seed=1)
    x[0, :, 1] = 0
    x[1, 2:7, 0] = 0
    y, dx = forward_backward(x, dy, backend, size=3, alpha=1.0, beta=beta, k=0.0)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert not y[x == 0].any()
    if beta > 0:
        assert not dx[0, :, 1].any()
        assert not dx[1, 3:6, 0].any()
    assert dx[1, 1, 0] != 0


@backends
def test_infinity_and_nan_stay_in_their_windows(backend):
    x, dy = normal(3, 8, 2), normal(3, 8, 2, seed=1)
    clean = forward_backward(x, dy, backend, size=3)
    x[0, 0, 0], x[1, 7, 1] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        y, dx = forward_backward(x, dy, backend, size=3)
    assert np.isnan(y[0, 0, 0])
    assert np.isnan(y[1, 6:, 1]).all()
    for ours, before in zip((y, dx), clean, strict=True):
        np.testing.assert_allclose(ours[0, 3:], before[0, 3:], rtol=1e-12)
        np.testing.assert_allclose(ours[1, :5], before[1, :5], rtol=1e-12)
        np.testing.assert_allclose(ours[2], before[2], rtol=1e-12)


def test_the_results_do_not_depend_on_blocks_and_threads():
    x, dy = normal(9, 5, 40), normal(9, 5, 40, seed=1)
    whole = forward_backward(x, dy, size=3, alpha=1.0)
    with settings(block=200, threads=2):
        parts = forward_backward(x, dy, size=3, alpha=1.0)
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sample_near_the_limits_is_computed_with_care_and_no_other():
    x, dy = normal(3, 5, 40).astype(np.float32), normal(3, 5, 40, seed=1).astype(np.float32)
    with tn.use_loops("python"):  # the body computes all samples anew
        alone = forward_backward(x, dy, size=3, alpha=1.0)
        x[1] *= np.float32(1e25)
        found = forward_backward(x, dy, size=3, alpha=1.0)
    right = forward_backward(x.astype(np.float64), dy, size=3, alpha=1.0)
    for ours, before, exact in zip(found, alone, right, strict=True):
        np.testing.assert_array_equal(ours[[0, 2]], before[[0, 2]])
        np.testing.assert_allclose(ours[1], exact[1], rtol=1e-4, atol=1e-5 * abs(exact[1]).max())


def test_a_power_that_leaves_float32_on_the_way_to_a_result_within():
    """Of d = 1e29, the power d^-1.5 by which x is multiplied has no digit left, but the product is 1e-29."""
    x = (1e15 * (1 + abs(normal(2, 5, 3)))).astype(np.float32)
    options = {"size": 3, "alpha": 0.1, "beta": 1.5}
    with tn.use_loops("python"):
        y = F.local_response_norm(Tensor(x), **options).numpy()
    np.testing.assert_allclose(y, by_the_window(x.astype(float), k=1.0, **options), rtol=1e-4)


CHANNELS_AND_SIZES = [(1, 1), (3, 5), (15, 4), (16, 31), (17, 2), (33, 5), (40, 100)]


@needs_compiler
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize(("channels", "size"), CHANNELS_AND_SIZES)
def test_the_kernels_for_any_number_of_channels_and_positions(channels, size, checked):
    for dtype, S in (("float32", 1), ("float64", 33), ("float16", 2)):
        case = Case(((2, channels, S),), {"size": size, "alpha": 2.0})
        with emulator.schedule(seed=1, checked=checked), emulator.record() as launches:
            assert worst_error(REGISTRY["local_response_norm"], case, dtype) <= TOLERANCE[dtype]
        assert [launch.name.split("<")[0][len("local_response_norm_") :] for launch in launches] == [
            "forward",
            "backward",
        ]


@needs_compiler
@pytest.mark.parametrize("S", [1023, 4096, pytest.param(65537, marks=pytest.mark.slow)])
def test_the_kernels_for_many_positions(S):
    case = Case(((1, 3, S),), {"size": 3, "alpha": 1.0})
    assert worst_error(REGISTRY["local_response_norm"], case, "float32") <= TOLERANCE["float32"]


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "max(c - above, 0LL), high = min(c + below + 1, C)",
            "max(c - below, 0LL), high = min(c + above + 1, C)",
        ),
        ("- slope * A(x[at]) * sum", "- slope * sum"),
        ("d += z * z", "d = z * z"),
    ],
    ids=["a window that is not mirrored", "no x", "the last channel only"],
)
def test_planted_errors_in_the_kernels_are_seen(old, new, tmp_path, monkeypatch):
    source = CudaSource(localresponsenorm.__file__, "../core/moments.cuh")
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / source.path.name
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    monkeypatch.setattr(localresponsenorm, "_kernels", source)
    case = Case(((2, 5, 3),), {"size": 4, "alpha": 2.0})
    assert worst_error(REGISTRY["local_response_norm"], case, "float32") > 1e-2


def test_half_precision_is_only_stored():
    x, dy = normal(2, 8, 16).astype(np.float16), normal(2, 8, 16, seed=1).astype(np.float16)
    options = {"size": 5, "alpha": 1.0}
    right = forward_backward(x.astype(np.float64), dy.astype(np.float64), **options)
    for ours, expected in zip(forward_backward(x, dy, **options), right, strict=True):
        assert ours.dtype == np.float16
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("n", [4, 5])
def test_the_papers_formula_sums_on_both_sides_and_divides_alpha_by_nothing(n):
    x = normal(2, 9, 3)
    y = nn.LocalResponseNorm.as_in_the_paper(n)(Tensor(x)).numpy()
    for c in range(9):
        window = x[:, max(0, c - n // 2) : min(8, c + n // 2) + 1]
        np.testing.assert_allclose(y[:, c], x[:, c] / (2 + 1e-4 * (window**2).sum(1)) ** 0.75, rtol=1e-13)


def test_batches_of_no_samples_and_places_without_any():
    for shape in ((0, 3, 4), (2, 3, 0), (2, 0, 4)):
        y, dx = forward_backward(np.ones(shape), np.ones(shape), size=3)
        assert y.shape == dx.shape == shape


def network(library):
    conv = library.Conv2d(2, 6, 3)
    return library.Sequential(conv, library.LocalResponseNorm(4, 0.5, 0.6, 1.5), library.Flatten())


def test_in_a_network_as_in_pytorch(torch, tmp_path):
    x = normal(3, 2, 5, 4)
    compare_gradients(torch, *twins(torch, network), [x], {})
    compare_training(torch, *twins(torch, network), [x], {}, lr=0.2)
    exchange_states(twins(torch, network), twins(torch, network, seed=1), tmp_path)


def test_it_prints_as_in_pytorch(torch):
    assert repr(nn.LocalResponseNorm(5, k=2.0)) == repr(torch.nn.LocalResponseNorm(5, k=2.0))
