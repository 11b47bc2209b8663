"""The softmax with a sink against the attention of transformers' GptOss, in float64."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gpt_oss = pytest.importorskip("transformers.models.gpt_oss.modeling_gpt_oss")

import tinygrad_norm as tn  # noqa: E402
from tinygrad_norm.nn import functional as F  # noqa: E402


def test_gpt_oss_gives_the_same_weights_and_gradients():
    rng, (N, H, T, D) = np.random.default_rng(0), (2, 3, 4, 5)
    queries, keys, values = (torch.tensor(rng.normal(size=(N, H, T, D))) for _ in range(3))
    sinks = torch.tensor(rng.normal(size=H), requires_grad=True)
    module = SimpleNamespace(num_key_value_groups=1, sinks=sinks, training=False)
    queries.requires_grad_()
    _, weights = gpt_oss.eager_attention_forward(module, queries, keys, values, None, D**-0.5)
    dy = rng.normal(size=weights.shape)
    weights.backward(torch.tensor(dy))
    q, sink = (tn.tensor(a.detach().numpy(), requires_grad=True) for a in (queries, sinks))
    scores = q @ tn.tensor(keys.numpy()).transpose(2, 3) * D**-0.5
    p = F.softmax_with_sink(scores, sink.reshape(H, 1, 1))
    p.backward(tn.tensor(dy))
    for found, expected in ((p, weights), (q.grad, queries.grad), (sink.grad, sinks.grad)):
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 1e-9, 1e-12)
