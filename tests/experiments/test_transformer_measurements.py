"""What the experiments with transformers and text measure, on cases whose figures are known."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.experiments.statistical import (
    batch_norm_lstm,
    batch_statistics,
    fluctuations,
    ngpt_steps,
    rms_norm,
    small_gpt,
)


def test_the_learning_rate_rises_in_the_warm_up_and_falls_to_zero():
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), 2.0)
    falling, rates = small_gpt.schedule(optimizer, 10, 4), []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        falling.step()
    assert rates == pytest.approx([0.4, 0.8, 1.2, 1.6, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3])
    assert optimizer.param_groups[0]["lr"] == 0


def test_a_model_that_knows_nothing_has_the_loss_of_guessing():
    class Guess(nn.Module):
        def forward(self, codes):
            assert not self.training
            return tn.zeros(*codes.shape, 5)

    model = Guess()
    assert small_gpt.unseen_loss(model, np.arange(100) % 5, 8) == pytest.approx(math.log(5), rel=1e-6)
    assert model.training


def test_training_stops_at_a_loss_that_is_not_finite():
    model = small_gpt.SmallGPT(5, 4, 4, 1)
    optimizer = optim.SGD(model.parameters(), 0.1)
    batches = small_gpt.batches_of(np.arange(100) % 5, 4, 2, 0)

    def break_it():
        model.head.weight.data[:] = np.nan

    losses = small_gpt.train(model, optimizer, batches, 5, after_step=break_it)
    assert len(losses) == 2
    assert math.isinf(small_gpt.unseen_loss(model, np.arange(100) % 5, 4))


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_the_networks_do_not_see_the_future(placement):
    tn.manual_seed(0)
    codes = np.arange(12).reshape(2, 6) % 5
    later = codes.copy()
    later[:, 4:] = 0
    for model in (small_gpt.SmallGPT(5, 6, 4, 2, placement), ngpt_steps.make_gpt(5, 4, 2)):
        with tn.no_grad():
            one, other = (model(tn.tensor(given)).numpy() for given in (codes, later))
        np.testing.assert_allclose(one[:, :4], other[:, :4], atol=1e-6)
        assert abs(one[:, 4:] - other[:, 4:]).max() > 1e-3


def test_ngpt_and_gpt_have_the_same_matrices():
    def matrices(model):
        return sorted(one.shape for one in model.parameters() if one.ndim == 2)

    model = nn.NGPT(7, 8, ngpt_steps.HEADS, 3, mlp_ratio=2.0)
    assert matrices(ngpt_steps.make_gpt(7, 8, 3)) == matrices(model)


@pytest.mark.parametrize("gamma", [0.1, None], ids=["BN-LSTM", "LSTM"])
def test_step_by_step_it_is_the_same_network(gamma):
    tn.manual_seed(0)
    rng = np.random.default_rng(0)
    model = batch_norm_lstm.Reader(gamma, 4)
    x, start = tn.tensor(rng.normal(size=(6, 5, 1)).astype("float32")), batch_norm_lstm.noise(rng, 6, 4)
    logits, states = model.by_step(x, start)
    np.testing.assert_allclose(logits.numpy(), model(x, start).numpy(), atol=1e-6)
    assert [h.shape for h in states] == [(1, 6, 4)] * 5
    labels = tn.tensor(np.arange(6))
    lengths = batch_norm_lstm.gradients(model, x, labels, start)
    last = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True) - np.eye(10)[:6]
    expected = np.linalg.norm(last @ model.head.weight.numpy(), axis=1).mean()
    assert lengths[-1] == pytest.approx(expected, rel=1e-4)


def test_fluctuations_are_distances_from_the_running_statistics():
    model = nn.Sequential(nn.BatchNorm1d(3))
    watched = fluctuations.Fluctuations(model)
    x = np.random.default_rng(0).normal(size=(50, 3))
    x = (x - x.mean(0)) / x.std(0)
    for mean, scale in ((0.0, 1.0), (0.5, 1.2)):
        model[0].running_mean.zero_()
        model[0].running_var.fill_(4)
        model(tn.tensor((2 * scale * x + mean).astype("float32")))
    model.eval()(tn.tensor(x.astype("float32")))  # not counted
    figures = watched.figures(2)
    assert len(watched.by_layer[0]) == 2
    assert figures["mean"] == pytest.approx(0.25, rel=1e-4)
    assert figures["variance, first layer"] == pytest.approx(0.44, rel=1e-4)
    assert figures["mean, curve"] == pytest.approx([0, 0.25], abs=1e-4)


def test_rare_words_share_a_code():
    seen, unseen = batch_statistics.words()
    assert (seen.min(), seen.max()) == (0, batch_statistics.WORDS)
    assert 0.05 < (seen == 0).mean() < 0.3
    assert unseen.max() <= batch_statistics.WORDS


def test_the_time_saved_is_that_of_the_fastest_turns(monkeypatch):
    clock = [0.0]
    durations = iter([9, 9, 4, 3, 8, 2, 5, 7])  # the first of each is not measured

    def step():
        clock[0] += next(durations)

    monkeypatch.setattr(rms_norm.time, "process_time", lambda: clock[0])
    assert rms_norm.saved([step, step], 3) == pytest.approx(1 - 2 / 4)
