"""`tinygrad-norm train` with sequence models on rows of digits: results and errors."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.training import NORMS, Config, Run
from tinygrad_norm.training.norm_choices import find_norm, fits, sequence_norm
from tinygrad_norm.training.sequence_layers import RecurrentStack, Rows, TransformerStack

SEQUENCE_NORMS = sorted(name for name in NORMS if fits(name, (16,)))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "transformer"])
def test_reads_digits_row_by_row(tmp_path, model):
    pytest.importorskip("sklearn")
    run = Run(Config(model=model), tmp_path)
    run.train()
    assert run.figures()["test"]["accuracy"] >= 0.96


@pytest.mark.parametrize(
    ("placement", "qk_norm", "norms"),
    [
        ("pre", "none", 5),
        ("post", "none", 4),
        pytest.param("peri", "none", 9, marks=pytest.mark.slow),
        ("deep", "none", 4),
        ("pre", "l2", 5),
        pytest.param("pre", "rms", 5, marks=pytest.mark.slow),
        pytest.param("peri", "layer", 13, marks=pytest.mark.slow),
    ],
)
def test_every_place_of_the_normalization_learns(tmp_path, placement, qk_norm, norms):
    pytest.importorskip("sklearn")
    run = Run(Config(model="transformer", placement=placement, qk_norm=qk_norm, epochs=2), tmp_path)
    before = run.task.evaluate("validation")["loss"]
    run.train()
    learned = 0.8 if placement == "deep" else 0.7  # its sublayers are small at first
    assert run.progress.history[-1]["validation_loss"] < learned * before
    layers = [part for part in run.model.modules() if isinstance(part, nn.TransformerEncoderLayer)]
    expected = nn.DeepNorm.alone(2) if placement == "deep" else placement
    assert [layer.placement for layer in layers] == [expected] * 2
    found = [getattr(layer.self_attn, "norm", "none") for layer in layers]
    assert found == [qk_norm] * 2
    assert sum(isinstance(part, nn.LayerNorm) for part in run.model.modules()) == norms


def test_rows_come_from_the_top_with_all_channels():
    x = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    y = Rows()(tn.tensor(x)).numpy()
    assert y.shape == (2, 4, 15)
    np.testing.assert_array_equal(y[1, 2], x[1, :, 2].ravel())


@pytest.mark.parametrize("name", SEQUENCE_NORMS)
def test_a_norm_of_a_sequence_treats_every_step_alike(name):
    x = np.random.default_rng(0).standard_normal((3, 4, 16)).astype(np.float32)
    norm = sequence_norm(find_norm(name), 16)
    flat = find_norm(name)((16,))
    tn.manual_seed(0)
    y = norm(tn.tensor(x)).numpy()
    tn.manual_seed(0)
    np.testing.assert_allclose(y.reshape(12, 16), flat(tn.tensor(x.reshape(12, 16))).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", SEQUENCE_NORMS)
@pytest.mark.parametrize("stack", ["transformer", "lstm"])
def test_no_step_sees_a_later_one(stack, name):
    if stack == "transformer":
        model = TransformerStack(16, 2, 2, 6, find_norm(name), causal=True)
    else:
        model = RecurrentStack("lstm", 16, 16, 2, find_norm(name))
    model.eval()
    x = np.random.default_rng(0).standard_normal((2, 6, 16)).astype(np.float32)
    changed = x.copy()
    changed[:, 4:] += np.arange(16)
    y, y_changed = (model(tn.tensor(array)).numpy() for array in (x, changed))
    np.testing.assert_allclose(y[:, :4], y_changed[:, :4], atol=1e-6)
    assert not np.allclose(y[:, 4:], y_changed[:, 4:], atol=1e-3)


def test_the_classifier_sees_all_rows():
    model = TransformerStack(16, 2, 2, 6, nn.LayerNorm, "post")
    x = np.random.default_rng(0).standard_normal((2, 6, 16)).astype(np.float32)
    changed = x.copy()
    changed[:, 5] += np.arange(16)
    y, y_changed = (model(tn.tensor(array)).numpy() for array in (x, changed))
    assert (np.abs(y - y_changed).max(axis=(0, 2)) > 1e-3).all()


@pytest.mark.parametrize("placement", ["post", "peri", "deep"])
@pytest.mark.parametrize("qk_norm", ["l2", "layer", "rms"])
def test_no_step_sees_a_later_one_in_any_place(placement, qk_norm):
    model = TransformerStack(16, 2, 2, 6, find_norm("scale"), placement, qk_norm, causal=True)
    x = np.random.default_rng(0).standard_normal((2, 6, 16)).astype(np.float32)
    changed = x.copy()
    changed[:, 4:] += np.arange(16)
    y, y_changed = (model(tn.tensor(array)).numpy() for array in (x, changed))
    np.testing.assert_allclose(y[:, :4], y_changed[:, :4], atol=1e-6)
    assert not np.allclose(y[:, 4:], y_changed[:, 4:], atol=1e-3)


def test_g_of_qk_norm_starts_with_the_length_of_the_model():
    for length, expected in ((128, np.log2(128**2 - 128)), (1, 1.0)):
        model = TransformerStack(16, 2, 1, length, find_norm("layer"), qk_norm="l2")
        assert model.layers[0].self_attn.g.item() == pytest.approx(expected)
