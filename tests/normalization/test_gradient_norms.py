"""Normalizations of gradients: adaptive clipping, unit normalization, centralization."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.backends import emulator
from tinygrad_norm.nn import utils

SHAPES = [(4, 3), (3, 2, 2, 2), (5,), (), (1, 6), (4, 1), (5, 1, 1, 1), (0, 3), (3, 0), (0,)]


def parameter(weight, grad, dtype=np.float64):
    result = nn.Parameter(np.asarray(weight, dtype))
    result.grad = Tensor(np.asarray(grad, dtype))
    return result


def drawn(shape, scale=1.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return parameter(rng.normal(size=shape), scale * rng.normal(size=shape), dtype)


def reference_agc(weight, grad, clip_factor=0.01, eps=1e-3):
    """timm.utils.agc.adaptive_clip_grad: unitwise_norm, clamp, where; a gain (K, 1, 1, 1) is one unit."""

    def unitwise_norm(x):
        axes = tuple(range(1, x.ndim)) if x.ndim == 2 or x.squeeze().ndim > 1 else None
        return np.sqrt(np.sum(np.square(x), axis=axes, keepdims=True))

    most = np.maximum(unitwise_norm(weight), eps) * clip_factor
    length = unitwise_norm(grad)
    return np.where(length < most, grad, grad * (most / np.maximum(length, 1e-6)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adaptive_clipping_is_timms(shape, scale):
    p = drawn(shape, scale)
    expected = reference_agc(p.array, p.grad.array)
    utils.adaptive_clip_grad_(p)
    np.testing.assert_allclose(p.grad.array, expected, rtol=1e-12)


def test_the_gain_of_a_convolution_is_one_unit():
    flat, gain = drawn((5,), 7.0), drawn((5, 1, 1, 1), 7.0)
    utils.adaptive_clip_grad_([flat, gain])
    np.testing.assert_array_equal(gain.grad.array.ravel(), flat.grad.array)


def test_adaptive_clipping_goes_unit_by_unit():
    """Units of zero weights, of zero gradients, and below the limit; others do not change them."""
    weight = [[3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]
    grad = [[30.0, 40.0], [0.3, 0.4], [0.0, 0.0], [0.03, 0.04]]
    p = parameter(weight, grad)
    utils.adaptive_clip_grad_(p)
    expected = [[0.03, 0.04], [6e-6, 8e-6], [0.0, 0.0], [0.03, 0.04]]
    np.testing.assert_allclose(p.grad.array, expected, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_stays_in_its_unit(bad):
    p = drawn((3, 4), 10.0)
    expected = reference_agc(p.array, p.grad.array)
    p.grad.array[1, 2] = bad
    expected[1] = np.where([False, False, np.isinf(bad), False], np.nan, 0 if np.isinf(bad) else np.nan)
    utils.adaptive_clip_grad_(p)
    np.testing.assert_allclose(p.grad.array, expected, rtol=1e-12)
    q = drawn((3, 4), 10.0)
    q.grad.array[1, 2] = bad
    utils.centralize_grad_(q)
    assert np.isnan(q.grad.array[1, 2])
    assert np.isfinite(q.grad.array[[0, 2]]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_lower_precision_agrees_with_float64(dtype, scale):
    p, q, r = (drawn((6, 50), scale, dtype=dtype) for _ in range(3))
    weight, grad = p.array.astype(np.float64), p.grad.array.astype(np.float64)
    rtol = 2 * np.finfo(dtype).eps
    utils.adaptive_clip_grad_(p)
    np.testing.assert_allclose(p.grad.array, reference_agc(weight, grad), rtol=rtol, atol=1e-7)
    utils.centralize_grad_(q)
    centred = grad - grad.mean(1, keepdims=True)
    np.testing.assert_allclose(q.grad.array, centred, rtol=rtol, atol=rtol * scale)
    norm = utils.normalize_grad_(r)
    assert norm.item() == pytest.approx(np.linalg.norm(grad), rel=1e-5)
    np.testing.assert_allclose(r.grad.array, grad / np.linalg.norm(grad), rtol=rtol, atol=1e-7)
    assert p.grad.array.dtype == q.grad.array.dtype == r.grad.array.dtype == dtype


def test_extreme_lengths():
    p = parameter(np.full((3, 4), 1e30), np.full((3, 4), 1e38), np.float32)
    utils.adaptive_clip_grad_(p)
    np.testing.assert_allclose(p.grad.array, np.float32(1e28), rtol=1e-5)
    p = parameter(np.full((3, 4), 1e-30), np.full((3, 4), 1e-30), np.float32)
    utils.adaptive_clip_grad_(p)  # eps and the least gradient stand in for both: far below the limit
    np.testing.assert_array_equal(p.grad.array, np.float32(1e-30))
    p = parameter(np.ones((2, 4)), [[1e4 + 1e-2, 1e4 - 1e-2] * 2, [1e30] * 4], np.float32)
    expected = p.grad.array - p.grad.array.astype(np.float64).mean(1, keepdims=True)
    utils.centralize_grad_(p)
    np.testing.assert_allclose(p.grad.array[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(p.grad.array[1], 0, atol=1e24)
    for scale in (1e30, 1e-30):
        p = drawn((3, 4), scale, dtype=np.float32)
        grad = p.grad.array.astype(np.float64)
        utils.normalize_grad_(p, eps=1e-35)
        np.testing.assert_allclose(p.grad.array, grad / np.linalg.norm(grad), rtol=1e-5)


# -- unit normalization


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_unit_normalization_leaves_the_direction(norm_type):
    ps = [drawn((4, 3), 50.0), drawn((3,), 1e-3, seed=1), nn.Parameter(np.ones(2))]
    before = np.concatenate([p.grad.array.ravel() for p in ps[:2]])
    norm = utils.normalize_grad_(ps, norm_type)
    after = np.concatenate([p.grad.array.ravel() for p in ps[:2]])
    length = np.linalg.norm(before, norm_type)
    assert norm.item() == pytest.approx(length, rel=1e-12)
    np.testing.assert_allclose(after, before / length, rtol=1e-12)
    assert ps[2].grad is None


def test_unit_normalization_of_nothing():
    p = parameter([1.0, 2.0], [0.0, 0.0])
    assert utils.normalize_grad_(p).item() == 0
    np.testing.assert_array_equal(p.grad.array, 0)
    assert utils.normalize_grad_([]).item() == 0


# -- centralization


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_centralization_is_the_projection_of_every_unit(shape):
    p = drawn(shape, 3.0)
    expected = p.grad.array.copy()
    if (len(shape) == 2 or np.prod(shape[1:]) != 1) and p.grad.array.size:  # otherwise a vector
        D = int(np.prod(shape[1:]))
        P = np.eye(D) - np.ones((D, D)) / D
        expected = (expected.reshape(-1, D) @ P).reshape(shape)
    held = p.grad.array
    utils.centralize_grad_(p)
    np.testing.assert_allclose(held, expected, rtol=1e-12, atol=1e-13)
    utils.centralize_grad_(p)  # a projection: the second time changes nothing
    np.testing.assert_allclose(held, expected, rtol=1e-12, atol=1e-13)


def test_centralized_steps_keep_the_sum_of_a_units_weights():
    tn.manual_seed(0)
    layer = nn.Linear(6, 4).double()
    before = layer.weight.array.sum(1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    x, y = Tensor(np.random.default_rng(0).normal(size=(32, 6)) + 3), Tensor(np.ones((32, 4)))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(x), y).backward()
        utils.centralize_grad_(layer.parameters())
        optimizer.step()
    np.testing.assert_allclose(layer.weight.array.sum(1), before, rtol=1e-12)


def test_the_projection_is_the_path_through_a_centred_weight():
    """The gradient of W through W - mean(W) is the centralized gradient of the centred weight."""
    rng = np.random.default_rng(0)
    x, dy = Tensor(rng.normal(size=(5, 6))), Tensor(rng.normal(size=(5, 4)))
    weight = tn.tensor(rng.normal(size=(4, 6)), requires_grad=True)
    centred = weight - weight.mean(1, keepdim=True)
    nn.functional.linear(x, centred).backward(dy)
    plain = parameter(centred.array.copy(), np.zeros((4, 6)))
    plain.grad = None
    nn.functional.linear(x, plain).backward(dy)
    utils.centralize_grad_(plain)
    np.testing.assert_allclose(weight.grad.array, plain.grad.array, rtol=1e-12)


# -- what all of them do


CALLS = {
    "adaptive": utils.adaptive_clip_grad_,
    "unit": utils.normalize_grad_,
    "centralize": utils.centralize_grad_,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_they_write_into_the_gradients_own_memory(call):
    ps = [drawn((4, 3), 100.0), drawn((4, 3), 100.0), nn.Parameter(np.ones(2))]
    ps[1].grad = Tensor(np.asfortranarray(ps[1].grad.array))  # not contiguous
    held = [p.grad.array for p in ps[:2]]
    before = [array.copy() for array in held]
    call(p for p in ps)
    for p, array, old in zip(ps, held, before, strict=False):
        assert p.grad.array is array
        assert (array != old).any()
    np.testing.assert_allclose(held[0], held[1], rtol=1e-12)  # the layout changes no value
    assert ps[2].grad is None


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_not_a_parameter_is_named(call):
    with pytest.raises(TypeError, match=r"the module Linear: pass its parameters\(\)"):
        call(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="not named_parameters"):
        call(nn.Linear(2, 2).named_parameters())
    with pytest.raises(TypeError, match="got int"):
        call(3)
    with pytest.warns(UserWarning, match="generator of tensors is empty") as seen:
        call(p for p in ())
    assert seen[0].filename == __file__


def test_bad_limits_of_the_unit_normalization():
    with pytest.raises(ValueError, match="eps must be positive, got 0"):
        utils.normalize_grad_([], eps=0)
    with pytest.raises(TypeError, match="eps must be a number"):
        utils.normalize_grad_([], eps="a")
    with pytest.raises(ValueError, match="norm_type"):
        utils.normalize_grad_([], -1)
    p = parameter([1.0], [np.nan])
    with pytest.raises(RuntimeError, match="first layer whose output is not finite"):
        utils.normalize_grad_(p, error_if_nonfinite=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
@pytest.mark.parametrize(
    ("call", "kernel"), [("adaptive", "normalize_forward"), ("centralize", "layer_norm_forward")]
)
def test_on_a_gpu_the_sums_are_those_of_row_kernels(call, kernel):
    on_numpy = [drawn((5, 37), 10.0), drawn((3, 2, 4), 10.0, seed=1)]
    for p in on_numpy:
        CALLS[call](p)
    with tn.use_backend("emulator"), emulator.schedule(checked=True), emulator.record() as launches:
        for i, (shape, expected) in enumerate(zip([(5, 37), (3, 2, 4)], on_numpy, strict=True)):
            p = drawn(shape, 10.0, seed=i)
            CALLS[call](p)
            np.testing.assert_allclose(p.grad.numpy(), expected.grad.array, rtol=1e-12)
    assert {launch.name.partition("<")[0] for launch in launches} == {kernel}
