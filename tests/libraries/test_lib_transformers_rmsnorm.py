"""RMSNorm with its ways to scale beside the models of transformers, which compute in float32."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm  # noqa: E402
from transformers.models.llama4.modeling_llama4 import Llama4TextL2Norm  # noqa: E402

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1, 2, (5, 12)), RNG.normal(size=(5, 12))
V = RNG.normal(size=12)


def _input_scaled():
    module = pytest.importorskip("transformers.models.muse_spark.modeling_muse_spark")
    return module.MuseSparkTextInputScaledRMSNorm(12)


PAIRS = {
    "zero-centered": (lambda: Gemma3RMSNorm(12), {"zero_centered": True}),
    "input-scaled": (_input_scaled, {"input_scaled": True}),
    "weightless": (Llama4TextL2Norm, {"elementwise_affine": False}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_y_and_all_gradients_are_those_of_the_library(name):
    make, options = PAIRS[name]
    theirs, ours = make().double(), nn.RMSNorm(12, eps=1e-6, **options).double()
    if ours.weight is not None:
        theirs.load_state_dict({"weight": torch.tensor(V)})
        ours.load_state_dict({"weight": V})
    x, x_torch = tn.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, y_torch = ours(x), theirs(x_torch)
    dy = torch.tensor(DY, dtype=y_torch.dtype)
    expected = torch.autograd.grad(y_torch, [x_torch, *theirs.parameters()], dy)
    found = grad(y, [x, *ours.parameters()], tn.tensor(DY))
    for a, b in zip((y, *found), (y_torch.detach(), *expected), strict=True):
        error = abs(a.numpy() - b.numpy()).max() / abs(a.numpy()).max()
        assert error < 2e-6, error
