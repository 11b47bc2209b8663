"""`tinygrad-norm export RUN --onnx FILE`."""

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_norm import use_loops
from tinygrad_norm.cli import app
from tinygrad_norm.training import Config, Run, load_run

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def export(run, file, exit_code=0):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["export", str(run), "--onnx", str(file)])
    assert result.exit_code == exit_code, result.output
    return result.output


def run_file(file, x):
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


@pytest.fixture(autouse=True)
def _plain_bodies():
    with use_loops("off"):
        yield


def test_the_file_of_a_run_gives_its_outputs(tmp_path):
    Run(Config("moons", epochs=1), tmp_path / "run").train()
    output = export(tmp_path / "run", tmp_path / "m.onnx")
    assert "input x (batch × 2), scaled by StandardScaler as in training, output y" in output
    run = load_run(tmp_path / "run")
    x = np.random.default_rng(0).normal(size=(5, 2))
    y = run_file(tmp_path / "m.onnx", run.scaler.transform(x).astype(np.float32))
    np.testing.assert_allclose(y, run.outputs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "lstm", "transformer", "convnext"])
def test_the_file_of_a_run_on_images_gives_its_outputs(model, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "tiles.npz", images=images, labels=np.arange(40) % 2)
    Run(Config(str(tmp_path / "tiles.npz"), model, epochs=1), tmp_path / "run").train()
    export(tmp_path / "run", tmp_path / "m.onnx")
    run = load_run(tmp_path / "run")
    x = images[:7].transpose(0, 3, 1, 2)
    y = run_file(tmp_path / "m.onnx", run.scaler.transform(x).astype(np.float32))
    np.testing.assert_allclose(y, run.outputs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_file_of_a_run_on_text_takes_numbers_of_characters(tmp_path):
    (tmp_path / "t.txt").write_text("the quick brown fox jumps over the lazy dog;\n" * 67)
    Run(Config("text", "transformer", epochs=1, file=str(tmp_path / "t.txt")), tmp_path / "run").train()
    assert "input x (batch × 128), output y" in export(tmp_path / "run", tmp_path / "m.onnx")
    assert run_file(tmp_path / "m.onnx", np.zeros((3, 128), np.int64)).shape[:2] == (3, 128)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    Run(Config("moons", epochs=1), tmp_path / "run").train()
    (tmp_path / "file").write_text("")
    assert "is not a folder" in export(tmp_path / "run", tmp_path / "file" / "m.onnx", exit_code=2)
    assert "create it first" in export(tmp_path / "run", tmp_path / "new" / "m.onnx", exit_code=2)
    assert not (tmp_path / "new").exists()
