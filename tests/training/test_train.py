"""`tinygrad-norm train`: its files, resuming, interrupting, and errors."""

import json
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from train_runs import assert_same_numbers, invoke, metrics, weights

import tinygrad_norm as tn
from tinygrad_norm.cli import progress
from tinygrad_norm.training import IMAGE_MODELS, NORMS, OPTIMIZERS, Config, Interrupted, Run
from tinygrad_norm.training.curves import save_curves
from tinygrad_norm.training.interrupt import stop_after_step
from tinygrad_norm.training.models import build_image_model
from tinygrad_norm.training.norm_choices import fits

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


def test_writes_metrics_curves_weights_and_config(tmp_path):
    result = invoke("digits", "--epochs", 2, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "test accuracy:" in result.output
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "curves.png",
        "metrics.csv",
        "model.safetensors",
        "results.json",
        "scaler.safetensors",
    ]
    rows = metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert weights(tmp_path / "run")["2.running_mean"].shape == (128,)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["norm"] == "batch"
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_epochs_of_the_curves_are_integers(tmp_path, monkeypatch, epochs):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn = []
    monkeypatch.setattr(figure, "savefig", lambda self, path: (drawn.append(self), path.write_bytes(b"")))
    names = (f"{part}_{name}" for part in ("train", "validation") for name in ("loss", "accuracy"))
    figures = dict.fromkeys(names, 0.5)
    history = [{"epoch": i + 1, **figures} for i in range(epochs)]
    assert save_curves(
        tmp_path / "curves.png", history, {"loss": "loss (nats)", "accuracy": "accuracy"}, "title"
    )
    for axes in drawn[0].axes:
        assert all(tick.is_integer() for tick in axes.get_xticks().tolist())


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd",
        "adam",
        "adamw",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("muon", "lars", "lamb")),
    ],
)
def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path, optimizer):
    config = Config(epochs=4, optimizer=optimizer, lr=0.01)
    Run(config, tmp_path / "whole").train()

    def stop_in_the_middle_of_epoch_2(run):
        if run.progress.epoch == 1 and run.progress.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(config, tmp_path / "parts").train(on_step=stop_in_the_middle_of_epoch_2)
    assert len(metrics(tmp_path / "parts")) == 1
    Run(config, tmp_path / "parts", resume=True).train()
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_at_its_default_rate(tmp_path, optimizer):
    run = Run(Config(epochs=3, optimizer=optimizer), tmp_path)
    before = run.task.evaluate("validation")["loss"]
    run.train()
    assert run.task.evaluate("validation")["loss"] < 0.75 * before


def test_ctrl_c_saves_says_so_and_the_command_it_prints_continues(tmp_path, monkeypatch):
    original = Run._step

    def step(self, *batch):
        original(self, *batch)
        if self.progress.epoch == 1 and self.progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "_step", step)
    result = invoke("digits", "--epochs", 3, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "everything is saved" in result.output
    assert f"--resume {tmp_path / 'run'}" in result.output.replace("\n", "")
    monkeypatch.undo()
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "continuing after epoch 1, step 3" in result.output
    assert len(metrics(tmp_path / "run")) == 3


@pytest.fixture(autouse=True)
def _sigint_interrupts():
    """Make SIGINT interrupt even in the background of a shell, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(*ignored, **options):
    signal.raise_signal(signal.SIGINT)


def interrupted(out, epochs=2):
    result = invoke("digits", "--epochs", epochs, "--out", out)
    assert result.exit_code == 130
    return " ".join(result.output.split())


def test_ctrl_c_after_the_last_step_saves_and_says_so(tmp_path, monkeypatch):
    original = Run._save
    monkeypatch.setattr(Run, "_save", lambda run: (original(run), run.finished and interrupt()))
    output = interrupted(tmp_path / "run")
    assert "Stopped by Ctrl-C; everything is saved in" in output
    monkeypatch.undo()
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 0
    assert "test accuracy:" in result.output
    assert (tmp_path / "run" / "curves.png").exists()


def test_ctrl_c_as_training_ends_is_not_lost(tmp_path, monkeypatch):
    @contextmanager
    def late():
        with stop_after_step() as stopped:
            yield stopped
            interrupt()

    monkeypatch.setattr("tinygrad_norm.training.run.stop_after_step", late)
    assert "Stopped by Ctrl-C; everything is saved in" in interrupted(tmp_path / "run")


@pytest.mark.parametrize(
    "where", ["tinygrad_norm.training.run.save_curves", "tinygrad_norm.training.Run.figures"]
)
def test_ctrl_c_in_the_picture_or_the_test_says_what_is_saved(tmp_path, monkeypatch, where):
    monkeypatch.setattr(where, interrupt)
    output = interrupted(tmp_path / "run")
    assert "Stopped by Ctrl-C; all 2 epochs are saved in" in output
    assert "Continue with: tinygrad-norm train --resume" in output


@pytest.mark.parametrize(
    ("at", "message"),
    [((0, 2), "before anything was saved"), ((1, 2), "1 of 2 epochs are saved in")],
    ids=["first epoch", "second epoch"],
)
def test_a_second_ctrl_c_stops_at_once_and_says_what_is_saved(tmp_path, monkeypatch, at, message):
    original = Run._step

    def step(run, *batch):
        original(run, *batch)
        if (run.progress.epoch, run.progress.step) == at:
            interrupt()
            interrupt()

    monkeypatch.setattr(Run, "_step", step)
    assert f"Stopped by Ctrl-C{'' if 'before' in message else ';'} {message}" in interrupted(tmp_path / "run")


def test_resume_of_a_finished_run_writes_missing_files_again(tmp_path):
    Run(Config(epochs=1), tmp_path / "run").train()
    files = ("metrics.csv", "model.safetensors", "curves.png")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in files}
    for name in files:
        (tmp_path / "run" / name).unlink()
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert {name: (tmp_path / "run" / name).read_bytes() for name in files} == before


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Run(Config(epochs=1, seed=seed), tmp_path / name).train()
    assert_same_numbers(tmp_path / "a", tmp_path / "b")
    assert metrics(tmp_path / "a") != metrics(tmp_path / "c")


def models_and_norms():
    """Those that fit; in the quick suite PyTorch's norms in an mlp, the other models with two of them."""
    for norm in NORMS:
        for model in IMAGE_MODELS:
            quick = norm in ("batch", "layer", "rms", "group", "instance", "none")
            if model != "mlp":
                quick = norm in ("batch", "layer")
            if model in ("resnet", "nf-resnet", "convnext"):
                quick = (model, norm) in {("resnet", "batch"), ("nf-resnet", "none"), ("convnext", "layer")}
            shape = (32, 8, 8) if model in ("cnn", "resnet") else (64,)
            if norm == "none" or (model != "nf-resnet" and fits(norm, shape)):
                yield pytest.param(model, norm, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("model", "norm"), list(models_and_norms()))
def test_every_model_learns_with_every_norm(tmp_path, model, norm):
    few = 3 if norm == "dyt" else 1  # which does not bring activations to size 1
    slow = model == "convnext" or (model == "resnet" and norm in ("dyt", "instance"))
    epochs = few if model in ("mlp", "cnn") else 6 if slow else 2
    run = Run(Config(model=model, norm=norm, epochs=epochs), tmp_path)
    before = run.task.evaluate("validation")["loss"]
    run.train()
    assert run.task.evaluate("validation")["loss"] < 0.9 * before


def test_an_mlp_takes_inputs_of_any_shape_and_the_other_models_images():
    for shape in ((5,), (3, 4), (2, 3, 4)):
        model = build_image_model(Config(model="mlp"), shape, 7)
        assert model(tn.randn(2, *shape)).shape == (2, 7)
    for name in set(IMAGE_MODELS) - {"mlp"}:
        message = rf"the {name} is for images \(C, H, W\), but the inputs of moons have shape \(2,\)"
        with pytest.raises(ValueError, match=message):
            build_image_model(Config("moons", name), (2,), 7)


def test_the_nf_resnet_takes_no_normalization():
    with pytest.raises(
        ValueError, match="'nf-resnet' standardizes its weights and takes no other norm, got 'power'"
    ):
        Config(model="nf-resnet", norm="power")
    model = build_image_model(Config(model="nf-resnet"), (3, 9, 7), 5)
    assert model(tn.randn(2, 3, 9, 7)).shape == (2, 5)
    assert [block.beta**2 for block in model[1:5]] == pytest.approx([1, 1.04, 1.08, 1.04])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "accuracy"),
    [("mlp", 0.97), ("cnn", 0.985), ("resnet", 0.98), ("nf-resnet", 0.97), ("convnext", 0.975)],
)
def test_reaches_the_accuracy_that_the_readme_promises(tmp_path, model, accuracy):
    run = Run(Config(model=model), tmp_path)
    run.train()
    assert run.figures()["test"]["accuracy"] >= accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--norm", "batchnorm"], "unknown norm 'batchnorm': choose one of batch, "),
        (["digits", "--model", "mlpp"], "unknown model 'mlpp': choose one of mlp, cnn"),
        (["digits", "--model", "tranformer"], "(did you mean 'transformer'?)"),
        (["digits", "--norm", "bach"], "(did you mean 'batch'?)"),
        (["digit"], "(did you mean 'digits'?)"),
        (["digits", "--model", "mlp", "--norm", "instance"], "--model cnn"),
        (["digits", "--optimizer", "adamm"], "unknown optimizer"),
        (["digits", "--epochs", "0"], "epochs must be at least 1"),
        (["digits", "--lr", "0"], "lr must be a positive number"),
        (["cifar"], "unknown dataset 'cifar': choose one of digits, idx"),
        (["idx"], "folder"),
        (["digits", "--backend", "tpu"], "unknown backend"),
        (["--resume", "nowhere"], "nowhere has no config.json"),
        (["digits", "--batch-size", "1"], "more than one sample per batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_prints_an_error(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_folder_without_idx_files(tmp_path):
    result = invoke("idx", "--data-dir", tmp_path)
    assert result.exit_code == 2
    assert "train-images" in result.output


def test_cupy_that_is_not_installed(tmp_path, monkeypatch):
    from tinygrad_norm import backends

    monkeypatch.setattr(backends, "_LOADED", {"numpy": backends._NUMPY})
    monkeypatch.setitem(sys.modules, "cupy", None)
    result = invoke("digits", "--backend", "cupy", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "pip install 'tinygrad_norm[cuda13]'" in " ".join(result.output.split())


def test_scikit_learn_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    result = invoke("digits", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "pip install 'tinygrad_norm[data]'" in " ".join(result.output.split())


def test_matplotlib_that_is_not_installed_costs_only_the_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("digits", "--epochs", 1, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "curves.png was not drawn: pip install 'tinygrad_norm[plot]'" in " ".join(result.output.split())
    assert not (tmp_path / "run" / "curves.png").exists()


def test_settings_that_were_edited_since_the_checkpoint_raise(tmp_path):
    Run(Config(epochs=1), tmp_path / "run").train()
    text = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(text.replace('"mlp"', '"cnn"'))
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 2
    message = "was made with model 'mlp', but config.json beside it says model 'cnn'"
    assert message in " ".join(result.output.split())


def test_a_damaged_checkpoint_raises(tmp_path):
    Run(Config(epochs=1), tmp_path / "run").train()
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 2
    assert "damaged" in " ".join(result.output.split())


def test_a_finished_run_is_never_overwritten(tmp_path):
    Run(Config(epochs=1), tmp_path / "run").train()
    result = invoke("digits", "--epochs", 1, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "--resume" in result.output


def test_resume_takes_the_options_of_the_run_and_says_that_it_is_finished(tmp_path):
    Run(Config(epochs=1, lr=0.01), tmp_path / "run").train()
    same = ("--epochs", 1, "--lr", 0.01, "--norm", "batch", "--out", tmp_path / "run")
    result = invoke("digits", "--resume", tmp_path / "run", *same)
    assert result.exit_code == 0, result.output
    assert "already finished (1 of 1 epochs)" in result.output
    assert "continuing" not in result.output
    assert "test accuracy:" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--epochs", "3"],
            "with --epochs 1 and cannot continue with 3, because its learning rate depends on it",
        ),
        (["--lr", "0.1"], "leave out --lr, or start a new run"),
        (["idx"], "started with the dataset digits"),
        (["--out", "elsewhere"], "leave out --out"),
    ],
)
def test_resume_takes_no_other_option(tmp_path, arguments, message):
    Run(Config(epochs=1), tmp_path / "run").train()
    result = invoke(*arguments, "--resume", tmp_path / "run")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_file_and_an_unreadable_checkpoint_are_not_resumed(tmp_path, monkeypatch):
    Run(Config(epochs=1), tmp_path / "run").train()
    result = invoke("--resume", tmp_path / "run" / "config.json")
    assert result.exit_code == 2
    assert "is a file: pass the folder of a run to --resume" in " ".join(result.output.split())
    original = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "checkpoint.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 2
    assert "checkpoint.safetensors cannot be read: Permission denied" in " ".join(result.output.split())


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="takes a folder in which nobody can write")
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file/run", "cannot create the folder file/run: Not a"),
        ("/proc/self", "no file can be written in /proc/self"),
    ],
)
def test_a_folder_that_cannot_be_written_is_an_error_before_training(tmp_path, monkeypatch, out, message):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Run, "_step", None)  # calling it raises
    result = invoke("digits", "--out", out)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Errno" not in result.output


def test_the_defaults_are_in_the_help_and_printed_at_the_start(tmp_path):
    told = " ".join(re.sub("│", "", invoke("--help").output).split())
    for model in ("mlp, cnn", "rnn, lstm, gru"):
        assert f"{model}: " in told
    assert "batch normalization, epochs 30, lr 0.003, batch size 64, adam" in told
    assert "transformer: layer normalization before each sublayer, epochs 6, lr 0.003, batch size 8" in told
    result = invoke("digits", "--epochs", 1, "--out", tmp_path / "run")
    assert "epochs 1, lr 0.003, batch size 64, adam, seed 0\n" in result.output


def test_a_pipe_gets_lines_within_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    result = invoke("digits", "--epochs", 1, "--out", tmp_path / "run")
    lines = re.findall(r"^epoch 1, step \d+/20  loss \d\.\d+  accuracy", result.output, re.MULTILINE)
    assert len(lines) == 20


def test_a_loss_that_explodes_is_an_error_not_a_nan(tmp_path):
    result = invoke("digits", "--norm", "none", "--optimizer", "sgd", "--lr", 1e6, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "smaller --lr" in " ".join(result.output.split())


def test_a_file_in_place_of_the_folder_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("precious")
    result = invoke("digits", "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "is a file" in " ".join(result.output.split())
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("text", ['{"epochs": "many"}', "[]", "{"])
def test_a_config_that_was_edited_badly_raises(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    result = invoke("--resume", tmp_path)
    assert result.exit_code == 2
    assert "config.json" in "".join(result.output.split())
