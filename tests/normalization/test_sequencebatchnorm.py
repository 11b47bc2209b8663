"""Batch normalization of padded sequences: valid frames only, per time step or over all."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
T, N, C = 5, 4, 3
X, DY = RNG.normal(2.0, 3.0, (T, N, C)), RNG.normal(size=(T, N, C))
MASK = np.arange(T)[:, None] < [5, 3, 5, 2]
W, B = np.array([1.5, -0.5, 2.0]), np.array([0.1, 0.2, 0.3])


def results(normalize, x=X, dy=DY):
    x, w, b = (tn.tensor(a, requires_grad=True) for a in (x, W, B))
    y = normalize(x, w, b)
    return [y.numpy(), *(dx.numpy() for dx in grad(y, [x, w, b], tn.tensor(dy)))]


def normalized(mode, mask=MASK, x=X, dy=DY):
    return results(
        lambda x, w, b: F.sequence_batch_norm(x, mask, weight=w, bias=b, mode=mode, training=True), x, dy
    )


@pytest.mark.parametrize("mode", ["frame", "sequence"])
def test_padding_has_output_and_gradient_exactly_0_and_no_effect_whatever_it_holds(mode):
    y, dx, dw, db = normalized(mode)
    assert (y[~MASK] == 0).all()
    assert (dx[~MASK] == 0).all()
    assert (dx[MASK] != 0).all()
    spoiled = np.where(MASK[..., None], X, np.nan)
    dy = np.where(MASK[..., None], DY, np.inf)
    for found, expected in zip(normalized(mode, x=spoiled, dy=dy), (y, dx, dw, db), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_frames_are_batches_of_their_own():
    found = normalized("frame")
    parts = [
        results(
            lambda x, w, b: F.batch_norm(x, weight=w, bias=b, training=True), X[t][MASK[t]], DY[t][MASK[t]]
        )
        for t in range(T)
    ]
    for k in (0, 1):
        for t in range(T):
            np.testing.assert_allclose(found[k][t][MASK[t]], parts[t][k], 1e-12, 1e-14)
    for k in (2, 3):
        np.testing.assert_allclose(found[k], sum(part[k] for part in parts), 1e-12)


def test_sequence_wise_all_valid_frames_are_one_batch():
    found = normalized("sequence")
    expected = results(lambda x, w, b: F.batch_norm(x, weight=w, bias=b, training=True), X[MASK], DY[MASK])
    for k in (0, 1):
        np.testing.assert_array_equal(found[k][MASK], expected[k])
    for k in (2, 3):
        np.testing.assert_array_equal(found[k], expected[k])


def test_the_running_statistics_are_means_in_which_a_step_has_the_weight_of_its_frames():
    layer = nn.SequenceBatchNorm(C, momentum=1.0).double()
    layer(tn.tensor(X), MASK)
    squares = sum(((X[t][MASK[t]] - X[t][MASK[t]].mean(0)) ** 2).sum(0) for t in range(T))
    np.testing.assert_allclose(layer.running_mean.numpy(), X[MASK].mean(0), 1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), squares / (MASK.sum() - T), 1e-12)
    layer = nn.SequenceBatchNorm(C, "sequence", momentum=1.0).double()
    layer(tn.tensor(X), MASK)
    np.testing.assert_allclose(layer.running_var.numpy(), X[MASK].var(0, ddof=1), 1e-12)


def test_running_statistics_per_step_are_those_of_the_step_and_the_last_are_used_on():
    mean, var = (tn.tensor(np.full((3, C), 7.0)) for _ in range(2))
    F.sequence_batch_norm(tn.tensor(X), MASK, mean, var, training=True, momentum=0.25)
    for t in range(3):
        np.testing.assert_allclose(mean.numpy()[t], 0.75 * 7 + 0.25 * X[t][MASK[t]].mean(0), 1e-12)
        np.testing.assert_allclose(var.numpy()[t], 0.75 * 7 + 0.25 * X[t][MASK[t]].var(0, ddof=1), 1e-12)
    y = F.sequence_batch_norm(tn.tensor(X), MASK, mean, var).numpy()
    at = [0, 1, 2, 2, 2]
    expected = (X - mean.numpy()[at][:, None]) / np.sqrt(var.numpy()[at][:, None] + 1e-5)
    np.testing.assert_allclose(y, np.where(MASK[..., None], expected, 0), 1e-12)


def test_batch_first_swaps_the_axes_of_the_input_and_of_the_mask():
    layer, swapped = nn.SequenceBatchNorm(C), nn.SequenceBatchNorm(C, batch_first=True)
    x = X.astype("float32")
    for mask in (MASK, None):
        y = swapped(tn.tensor(x.swapaxes(0, 1)), None if mask is None else tn.tensor(mask.T)).numpy()
        np.testing.assert_array_equal(layer(tn.tensor(x), mask).numpy(), y.swapaxes(0, 1))
    layer.eval()
    with pytest.raises(ValueError, match=r"mask has shape \(5, 4\), expected \(4, 5\)"):
        swapped(tn.tensor(x.swapaxes(0, 1)), MASK)


def test_a_nan_spoils_its_channel_and_frame_only():
    x = X.astype("float32")
    x[2, 1, 0] = np.nan
    spoiled = np.isnan(F.sequence_batch_norm(tn.tensor(x), MASK, training=True).numpy())
    assert spoiled[2, MASK[2], 0].all()
    assert spoiled.sum() == MASK[2].sum()


@pytest.mark.parametrize("mode", ["frame", "sequence"])
@pytest.mark.parametrize(("shift", "scale"), [(0, 1e30), (0, 1e-30), (1e4, 1e-2), (3, 0)])
def test_extreme_numbers_are_as_in_float64(mode, shift, scale):
    x = (shift + X * scale).astype("float32")
    y = F.sequence_batch_norm(tn.tensor(x), MASK, mode=mode, training=True)
    wide = F.sequence_batch_norm(tn.tensor(x.astype("float64")), MASK, mode=mode, training=True)
    of_mean = (
        np.spacing(np.float32(shift)) / (3 * scale) if scale == 1e-2 else 0
    )  # rounding of the mean itself
    np.testing.assert_allclose(y.numpy(), wide.numpy(), 1e-5, 1e-5 + of_mean)


def test_without_valid_frames_nothing_is_learned_and_nothing_is_measured():
    layer = nn.SequenceBatchNorm(C)
    x = tn.tensor(X.astype("float32"), requires_grad=True)
    y = layer(x, np.zeros((T, N), bool))
    y.sum().backward()
    assert not y.numpy().any()
    assert not x.grad.numpy().any()
    assert (layer.running_var.numpy() == 1).all()
