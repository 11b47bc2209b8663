"""The examples run, with few steps, and show what they promise."""

import importlib.util
import pathlib
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_batch_norm_learns_at_a_learning_rate_where_nothing_else_does(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    curves, accuracies = load("high_learning_rate").main(["--epochs", "5", "--out", str(path)])
    assert accuracies["with BatchNorm"] > 0.9
    assert accuracies["without"] < 0.3
    assert curves["with BatchNorm"][-1] < 0.3
    assert "with BatchNorm" in capsys.readouterr().out
    assert path.stat().st_size > 10_000
