"""Softmax2d: over the channels of an image."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn


def test_softmax2d_is_over_the_channels(torch):
    x = np.random.default_rng(4).normal(size=(2, 3, 4, 5))
    expected = torch.nn.Softmax2d()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(nn.Softmax2d()(tn.tensor(x)).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(nn.Softmax2d()(tn.tensor(x[0])).numpy(), expected[0], rtol=1e-12)
    with pytest.raises(ValueError, match="got shape"):
        nn.Softmax2d()(tn.ones(2, 3))
