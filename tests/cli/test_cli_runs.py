"""`tinygrad-norm predict`, `evaluate`, `runs`, `compare` and `export`."""

import csv
import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_norm import data
from tinygrad_norm.cli import app
from tinygrad_norm.files import locked
from tinygrad_norm.training import Config, Run, load_run
from tinygrad_norm.training.evaluation import evaluate_run


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def printed(*arguments, exit_code=0):
    result = invoke(*arguments)
    assert result.exit_code == exit_code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with finished runs: moons (mlp), sine (mlp) and tiles (cnn on 120 RGB images in an .npz)."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 60, (120, 8, 8, 3)).astype(np.uint8)
    images[np.arange(120), :, :, labels] += 150
    np.savez(folder / "tiles.npz", images=images, labels=labels, classes=["red", "green", "blue"])
    configs = {
        "moons": Config("moons", epochs=3),
        "sine": Config("sine", epochs=3),
        "tiles": Config(str(folder / "tiles.npz"), "cnn", epochs=4, batch_size=16),
    }
    for name, config in configs.items():
        run = Run(config, folder / name)
        run.train()
        run.figures()
    return folder


def test_runs_lists_what_differs_and_how_good_each_was(runs):
    output = printed("runs", runs)
    for text in ("moons", "sine", "tiles", "cnn", "mlp", "accuracy", "R²", "3/3", "4/4"):
        assert text in output
    assert f"{load_run(runs / 'moons').results['test']['accuracy']:.2%}" in output


def test_runs_of_a_folder_without_runs(tmp_path):
    assert "holds no runs" in printed("runs", tmp_path, exit_code=2)
    assert "there is no folder" in printed("runs", tmp_path / "nowhere", exit_code=2)


def test_a_damaged_run_is_left_out_in_words(runs, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    (tmp_path / "bad" / "model.safetensors").write_text("")
    assert "left out:" in printed("runs", tmp_path)


@pytest.mark.parametrize("name", ["moons", "tiles"])
def test_evaluate_gives_the_numbers_of_the_run(runs, name, tmp_path):
    output = printed("evaluate", runs / name, "--out", tmp_path / "c.png")
    run = load_run(runs / name)
    assert f"accuracy: {run.results['test']['accuracy']:.2%}" in output
    assert "confusion matrix" in output
    assert "precision" in output
    evaluation = evaluate_run(run)
    assert evaluation.figures == pytest.approx(run.results["test"], rel=1e-5)
    assert evaluation.confusion().sum() == len(evaluation.targets)


def test_figures_per_class_are_those_of_scikit_learn(runs):
    metrics = pytest.importorskip("sklearn.metrics")
    evaluation = evaluate_run(load_run(runs / "moons"), part="train")
    expected = metrics.precision_recall_fscore_support(evaluation.targets, evaluation.predictions)
    ours = np.array([list(figures.values()) for figures in evaluation.per_class().values()]).T
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    np.testing.assert_array_equal(
        evaluation.confusion(), metrics.confusion_matrix(evaluation.targets, evaluation.predictions)
    )


def test_evaluate_regression(runs, tmp_path):
    run = load_run(runs / "sine")
    evaluation = evaluate_run(run)
    assert evaluation.figures["r2"] == pytest.approx(run.results["test"]["r2"], rel=1e-5)
    assert evaluation.figures["mse"] == pytest.approx(run.results["test"]["mse"], rel=1e-5)
    output = printed("evaluate", runs / "sine", "-o", tmp_path / "c.png")
    assert "mae:" in output
    assert "R²:" in output


def test_evaluate_draws(runs, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("moons", "sine"):
        printed("evaluate", runs / name, "-o", tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_other_data_by_the_names_of_their_classes(runs, tmp_path):
    """Of other data, all samples count; classes may come in another order, scaled as in training."""
    with np.load(runs / "tiles.npz") as file:
        images, labels = file["images"], file["labels"]
    np.savez(
        tmp_path / "other.npz",
        images=images,
        labels=np.array([2, 0, 1])[labels],
        classes=["green", "blue", "red"],
    )
    run = load_run(runs / "tiles")
    evaluation = evaluate_run(run, data.load(tmp_path / "other.npz"))
    own = [evaluate_run(run, part=part) for part in data.PARTS]
    right = sum((e.predictions == e.targets).sum() for e in own)
    assert evaluation.figures["accuracy"] == pytest.approx(right / 120)
    output = printed("evaluate", runs / "tiles", "--data", tmp_path / "other.npz", "-o", tmp_path / "c.png")
    assert "120 samples of" in output
    np.savez(tmp_path / "pets.npz", images=images, labels=labels, classes=["cat", "dog", "red"])
    output = printed("evaluate", runs / "tiles", "--data", tmp_path / "pets.npz", exit_code=2)
    assert "the classes cat, dog are not among those of" in output
    assert "was trained on classes" in printed("evaluate", runs / "tiles", "--data", "sine", exit_code=2)
    assert "unknown part 'tests'" in printed("evaluate", runs / "tiles", "--part", "tests", exit_code=2)


def test_predict_arrays_and_images(runs, tmp_path):
    run = load_run(runs / "tiles")
    with np.load(runs / "tiles.npz") as file:
        images = file["images"][:5]
    np.save(tmp_path / "five.npy", images)
    result = invoke("predict", runs / "tiles", tmp_path / "five.npy", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert [row["prediction"] for row in rows] == run.predict(images.transpose(0, 3, 1, 2)).tolist()
    assert float(rows[0]["probability red"]) == pytest.approx(
        run.predict_proba(images.transpose(0, 3, 1, 2))[0, 0], rel=1e-6
    )
    image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")
    image.fromarray(images[0]).save(tmp_path / "one.png")
    assert rows[0]["prediction"] in printed("predict", runs / "tiles", tmp_path / "one.png")
    image.fromarray(images[0]).resize((9, 9)).save(tmp_path / "nine.png")
    output = printed("predict", runs / "tiles", tmp_path / "nine.png", exit_code=2)
    assert "has 9×9 pixels, but the model takes 8×8" in output


def test_predict_tables(runs, tmp_path):
    """By the names of the columns; other columns are ignored."""
    lines = ["a,b,target", *(f"{i % 7},{i % 5},{i % 7 - 2 * (i % 5)}" for i in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    run = Run(Config(str(tmp_path / "t.csv"), epochs=1), tmp_path / "run")
    run.train()
    (tmp_path / "p.csv").write_text("name,b,a\nx,3,1\ny,0,2\n")
    result = invoke("predict", tmp_path / "run", tmp_path / "p.csv", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.output)))
    expected = load_run(tmp_path / "run").predict(np.array([[1.0, 3.0], [2.0, 0.0]]))
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-6)
    output = printed("predict", runs / "sine", tmp_path / "p.csv", exit_code=2)
    assert "is a table, but the model was not trained on one" in output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.png", "there is no file"),
        ("a.txt", "is not a file of inputs"),
        ("empty", "holds no images"),
        ("a.npz", "expected an array inputs or images, it holds x"),
        ("a.npy", "holds inputs of shape (2, 5), expected (N, 3, 8, 8)"),
    ],
)
def test_predict_says_what_is_wrong(runs, tmp_path, name, message):
    if name.endswith(".png"):
        pytest.importorskip("PIL", reason="images are read with Pillow")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    np.save(tmp_path / "a.npy", np.zeros((2, 5)))
    assert message in printed("predict", runs / "tiles", tmp_path / name, exit_code=2)
    assert "not the folder of a run" in printed("predict", tmp_path, tmp_path / name, exit_code=2)


def test_compare_draws_the_curves_of_runs_in_one_picture(runs, tmp_path):
    pytest.importorskip("matplotlib")
    output = printed("compare", runs / "moons", runs / "tiles", "-o", tmp_path / "both.png")
    assert "picture in" in output
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert "two or more" in printed("compare", runs / "moons", "-o", tmp_path / "b.png", exit_code=2)
    output = printed("compare", runs / "moons", runs / "sine", "-o", tmp_path / "b.png", exit_code=2)
    assert "have different losses" in output


@pytest.mark.parametrize("name", ["moons", "tiles", "sine"])
def test_the_exported_lines_give_the_same_outputs_in_pytorch(runs, name):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    run = load_run(runs / name)
    scope = {}
    exec(invoke("export", runs / name).output, scope)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (7, *run.input_shape)).astype(np.uint8 if name == "tiles" else float)
    scaled = run.scaler.transform(inputs).astype(np.float32)
    with torch.no_grad():
        outputs = scope["model"](torch.from_numpy(scaled)).double().numpy()
    if run.target_scaler is not None:
        outputs = run.target_scaler.inverse_transform(outputs).reshape(7, *run.target_shape)
    np.testing.assert_allclose(outputs, run.outputs(inputs), rtol=1e-4, atol=1e-4)


def test_a_model_that_pytorch_has_not_is_not_exported(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    Run(Config(model="lstm", epochs=1), tmp_path / "lstm").train()
    assert "PyTorch has no module Rows" in printed("export", tmp_path / "lstm", exit_code=2)


@pytest.mark.parametrize(("model", "part"), [("lstm", "RecurrentStack"), ("ngpt", "NGPTBlock")])
def test_text(tmp_path, model, part):
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog;\n" * 67)
    run = Run(Config("text", model, epochs=1, file=str(file)), tmp_path / "run")
    run.train()
    assert f"PyTorch has no module {part}" in printed("export", tmp_path / "run", exit_code=2)
    bits = run.figures()["validation"]["bits_per_character"]
    assert f"bits per character: {bits:.4f}" in printed("evaluate", tmp_path / "run")
    assert "is a run on text" in printed("predict", tmp_path / "run", file, exit_code=2)
    file.write_text("another text, which the run has never seen: " * 67)
    assert "has changed since the run" in printed("evaluate", tmp_path / "run", exit_code=2)


def test_a_closed_pipe_ends_without_a_word(runs, tmp_path):
    np.save(tmp_path / "many.npy", np.zeros((5000, 2)))
    arguments = ["predict", str(runs / "moons"), str(tmp_path / "many.npy"), "--csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygrad_norm", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.fixture
def moons(runs, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(runs / "moons", tmp_path / "moons")


@pytest.mark.parametrize("name", ["metrics.csv", "results.json"])
def test_damaged_figures_do_not_hinder_the_use_of_the_model(moons, name):
    (moons / name).write_text("x")
    np.save(moons / "two.npy", np.zeros((2, 2)))
    printed("evaluate", moons, "--out", moons / "c.png")
    printed("predict", moons, moons / "two.npy")
    printed("export", moons)
    run = load_run(moons)
    assert "of 3 epochs" in repr(run)
    with pytest.raises(ValueError, match="writes it again"):
        assert run.metrics + list(run.results)


@pytest.mark.parametrize("name", ["model.safetensors", "scaler.safetensors"])
@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "missing"])
def test_what_the_checkpoint_holds_is_written_again(moons, name, damaged):
    (moons / name).write_text("x")
    if not damaged:
        (moons / name).unlink()
    assert f"tinygrad-norm train --resume {moons} writes it again" in printed("evaluate", moons, exit_code=2)
    printed("train", "--resume", moons)
    printed("evaluate", moons, "--out", moons / "c.png")


def test_a_damaged_model_without_a_checkpoint_is_trained_anew(moons):
    (moons / "checkpoint.safetensors").unlink()
    (moons / "model.safetensors").write_text("x")
    assert "train a new run in another folder" in printed("evaluate", moons, exit_code=2)


def test_a_damaged_checkpoint_leaves_the_model_usable(moons):
    (moons / "checkpoint.safetensors").write_text("x")
    assert "evaluate, predict and export need only" in printed("train", "--resume", moons, exit_code=2)


def test_a_config_is_written_again_from_the_checkpoint(moons):
    path = moons / "config.json"
    right = path.read_text()
    path.write_text("{")
    assert f"Remove it: tinygrad-norm train --resume {moons} writes it again" in printed(
        "train", "--resume", moons, exit_code=2
    )
    path.unlink()
    printed("train", "--resume", moons)
    assert path.read_text() == right


@pytest.mark.parametrize("option", ["--resume", "--out"])
def test_a_folder_in_use_is_refused_before_anything_else(moons, option):
    if option == "--out":
        (moons / "checkpoint.safetensors").unlink()
    with locked(moons):
        assert printed("train", "moons", option, moons, exit_code=2).startswith(f"error: {moons} is in use")
