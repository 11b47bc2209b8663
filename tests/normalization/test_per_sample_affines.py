"""Normalizations whose scale and shift differ from sample to sample, cut into blocks: no gradient is summed.

An affine that all samples share adds its gradients up over the blocks; one for each sample must keep them
apart. As long as one block holds everything, the mistake does not show: here the blocks are small.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends.cpu.blocks import settings
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.instancenorm import instance_norm_backward, instance_norm_forward

N, C, S = 8, 6, 20
OPS = {  # the op, the shapes of its inputs, and its normalization without an affine
    "adaptive_group_norm": (
        lambda x, s, b: F.adaptive_group_norm(x, s, b, 3),
        [(N, C, S), (N, C), (N, C)],
        lambda x: F.group_norm(x, 3),
    ),
    "adaptive_layer_norm": (
        lambda x, s, b: F.adaptive_layer_norm(x, s, b),
        [(N, S, C), (N, C), (N, C)],
        lambda x: F.layer_norm(x, (C,), eps=1e-6),
    ),
}


def drawn(shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (*shapes, shapes[0])]
    return [tn.tensor(a, requires_grad=True) for a in arrays[:-1]], tn.tensor(arrays[-1])


@pytest.mark.parametrize("block", [1, 64, 300])
@pytest.mark.parametrize("name", OPS)
def test_the_gradients_of_each_sample_stay_apart(name, block):
    op, shapes, normalized = OPS[name]
    inputs, dy = drawn(shapes)
    with settings(block=block):
        found = grad(op(*inputs), inputs, dy)
    space = 2 if name == "adaptive_group_norm" else 1
    x_hat = normalized(inputs[0]).numpy()
    np.testing.assert_allclose(found[1].numpy(), (dy.numpy() * x_hat).sum(space), 1e-9, 1e-12)
    np.testing.assert_allclose(found[2].numpy(), dy.numpy().sum(space), 1e-9, 1e-12)
    for ours, whole in zip(found, grad(op(*inputs), inputs, dy), strict=True):
        np.testing.assert_allclose(ours.numpy(), whole.numpy(), 1e-10, 1e-12)


TABLES = {
    "conditional_batch_norm": lambda x, labels, w, b: F.conditional_batch_norm(
        x, labels, None, None, w, b, training=True
    ),
    "conditional_batch_norm, evaluation": lambda x, labels, w, b: F.conditional_batch_norm(
        x, labels, b[0].detach(), w[0].detach() ** 2, w, b
    ),
    "conditional_instance_norm": F.conditional_instance_norm,
}


@pytest.mark.parametrize("block", [1, 64])
@pytest.mark.parametrize("name", TABLES)
def test_the_rows_of_each_class_are_the_same_in_blocks(name, block):
    inputs, dy = drawn([(N, C, S), (3, C), (3, C)])
    labels = tn.tensor(np.arange(N) % 3)

    def op(x, w, b):
        return TABLES[name](x, labels, w, b)

    whole = op(*inputs)
    expected = grad(whole, inputs, dy)
    with settings(block=block):
        y = op(*inputs)
        found = grad(y, inputs, dy)
    for ours, other in zip((y, *found), (whole, *expected), strict=True):
        np.testing.assert_allclose(ours.numpy(), other.numpy(), 1e-10, 1e-12)


def test_the_style_of_each_sample_gets_its_own_gradient():
    inputs, dy = drawn([(N, C, S), (N, C, S)])
    with settings(block=64):
        found = grad(F.adaptive_instance_norm(*inputs), inputs, dy)
    for n in range(N):
        alone = [x[n : n + 1].detach().requires_grad_() for x in inputs]
        one = grad(F.adaptive_instance_norm(*alone), alone, dy[n : n + 1])
        for ours, expected in zip(found, one, strict=True):
            np.testing.assert_allclose(ours.numpy()[n], expected.numpy()[0], 1e-9, 1e-12)


def test_a_compiled_loop_leaves_an_affine_of_each_sample_to_the_body():
    """The loop reads weight[0, c, 0], and would scale every sample like the first, without a word."""
    x, weight = np.random.default_rng(0).normal(size=(2, N, C, S))
    weight = weight[..., :1].copy()
    y, mean, _, rstd = instance_norm_forward(x, weight, np.zeros((1, C, 1)), 1e-5)
    np.testing.assert_allclose(y, weight * (x - mean) * rstd, 1e-12, 1e-12)


def test_a_body_that_adds_its_blocks_up_refuses_an_affine_of_each_sample():
    """Its dweight would be (1, C, 1): one sum for all samples, where each needs its own."""
    rng = np.random.default_rng(0)
    dy, x, weight = rng.normal(size=(N, C, S)), rng.normal(size=(N, C, S)), rng.normal(size=(N, C, 1))
    mean = x.mean(2, keepdims=True)
    rstd = (x.var(2, keepdims=True) + 1e-5) ** -0.5
    with settings(block=64), pytest.raises(ValueError, match=r"weight \(8, 6, 1\) varies along axis 0"):
        instance_norm_backward(dy, x, weight, mean, rstd)


def test_var_mean_is_a_primitive_with_the_gradient_of_both_moments():
    """dx = dm/n + 2·(x - m)·dv/n, on which normalizations with mixed statistics are built."""
    (x,), _ = drawn([(3, 4, 5)])
    rng = np.random.default_rng(1)
    dv, dm = rng.normal(size=(2, 3, 1, 5))
    var, mean = tn.var_mean(x, 1, keepdim=True, correction=0)
    (dx,) = grad([var, mean], [x], [tn.tensor(dv), tn.tensor(dm)])
    expected = dm / 4 + 2 * (x.numpy() - x.numpy().mean(1, keepdims=True)) * dv / 4
    np.testing.assert_allclose(dx.numpy(), expected, 1e-10, 1e-12)
    assert np.abs(dx.numpy() - 2 * (x.numpy() - x.numpy().mean(1, keepdims=True)) * dv / 4).max() > 0.1
