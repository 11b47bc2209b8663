"""Online normalization beside an independent loop, and in the long run."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.batch.onlinenorm import online_norm_composed

RNG = np.random.default_rng(0)


class Reference:
    """One sample, and one channel, after the other."""

    def __init__(self, C, a, b, eps=1e-5):
        self.a, self.b, self.eps = a, b, eps
        self.mean, self.var, self.u, self.v = np.zeros(C), np.ones(C), np.zeros(C), np.zeros(C)

    def __call__(self, x, dy):
        z, dx = np.empty_like(x), np.empty_like(x)
        std = np.empty(x.shape[:2])
        for t, c in np.ndindex(*x.shape[:2]):
            std[t, c] = np.sqrt(self.var[c] + self.eps)
            z[t, c] = (x[t, c] - self.mean[c]) / std[t, c]
            step = x[t, c].mean() - self.mean[c]
            self.var[c] = (
                self.a * self.var[c] + (1 - self.a) * x[t, c].var() + self.a * (1 - self.a) * step**2
            )
            self.mean[c] += (1 - self.a) * step
        for t, c in np.ndindex(*x.shape[:2]):
            g = dy[t, c] - (1 - self.b) * self.v[c] * z[t, c]
            self.v[c] += (g * z[t, c]).mean()
            dx[t, c] = g / std[t, c] - (1 - self.b) * self.u[c]
            self.u[c] += dx[t, c].mean()
        return z, dx


@pytest.mark.parametrize("sizes", [(5,), (2, 3), (1, 1, 1, 1, 1)], ids=["5", "2 and 3", "ones"])
def test_it_is_the_loop_and_the_split_into_batches_does_not_matter(sizes):
    x, dy = RNG.normal(1.0, 2.0, (5, 3, 2, 4)), RNG.normal(size=(5, 3, 2, 4))
    reference = Reference(3, 0.9, 0.8)
    zs, dxs = reference(x, dy)
    state = [tn.tensor(a) for a in (np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3))]
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        inputs = tn.tensor(x[part], requires_grad=True)
        z = F.online_norm(inputs, *state, training=True, alpha_fwd=0.9, alpha_bkw=0.8)
        np.testing.assert_allclose(z.numpy(), zs[part], 1e-9)
        np.testing.assert_allclose(grad(z, inputs, tn.tensor(dy[part]))[0].numpy(), dxs[part], 1e-9, 1e-12)
        start += size
    for found, name in zip(state, ("mean", "var", "u", "v"), strict=True):
        np.testing.assert_allclose(found.numpy(), getattr(reference, name), 1e-9)


def test_without_control_the_gradient_is_that_of_constant_statistics():
    x, dy = RNG.normal(size=(4, 3, 5)), RNG.normal(size=(4, 3, 5))
    results = []
    for function in (F.online_norm, online_norm_composed):
        inputs = tn.tensor(x, requires_grad=True)
        y = function(
            inputs, tn.zeros(3).double(), tn.ones(3).double(), training=True, alpha_fwd=0.7, alpha_bkw=1.0
        )
        results.append((y.numpy(), grad(y, inputs, tn.tensor(dy))[0].numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, 1e-9)


def test_in_the_long_run_the_gradient_has_no_part_along_1_and_along_the_output():
    """As BatchNorm's in each batch; the straight path alone keeps both."""
    x = RNG.normal(2.0, 3.0, (6000, 1, 4))
    dy = 0.7 + 0.3 * (x - 2) / 3 + RNG.normal(size=x.shape)
    means = {}
    for b in (0.99, 1.0):
        state = [tn.tensor(a) for a in (np.zeros(1), np.ones(1), np.zeros(1), np.zeros(1))]
        inputs = tn.tensor(x, requires_grad=True)
        z = F.online_norm(inputs, *state, training=True, alpha_fwd=0.99, alpha_bkw=b)
        dx = grad(z, inputs, tn.tensor(dy))[0].numpy()[1000:] * 3
        means[b] = abs(dx.mean()), abs((dx * z.numpy()[1000:]).mean())
    assert max(means[0.99]) < 0.03
    assert min(means[1.0]) > 0.2


def test_evaluation_and_the_clamp():
    layer = nn.OnlineNorm2d(3, clamp_val=2.0)
    x = tn.tensor(RNG.normal(0, 3, (4, 3, 2, 2)).astype("float32"), requires_grad=True)
    layer(x).sum().backward()
    assert layer.control_v.numpy().any()
    assert abs(layer(x).detach().numpy()).max() == 2.0
    layer.eval()
    before = {name: b.numpy().copy() for name, b in layer.named_buffers()}
    mean, var = (before[name][:, None, None] for name in ("running_mean", "running_var"))
    expected = np.clip((x.numpy() - mean) / np.sqrt(var + 1e-5), -2, 2)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, 1e-5, 1e-6)
    for name, buffer in layer.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), before[name])


@pytest.mark.parametrize("scale", [1e19, 1e25, 1e30], ids=str)
def test_variances_and_squares_that_float32_cannot_hold_give_the_gradients_of_float64(scale):
    x, dy = scale * RNG.normal(1.0, 2.0, (5, 3, 2, 4)), RNG.normal(size=(5, 3, 2, 4))
    z, dx = Reference(3, 0.9, 0.8)(x, dy)
    state = [tn.tensor(a.astype("float32")) for a in (np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3))]
    inputs = tn.tensor(x.astype("float32"), requires_grad=True)
    found = F.online_norm(inputs, *state, training=True, alpha_fwd=0.9, alpha_bkw=0.8)
    (found_dx,) = grad(found, inputs, tn.tensor(dy.astype("float32")))
    np.testing.assert_allclose(found.numpy(), z, 1e-4)
    for t in range(5):
        np.testing.assert_allclose(found_dx.numpy()[t], dx[t], 1e-3, 1e-4 * abs(dx[t]).max())
    assert not np.isnan([a.numpy() for a in state]).any()
