"""Training steps of whole networks as graphs: the same losses and parameters as the same steps one by one."""

import shutil

import fake_cupy
import numpy as np
import pytest
from strict_cupy import record_waits

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import clip_grad_norm_
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm

STEPS, WARM_UP = 3, 2
TOKENS = 11


class Language(nn.Module):
    """Tokens (N, T) to scores (N, T, TOKENS)."""

    def __init__(self, body):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(TOKENS, 8), nn.LearnedPositions(6, 8, batch_first=True)
        self.body, self.head = body, nn.Linear(8, TOKENS)

    def forward(self, x):
        h = self.positions(self.embedding(x))
        if isinstance(self.body, nn.GRU):
            return self.head(self.body(h)[0])
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.body(h, mask, is_causal=True))


def cnn():
    first = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(2, 6), nn.GELU(), nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(24, TOKENS))


def parametrized():
    hidden = spectral_norm(nn.Linear(16, 12)), nn.Tanh(), weight_norm(nn.Linear(12, 12)), nn.RMSNorm(12)
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(12, TOKENS))


def power():
    """Its second replay is the first step after the layer's own warm-up."""
    hidden = nn.Linear(16, 12), nn.PowerNorm(12, warmup=WARM_UP + 1), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(12, TOKENS))


def transformer():
    return Language(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))


NETWORKS = {
    "cnn": (cnn, (4, 1, 8, 8)),
    "parametrized": (parametrized, (4, 1, 4, 4)),
    "power": (power, (4, 1, 4, 4)),
    "transformer": (transformer, None),
    "ngpt": (lambda: nn.NGPT(TOKENS, 8, 2, 1), None),
    "gru": (lambda: Language(nn.GRU(8, 8, batch_first=True)), None),
}


class Training:
    def __init__(self, name):
        tn.manual_seed(0)
        build, self.shape = NETWORKS[name]
        self.model = build().to(tn.zeros(1).device)
        self.optimizer = tn.optim.AdamW(self.model.parameters(), 0.01)
        if isinstance(self.model, nn.NGPT):  # the weights are normalized in the graph
            self.optimizer.register_step_post_hook(lambda *_: self.model.normalize_weights_())
        x, t = self.batch(0)
        self.x, self.t, self.cost = tn.Tensor(x), tn.Tensor(t), tn.zeros(())

    def batch(self, k):
        rng = np.random.default_rng(k)
        if self.shape is None:
            tokens = rng.integers(0, TOKENS, (3, 6))
            return tokens[:, :-1].copy(), tokens[:, 1:].copy()
        return rng.normal(size=self.shape).astype("float32"), rng.integers(0, TOKENS, self.shape[0])

    def feed(self, k):
        for buffer, values in zip((self.x, self.t), self.batch(k), strict=True):
            buffer.copy_(tn.Tensor(values))

    def step(self):
        self.optimizer.zero_grad()
        scores = self.model(self.x)
        loss = F.cross_entropy(scores.reshape(-1, TOKENS), self.t.reshape(-1))
        loss.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.cost.copy_(loss.detach())

    def run(self, step):
        costs = []
        for k in range(STEPS):
            self.feed(k)
            step()
            costs.append(self.cost.item())
        return costs, [to_numpy(value.array).copy() for value in self.model.state_dict().values()]


def check(name, tolerance):
    plain, captured = Training(name), Training(name)
    for _ in range(WARM_UP):
        plain.step()
    expected, found = plain.run(plain.step), captured.run(Graph(captured.step, WARM_UP))
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert len(set(found[0])) == STEPS
    if isinstance(captured.model, nn.NGPT):
        lengths = np.linalg.norm(to_numpy(captured.model[1].out_proj.weight.array), axis=0)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_step_of_a_network(monkeypatch, name):
    tape = fake_cupy.install(monkeypatch)
    with tn.use_backend("emulator"):
        check(name, 2e-5)
    assert tape.cublas.calls


@pytest.mark.cuda  # not run on a GPU so far
@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_step_of_a_network_on_a_gpu(name):
    with tn.use_backend("cupy"):
        check(name, 1e-4)


@pytest.mark.cuda  # on a GPU, only the stand-in notes what waits
@pytest.mark.parametrize("name", NETWORKS)
def test_a_plain_step_of_a_network_does_not_wait_for_the_gpu(name):
    with tn.use_backend("cupy"):
        training = Training(name)
        training.step()
        with record_waits() as waits:
            training.step()
    assert waits == []
