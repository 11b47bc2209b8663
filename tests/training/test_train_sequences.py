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


@pytest.mark.parametrize("norm_first", [True, False])
def test_pre_and_post_ln_are_two_models(tmp_path, norm_first):
    pytest.importorskip("sklearn")
    run = Run(Config(model="transformer", norm_first=norm_first, epochs=2), tmp_path)
    before = run.task.evaluate("validation")["loss"]
    run.train()
    assert run.progress.history[-1]["validation_loss"] < 0.7 * before
    layers = [part for part in run.model.modules() if isinstance(part, nn.TransformerEncoderLayer)]
    assert [layer.norm_first for layer in layers] == [norm_first] * 2
    norms = [part for part in run.model.modules() if isinstance(part, nn.LayerNorm)]
    assert len(norms) == 4 + norm_first


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
        model = TransformerStack(16, 2, 2, 6, find_norm(name), norm_first=True, causal=True)
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
    model = TransformerStack(16, 2, 2, 6, nn.LayerNorm, norm_first=False)
    x = np.random.default_rng(0).standard_normal((2, 6, 16)).astype(np.float32)
    changed = x.copy()
    changed[:, 5] += np.arange(16)
    y, y_changed = (model(tn.tensor(array)).numpy() for array in (x, changed))
    assert (np.abs(y - y_changed).max(axis=(0, 2)) > 1e-3).all()
