"""CRMS normalization: its gradient beside the one that a tempting mistake gives, the module."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.gradient_check import GradcheckError
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.crmsnorm import CRMSNormFunction, crms_norm_composed


def test_the_gradient_of_plain_rms_normalization_would_be_wrong():
    rng = np.random.default_rng(0)
    z, dy = (rng.normal(size=(4, 7)) for _ in range(2))
    found, expected = tn.tensor(z, requires_grad=True), tn.tensor(z, requires_grad=True)
    F.crms_norm(found).backward(tn.tensor(dy))
    crms_norm_composed(expected).backward(tn.tensor(dy))
    dz = expected.grad.numpy()
    np.testing.assert_allclose(found.grad.numpy(), dz, rtol=1e-9)
    r = 1 / np.sqrt(((z**2).sum(1) + z.sum(1) ** 2) / 8 + 1e-5)[:, None]
    planted = r * (dy - z * r * (dy * z * r).sum(1, keepdims=True) / 8)
    assert np.linalg.norm(planted - dz) > 0.03 * np.linalg.norm(dz)


class PlainRMS(CRMSNormFunction):
    """Planted: the backward of RMS normalization, for rows that may leave the plane of mean 0."""

    def backward(self, dy):
        rows, r = self.saved
        x = rows[:, :-1]
        return r * (dy - x * r * (dy * x * r).sum(1, keepdims=True) / rows.shape[1])


def test_gradcheck_says_which_path_is_missing():
    x = tn.tensor(np.random.default_rng(0).normal(size=(4, 7)), requires_grad=True)
    with pytest.raises(GradcheckError, match="or does it miss the path through a sum"):
        tn.gradcheck(lambda x: PlainRMS.apply(x, eps=1e-5), [x])
    assert tn.gradcheck(F.crms_norm, [x])


def test_half_precision_is_summed_in_float32():
    x = np.random.default_rng(0).normal(size=(3, 2047)).astype(np.float16)
    y = F.crms_norm(tn.tensor(x))
    assert y.dtype == np.float16
    exact = F.crms_norm(tn.tensor(x.astype(np.float64))).numpy()
    np.testing.assert_allclose(y.numpy(), exact, rtol=1e-3, atol=1e-6)


def test_the_module_has_no_parameters_and_checks_its_input():
    layer = nn.CRMSNorm(5, eps=1e-6)
    assert not layer.state_dict()
    x = tn.randn(2, 3, 5)
    np.testing.assert_array_equal(layer(x).numpy(), F.crms_norm(x, 1e-6).numpy())
    with pytest.raises(ValueError, match=r"CRMSNorm\(5\) takes \(..., 5\), got shape \(5, 4\)"):
        layer(tn.ones(5, 4))
