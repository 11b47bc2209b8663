"""`tinygrad-norm train text`: bits per character, the sample, resuming, and files that are not text."""

import json
import math
import signal

import numpy as np
import pytest
from safetensors import safe_open
from train_runs import assert_same_numbers, invoke, metrics

import tinygrad_norm as tn
from tinygrad_norm import data
from tinygrad_norm.training import TEXT_MODELS, Config, Interrupted, Run, language_modelling, load_run
from tinygrad_norm.training.language_modelling import sample_codes


@pytest.fixture
def file(tmp_path):
    """A text of 3000 characters that repeats itself: two characters determine the next."""
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog;\n" * 67)
    return path


@pytest.fixture
def short_samples(monkeypatch):
    monkeypatch.setattr(language_modelling, "SAMPLE_LENGTH", 30)


@pytest.mark.usefixtures("short_samples")
@pytest.mark.parametrize("model", TEXT_MODELS)
def test_writes_everything_and_prints_bits_and_a_sample(tmp_path, file, model):
    options = ["--model", model, "--epochs", 2, "--batch-size", 4]
    result = invoke("text", "--file", file, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "curves.png",
        "metrics.csv",
        "model.safetensors",
        "results.json",
    ]
    rows = metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    first, last = (float(row["validation_bits_per_character"]) for row in rows)
    assert last < first < math.log2(29)
    assert f"validation bits per character: {last:.3f}" in result.output
    told = [line for line in result.output.splitlines() if line.startswith(("epoch 1/2  ", "epoch 2/2  "))]
    assert f"  validation {last:.4f}  " in told[-1]
    assert max(map(len, told)) <= 80
    sample = result.output.split("a sample:\n\n")[1].split("\n\nvalidation bits")[0]
    assert len(sample) == 30
    with safe_open(tmp_path / "run" / "model.safetensors", "np") as weights:
        alphabet = json.loads(weights.metadata()["run"])["alphabet"]
        assert weights.get_tensor("0.weight").shape[0] == len(alphabet)
    assert set(sample) <= set(alphabet[1:])


def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path, file):
    config = Config("text", file=str(file), epochs=2)
    Run(config, tmp_path / "whole").train()

    def stop_in_the_middle_of_epoch_2(run):
        if run.progress.epoch == 1 and run.progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(config, tmp_path / "parts").train(on_step=stop_in_the_middle_of_epoch_2)
    assert len(metrics(tmp_path / "parts")) == 1
    Run(config, tmp_path / "parts", resume=True).train()
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


def test_a_text_that_changed_since_raises(tmp_path, file):
    Run(Config("text", file=str(file), epochs=1, batch_size=32), tmp_path / "run").train()
    file.write_text(file.read_text().replace("quick", "thick"))
    result = invoke("--resume", tmp_path / "run")
    assert result.exit_code == 2
    assert "changed since" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("model", "placement", "norm"),
    [
        pytest.param(
            *choice,
            norm,
            marks=() if norm == "layer" or choice == ("transformer", "pre") else pytest.mark.slow,
        )
        for choice in (("lstm", None), ("transformer", "pre"), ("transformer", "post"))
        for norm in ("batch", "layer", "rms", "group", "none")
    ],
)
def test_every_model_learns_with_every_norm(tmp_path, file, model, norm, placement):
    config = Config("text", model, norm, 1, 1e-3, 2, file=str(file), placement=placement)
    run = Run(config, tmp_path)
    before = run.task.evaluate("validation")["bits_per_character"]
    run.train()
    assert run.progress.history[-1]["validation_bits_per_character"] < before - 0.15


def test_bits_per_character_of_a_model_that_knows_nothing(tmp_path, file):
    run = Run(Config("text", "lstm", file=str(file)), tmp_path)
    for parameter in run.model[2].parameters():
        parameter.array[...] = 0
    figures = run.task.evaluate("validation")
    assert figures["bits_per_character"] == pytest.approx(math.log2(len(run.task.text.alphabet)))


def test_characters_only_in_validation_are_counted_and_reported(tmp_path, file):
    file.write_text(file.read_text() + "ÄÖÜ")
    run = Run(Config("text", file=str(file), epochs=1, batch_size=32), tmp_path)
    assert ", 3 of them never seen in training" in run.task.describe()
    run.train()
    assert run.progress.history[-1]["validation_bits_per_character"] < 50


class Predictor(tn.nn.Module):
    """Predicts the code after the last one, but the unknown code with more confidence."""

    def forward(self, x):
        codes = x.numpy()
        logits = np.zeros((*codes.shape, 5))
        np.put_along_axis(logits, (codes % 4 + 1)[..., None], 50.0, -1)
        logits[..., 0] = 100.0
        return tn.tensor(logits)


def test_samples_follow_the_model_and_are_never_unknown():
    np.testing.assert_array_equal(sample_codes(Predictor(), np.array([1, 2]), 6, seed=0), [3, 4, 1, 2, 3, 4])


def test_samples_depend_only_on_the_seed(tmp_path, file):
    task = Run(Config("text", "lstm", file=str(file)), tmp_path).task
    samples = [sample_codes(task.model, task.text.train[-20:], 20, seed).tolist() for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]


@pytest.mark.usefixtures("short_samples")
def test_control_characters_of_a_text_do_not_reach_the_terminal(tmp_path, file):
    file.write_text("\x1b[31m red \x07\n" * 100)
    task = Run(Config("text", "lstm", file=str(file)), tmp_path).task
    message = task.conclude({"validation": {"bits_per_character": 1.0, "accuracy": 0.5}})
    assert "·" in message
    assert not {"\x1b", "\x07"} & set(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "--file", "nothing.txt"], "there is no file nothing.txt"),
        (["text", "--file", "picture.png"], "is not UTF-8 text"),
        (["text", "--file", "short.txt"], "use a longer text"),
        (["text", "--file", "empty.txt"], "has 0 characters"),
        (["text", "--model", "mlp"], "mlp is for images, not text: choose one of transformer, lstm"),
        (["text", "--model", "gpt"], "unknown model 'gpt': choose one of transformer, lstm"),
        (["text", "--norm", "instance"], "Norms that fit: batch, "),
        (["text", "--model", "lstm", "--placement", "pre"], "placement is an option of transformers"),
        (["text", "--model", "lstm", "--qk-norm", "l2"], "qk_norm is an option of transformers"),
        (["text", "--model", "ngpt", "--softcap", "5"], "softcap is an option of transformers"),
        (["text", "--softcap", "0"], "softcap must be a positive finite number"),
        (["text", "--placement", "perri"], "(did you mean 'peri'?)"),
        (["text", "--placement", "sandwich"], "the placement 'sandwich' is called 'peri'"),
        (["text", "--residual", "sandwich"], "--residual is called --placement now: pass --placement peri"),
        (["text", "--qk-norm", "batch"], "unknown qk_norm 'batch': choose one of none, l2, layer, rms"),
        (["text", "--data-dir", "."], "data_dir is only for the dataset 'idx'"),
        (["digits", "--file", "short.txt"], "file is only for the dataset 'text'"),
        (["digits", "--model", "lstm", "--norm", "instance"], "Norms that fit: batch, "),
        (["digits", "--model", "mlp", "--placement", "post"], "has no such option"),
        (["digits", "--model", "transformer", "--placement", "mix"], "only 2, so it would be 'pre'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_prints_an_error(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "short.txt").write_text("a few words, and no more")
    (tmp_path / "empty.txt").write_text("")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs").exists()


def test_the_default_text_needs_no_file(tmp_path):
    task = Run(Config("text", "lstm"), tmp_path).task
    assert "training characters of pydoc_data.topics" in task.describe()
    assert len(task.text.train) == len(data.load_text().train)


@pytest.mark.slow
def test_a_tiny_gpt_reaches_two_bits_per_character(tmp_path):
    run = Run(Config("text"), tmp_path)
    run.train()
    assert run.progress.history[-1]["validation_bits_per_character"] <= 2.0


# -- nGPT


def test_ngpt_trains_without_warm_up_and_decay_and_its_vectors_stay_on_the_sphere(tmp_path, file):
    run = Run(Config("text", "ngpt", file=str(file), epochs=1, batch_size=4), tmp_path)
    assert (run.config.warmup, run.config.weight_decay, run.config.norm) == (0, 0, "none")
    worst = []

    def measure(run):
        model = run.model
        vectors = [(model[0].weight, 1), (model[len(model) - 1].out_proj.weight, 1)]
        for block in model[1:-1]:
            vectors += [(block.in_proj.weight, 1), (block.up_proj.weight, 1)]
            vectors += [(block.out_proj.weight, 0), (block.down_proj.weight, 0)]
        worst.extend(abs(np.linalg.norm(w.numpy(), axis=axis) - 1).max() for w, axis in vectors)

    run.train(on_step=measure)
    assert max(worst) < 1e-6


@pytest.mark.slow
def test_ngpt_resumes_with_the_numbers_of_an_uninterrupted_run(tmp_path, file):
    config = Config("text", "ngpt", file=str(file), epochs=2, batch_size=8)
    Run(config, tmp_path / "whole").train()

    def stop(run):
        if run.progress.epoch == 1 and run.progress.step == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(config, tmp_path / "parts").train(on_step=stop)
    Run(config, tmp_path / "parts", resume=True).train()
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")
    loaded = load_run(tmp_path / "parts")
    assert len(loaded.generate("the quick", 10)) == 10


def test_ngpt_takes_no_other_norm(tmp_path):
    result = invoke("text", "--model", "ngpt", "--norm", "layer", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "takes no other norm, got 'layer'" in " ".join(result.output.split())


# -- where a transformer normalizes


@pytest.mark.slow
@pytest.mark.usefixtures("short_samples")
@pytest.mark.parametrize(
    ("arguments", "told", "name"),
    [
        ([], "layer normalization before each sublayer, ", "layer"),
        (
            ["--placement", "post", "--norm", "scale"],
            "scale normalization after each sublayer, ",
            "scale-post",
        ),
        (
            ["--placement", "peri", "--qk-norm", "l2"],
            "layer normalization before and after each sublayer, l2 on queries and keys, ",
            "layer-peri-qk-l2",
        ),
        pytest.param(
            ["--placement", "scaled", "--qk-norm", "rms-all", "--softcap", "20"],
            "layer normalization before each sublayer, divided by the root of its layer's number, rms-all on "
            "queries and keys, scores capped at 20, ",
            "layer-scaled-qk-rms-all-softcap-20",
            marks=pytest.mark.slow,
        ),
        (
            ["--placement", "deep", "--norm", "rms"],
            "rms normalization after each sublayer, as DeepNorm, ",
            "rms-deep",
        ),
    ],
)
def test_a_run_says_where_it_normalizes_and_can_be_used_and_continued(
    tmp_path, monkeypatch, file, arguments, told, name
):
    monkeypatch.chdir(tmp_path)
    common = ["text", "--file", file, "--epochs", 1, "--batch-size", 16]
    result = invoke(*common, *arguments)
    assert result.exit_code == 0, result.output
    assert f"transformer with {told}" in " ".join(result.output.split())
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith(f"-transformer-{name}")
    loaded = load_run(folder)
    assert len(loaded.generate("the quick", 5)) == 5
    assert invoke(*common, *arguments, "--resume", folder).exit_code == 0
    result = invoke("--resume", folder, "--placement", "peri" if "deep" in arguments else "deep")
    assert result.exit_code == 2
    assert "was started with --placement" in " ".join(result.output.split())
