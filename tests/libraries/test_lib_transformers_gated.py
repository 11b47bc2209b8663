"""Gated and grouped RMSNorm beside the models of transformers, which compute in float32."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1RMSNormGated  # noqa: E402
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated  # noqa: E402
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated  # noqa: E402

RNG = np.random.default_rng(0)
X, Z, DY = RNG.normal(1, 2, (2, 3, 12)), RNG.normal(size=(2, 3, 12)), RNG.normal(size=(2, 3, 12))
W = RNG.normal(size=12)
PAIRS = {
    "Mamba2": (lambda: MambaRMSNormGated(12, 4), nn.GatedRMSNorm(12, 4, norm_before_gate=False)),
    "Qwen3-Next": (lambda: Qwen3NextRMSNormGated(12), nn.GatedRMSNorm(12, norm_before_gate=True)),
    "Falcon-H1": (
        lambda: FalconH1RMSNormGated(12, n_groups=2, norm_before_gate=True),
        nn.GatedRMSNorm(12, 6, norm_before_gate=True),
    ),
    "Mamba2 without a gate": (lambda: MambaRMSNormGated(12, 4), nn.GroupRMSNorm(12, 4)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_y_and_all_gradients_are_those_of_the_library(name):
    make, ours = PAIRS[name]
    theirs, ours = make().double(), ours.double()
    theirs.load_state_dict({"weight": torch.tensor(W)})
    ours.load_state_dict({"weight": W})
    given = (X,) if isinstance(ours, nn.GroupRMSNorm) else (X, Z)
    inputs = [tn.tensor(a, requires_grad=True) for a in given]
    inputs_torch = [torch.tensor(a, requires_grad=True) for a in given]
    y, y_torch = ours(*inputs), theirs(*inputs_torch)
    dy = torch.tensor(DY, dtype=y_torch.dtype)
    expected = torch.autograd.grad(y_torch, [*inputs_torch, theirs.weight], dy)
    found = grad(y, [*inputs, ours.weight], tn.tensor(DY))
    for a, b in zip((y, *found), (y_torch.detach(), *expected), strict=True):
        error = abs(a.numpy() - b.numpy()).max() / abs(a.numpy()).max()
        assert error < 2e-6, error
