"""The examples run, with few steps, and show what they promise."""

import importlib.util
import pathlib
import shutil
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


def test_every_step_of_the_layer_norm_ladder_is_right(capsys):
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++: apt install g++")
    found = load("layernorm_ladder").main(["--rows", "5", "--features", "260"])
    assert list(found) == ["naive", "shared", "shuffled", "vectorized<16>"]
    assert max(error for error, _ in found.values()) < 1e-5
    assert found["vectorized<16>"][1] < found["shuffled"][1]
    assert "naive" in capsys.readouterr().out
