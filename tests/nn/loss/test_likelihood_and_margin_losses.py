"""Likelihoods and margin losses of classes beside PyTorch, where the registered cases do not reach."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(5)
X, T = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5))
COUNTS = RNG.poisson(2.0, (4, 5)).astype(float)
SIGNS = RNG.choice([-1.0, 1.0], (4, 5))
CLASSES = RNG.integers(0, 5, 4)
LABELS = np.array([[1, 1, 3, -1, 0], [-1, 0, 1, 2, 3], [0, 1, 2, 3, 4], [4, -1, -1, -1, -1]])
CALLS = {
    "var-without-an-axis": lambda f, x, t: f.gaussian_nll_loss(x, t(T), t(np.arange(1.0, 5.0))),
    "var-with-size-1": lambda f, x, t: f.gaussian_nll_loss(x, t(T), t(np.arange(1.0, 5.0)[:, None]), True),
    "var-is-a-number": lambda f, x, t: f.gaussian_nll_loss(x, t(T), 0.5),
    "poisson-counts": lambda f, x, t: f.poisson_nll_loss(x, t(COUNTS), full=True, reduction="sum"),
    "poisson-rates": lambda f, x, t: f.poisson_nll_loss(x * x, t(COUNTS), log_input=False, eps=1e-3),
    "soft-margin": lambda f, x, t: f.soft_margin_loss(100 * x, t(SIGNS), reduction="none"),
    "multi-margin": lambda f, x, t: f.multi_margin_loss(x, t(CLASSES), 2, 0.5, t(np.arange(5.0))),
    "multilabel-margin": lambda f, x, t: f.multilabel_margin_loss(x, t(LABELS), reduction="none"),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_pytorchs(name, torch):
    x, x_there = tn.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, y_there = CALLS[name](F, x, tn.tensor), CALLS[name](torch.nn.functional, x_there, torch.tensor)
    np.testing.assert_allclose(y.detach().numpy(), y_there.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = RNG.normal(size=tuple(y.shape))
    y.backward(tn.tensor(dy))
    y_there.backward(torch.tensor(dy))
    np.testing.assert_allclose(x.grad.numpy(), x_there.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_a_clamped_variance_gets_pytorchs_gradient(torch):
    var = np.array([0.0, 1e-3, 0.5, 2.0])
    v, v_there = tn.tensor(var, requires_grad=True), torch.tensor(var, requires_grad=True)
    F.gaussian_nll_loss(tn.zeros(4).double(), tn.tensor(X[0, :4]), v, eps=0.01).backward()
    there = torch.nn.functional
    there.gaussian_nll_loss(torch.zeros(4).double(), torch.tensor(X[0, :4]), v_there, eps=0.01).backward()
    np.testing.assert_allclose(v.grad.numpy(), v_there.grad.numpy(), rtol=1e-12)
    assert v.grad[0] != 0


def test_layers_are_the_functions():
    x, t, v = tn.tensor(X), tn.tensor(T), tn.tensor(np.abs(T) + 0.1)
    pairs = (
        (nn.GaussianNLLLoss(full=True)(x, t, v), F.gaussian_nll_loss(x, t, v, True)),
        (nn.PoissonNLLLoss(full=True)(x, t), F.poisson_nll_loss(x, t, full=True)),
        (nn.SoftMarginLoss(reduction="sum")(x, t), F.soft_margin_loss(x, t, reduction="sum")),
        (nn.MultiLabelSoftMarginLoss(v[0])(x, t), F.multilabel_soft_margin_loss(x, t, v[0])),
        (nn.MultiMarginLoss(2)(x, tn.tensor(CLASSES)), F.multi_margin_loss(x, tn.tensor(CLASSES), 2)),
        (nn.MultiLabelMarginLoss()(x, tn.tensor(LABELS)), F.multilabel_margin_loss(x, tn.tensor(LABELS))),
    )
    for layer, function in pairs:
        assert tn.equal(layer, function)
    with pytest.raises(ValueError, match="1 or 2"):
        nn.MultiMarginLoss(3)


def test_nan_and_half_pass():
    nan = tn.tensor([[float("nan"), 1.0], [0.5, 0.0]])
    classes, labels = tn.tensor([0, 1]), tn.tensor([[0, -1], [1, -1]])
    for loss in (
        F.multi_margin_loss(nan, classes, reduction="none"),
        F.multilabel_margin_loss(nan, labels, reduction="none"),
        F.soft_margin_loss(nan, nan, reduction="none").sum(1),
        F.gaussian_nll_loss(nan, tn.ones(2, 2), tn.ones(2, 2), reduction="none").sum(1),
    ):
        assert loss.isnan().tolist() == [True, False]
    half = tn.ones(2, 2).half()
    assert F.gaussian_nll_loss(half, half, half).dtype == tn.float16
    assert F.multi_margin_loss(half, classes).dtype == tn.float16
    assert F.multilabel_margin_loss(half, labels).dtype == tn.float16
