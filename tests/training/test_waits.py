"""A training step on a GPU waits for nothing: loss and accuracy stay on the device until they are read."""

import shutil

import pytest
import strict_cupy

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.training import Config, Run

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in's kernels need g++")

SLOW = pytest.mark.slow
DIGITS = [
    ("mlp", "batch"),
    ("cnn", "batch"),
    ("transformer", "layer"),
    pytest.param("mlp", "rms", marks=SLOW),
    pytest.param("mlp", "power", marks=SLOW),
    pytest.param("cnn", "group", marks=SLOW),
    pytest.param("lstm", "layer", marks=SLOW),
]
TEXT = ["transformer", pytest.param("lstm", marks=SLOW), pytest.param("ngpt", marks=SLOW)]


class Enough(Exception):
    pass


@pytest.fixture(autouse=True)
def _device():
    with strict_cupy.standing_in(), tn.use_backend("cupy"):
        yield


def waits_of_a_step(run):
    """What the second step of a run waits for."""
    counts = []

    def on_step(run):
        counts.append(len(waits))
        if len(counts) == 2:
            raise Enough

    with strict_cupy.record_waits() as waits, pytest.raises(Enough):
        run.train(on_step)
    return waits[counts[0] : counts[1]]


@pytest.mark.parametrize(("model", "norm"), DIGITS)
def test_a_step_with_loss_and_accuracy_waits_for_nothing(tmp_path, model, norm):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    run = Run(Config("digits", model, norm, batch_size=16), tmp_path)
    assert waits_of_a_step(run) == []
    with strict_cupy.record_waits() as waits:
        assert 0 <= run.figures_so_far()["accuracy"] <= 1
    assert waits  # whoever reads figures waits


@pytest.mark.parametrize("model", TEXT)
def test_a_step_on_text_waits_for_nothing(tmp_path, model):
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be, that is the question\n" * 100)
    run = Run(Config("text", model, file=str(file), batch_size=4), tmp_path / "run")
    assert waits_of_a_step(run) == []


def test_a_loop_of_ones_own_waits_where_it_reads_the_loss():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    optimizer = tn.optim.Adam(model.parameters())
    x, t = tn.ones(5, 4), tn.Tensor([0, 1, 2, 0, 1])
    with strict_cupy.record_waits() as waits:
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
    assert waits == []
    with strict_cupy.record_waits() as waits:
        loss.item()
    assert waits


def test_changes_of_gradients_and_gradnorm_wait_for_nothing():
    tn.manual_seed(0)
    shared, heads = nn.Linear(4, 8), [nn.Linear(8, 1), nn.Linear(8, 1)]
    parameters = [p for layer in (shared, *heads) for p in layer.parameters()]
    optimizer = tn.optim.Adam(parameters)
    balance = tn.optim.GradNorm([shared.weight], 2)
    x = tn.ones(5, 4)
    with strict_cupy.record_waits() as waits:
        for _ in range(2):
            optimizer.zero_grad()
            balance.backward([head(shared(x)).square().mean() for head in heads])
            nn.utils.centralize_grad_(parameters)
            nn.utils.adaptive_clip_grad_(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            nn.utils.normalize_grad_(parameters)
            optimizer.step()
            balance.step()
    assert waits == []
    assert balance.weights.numpy().sum() == pytest.approx(2, rel=1e-6)


def test_a_hidden_item_in_a_step_is_found(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    run = Run(Config("digits", "mlp", "layer", batch_size=16), tmp_path)
    score = run.task.score

    def peeking(batch):
        loss, sums = score(batch)
        loss.array.item()
        return loss, sums

    monkeypatch.setattr(run.task, "score", peeking)
    (wait,) = waits_of_a_step(run)
    assert wait.startswith("item() at ")
    assert wait.endswith("(peeking)")
