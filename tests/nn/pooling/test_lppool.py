"""LP pooling beside PyTorch's, and at 0."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_lp_pool_is_pytorchs_also_for_negative_numbers_and_ceil_mode(axes, torch):
    x = np.random.default_rng(2).normal(size=(2, 3, *(7,) * axes))
    for p, kernel, stride, ceil in ((2, 3, None, True), (2.0, 2, 1, False), (4, 3, 2, False)):
        ours = getattr(nn, f"LPPool{axes}d")(p, kernel, stride, ceil)
        theirs = getattr(torch.nn, f"LPPool{axes}d")(p, kernel, stride, ceil)
        a, b = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, y_there = ours(a), theirs(b)
        np.testing.assert_allclose(y.detach().numpy(), y_there.detach().numpy(), rtol=1e-12)
        dy = np.random.default_rng(3).normal(size=tuple(y.shape))
        y.backward(tn.tensor(dy))
        y_there.backward(torch.tensor(dy))
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)
        assert repr(ours) == repr(theirs)


def test_lp_pool_of_zeros_has_gradient_0():
    x = tn.zeros(1, 1, 4, 4, requires_grad=True)
    F.lp_pool2d(x, 2, 2).sum().backward()
    assert not x.grad.any()
