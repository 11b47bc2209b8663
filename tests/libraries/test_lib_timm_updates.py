"""LARS and LAMB beside timm's, in float64: fifty steps with every option."""

import numpy as np
import pytest

from tinygrad_norm import optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Parameter

SHAPES = [(5, 3), (4,), (2, 3, 2), (17,)]
LARS = [
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.1, "momentum": 0.9, "dampening": 0.3, "trust_coeff": 0.01},
    {"always_adapt": True, "trust_clip": True, "lr": 0.001},
    {"momentum": 0.9},
]
LAMB = [
    {},
    {"weight_decay": 0},
    {"weight_decay": 0, "always_adapt": True, "bias_correction": False},
    {"weight_decay": 0.3, "trust_clip": True, "grad_averaging": False},
    {"max_grad_norm": None, "betas": (0.5, 0.6), "eps": 0.1},
]


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [("LARS", "Lars", o) for o in LARS] + [("LAMB", "Lamb", o) for o in LAMB],
    ids=[f"{kind}-{i}" for kind in ("lars", "lamb") for i in range(5)],
)
def test_fifty_steps_are_timm_s(name, theirs, options):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.optim")
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in SHAPES]
    ours = [Parameter(value.copy()) for value in values]
    others = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    options = {"lr": 0.01, **options}
    a, b = getattr(optim, name)(ours, **options), getattr(timm, theirs)(others, **options)
    for _ in range(50):
        for x, y in zip(ours, others, strict=True):
            dx = rng.normal(size=x.shape)
            x.grad, y.grad = Tensor(dx), torch.tensor(dx)
        a.step()
        b.step()
    for x, y in zip(ours, others, strict=True):
        np.testing.assert_allclose(x.array, y.detach().numpy(), rtol=1e-9, atol=1e-10)
