"""`Run` with one's own data and model, and `load_run`."""

import json
import signal

import numpy as np
import pytest
from train_runs import assert_same_numbers, metrics

import tinygrad_norm as tn
from tinygrad_norm import data, nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.training import Config, Interrupted, Run, load_run
from tinygrad_norm.training.evaluation import evaluate_run
from tinygrad_norm.training.run_record import read_metrics
from tinygrad_norm.training.task import Sums


def split(rng, count, classes=None):
    x = rng.normal(size=(count, 3))
    if classes is None:
        return data.Split(x, 1e4 * x[:, :1] * x[:, 1:] + 5e5)
    return data.Split(x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1))


@pytest.fixture
def values():
    """Two target values far from 0, in units of 10⁴."""
    rng = np.random.default_rng(0)
    return data.Dataset("values", *(split(rng, n) for n in (300, 60, 60)), classes=None)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return data.Dataset("points", *(split(rng, n, 3) for n in (300, 60, 60)), classes=("a", "b", "c"))


def own_model(features=3, outputs=3):
    tn.manual_seed(1)
    return nn.Sequential(nn.Linear(features, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, outputs))


def r2_score(t, y):
    return float((1 - ((t - y) ** 2).sum(0) / ((t - t.mean(0)) ** 2).sum(0)).mean())


class TestOwnData:
    def test_classes_are_learned_and_the_config_says_that_the_data_are_own(self, tmp_path, points):
        run = Run(Config(epochs=15), tmp_path / "run", dataset=points)
        run.train()
        assert run.figures()["test"]["accuracy"] > 0.9
        assert run.config.dataset == "own"
        assert json.loads((tmp_path / "run" / "config.json").read_text())["dataset"] == "own"

    def test_target_values_are_learned_and_reported_in_their_units(self, tmp_path, values):
        run = Run(Config(epochs=40, norm="none"), tmp_path / "run", dataset=values)
        run.train()
        figures = run.figures()["test"]
        y, t = load_run(tmp_path / "run").predict(values.test.inputs), values.test.targets
        assert y.shape == t.shape
        assert figures["r2"] > 0.5
        assert figures["r2"] == pytest.approx(r2_score(t, y), abs=1e-5)
        assert figures["mse"] == pytest.approx(((y - t) ** 2).mean(), rel=1e-5)

    def test_own_model_loss_and_metrics(self, tmp_path, values):
        run = Run(
            Config(epochs=2, scale="none"),
            tmp_path / "run",
            dataset=values,
            model=own_model(outputs=2),
            loss=F.l1_loss,
            metrics={"squared": F.mse_loss, "largest": lambda y, t: float(abs(y.numpy() - t.numpy()).max())},
        )
        run.train()
        assert list(metrics(tmp_path / "run")[0]) == [
            "epoch",
            *(
                f"{part}_{name}"
                for part in ("train", "validation")
                for name in ("loss", "squared", "largest")
            ),
        ]
        test = values.test
        y = load_run(tmp_path / "run", model=own_model(outputs=2)).predict(test.inputs)
        figures = run.figures()["test"]
        assert figures["loss"] == pytest.approx(abs(y - test.targets).mean(), rel=1e-5)
        assert figures["squared"] == pytest.approx(((y - test.targets) ** 2).mean(), rel=1e-5)

    def test_a_resumed_own_run_gives_the_same_numbers(self, tmp_path, points):
        config = Config(epochs=3, batch_size=50)
        Run(config, tmp_path / "whole", dataset=points, model=own_model()).train()

        def stop(run):
            if run.progress.epoch == 1 and run.progress.step == 2:
                signal.raise_signal(signal.SIGINT)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(Interrupted):
                Run(config, tmp_path / "parts", dataset=points, model=own_model()).train(on_step=stop)
        finally:
            signal.signal(signal.SIGINT, before)
        pytest.importorskip("matplotlib")
        assert (tmp_path / "parts" / "curves.png").exists()
        Run(config, tmp_path / "parts", resume=True, dataset=points, model=own_model()).train()
        assert_same_numbers(tmp_path / "whole", tmp_path / "parts")

    def test_what_does_not_fit_raises(self, tmp_path, points, values):
        with pytest.raises(ValueError, match=r"outputs of shape \(64, 2\), expected logits \(64, 3\)"):
            Run(Config(epochs=1), tmp_path, dataset=points, model=own_model(outputs=2)).train()
        with pytest.raises(ValueError, match="one output per target value is expected"):
            Run(Config(epochs=1), tmp_path, dataset=values, model=own_model(outputs=3)).train()
        with pytest.raises(ValueError, match="a scalar, got shape"):
            loss = lambda y, t: F.cross_entropy(y, t, reduction="none")  # noqa: E731
            Run(Config(epochs=1), tmp_path, dataset=points, model=own_model(), loss=loss).train()
        with pytest.raises(ValueError, match="takes no model, loss or metrics"):
            Run(Config("text"), tmp_path, model=own_model())
        with pytest.raises(ValueError, match="has a dataset of a script's own"):
            Run(Config("own"), tmp_path)

    def test_resume_with_other_settings_names_them(self, tmp_path, points):
        Run(Config(epochs=1), tmp_path / "run", dataset=points).train()
        with pytest.raises(ValueError, match=r"started with lr 0.003, and cannot continue with lr 0.1"):
            Run(Config(epochs=1, lr=0.1), tmp_path / "run", resume=True, dataset=points)


class TestLoadRun:
    @pytest.mark.parametrize("scale", ["minmax", "standard", "image", "contrast", "none"])
    def test_digits_with_every_scale(self, tmp_path, scale):
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
        run = Run(Config(model="cnn", epochs=1, scale=scale), tmp_path / "run")
        run.train()
        loaded, test = load_run(tmp_path / "run"), data.load("digits").test
        assert (loaded.predict(test.images).astype(int) == test.labels).mean() == run.figures()["test"][
            "accuracy"
        ]
        probabilities = loaded.predict_proba(test.images)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
        assert loaded.classes == tuple("0123456789")
        assert [row["epoch"] for row in loaded.metrics] == [1]
        assert (loaded.scaler is None) == (scale == "none")

    @pytest.mark.parametrize("model", ["mlp", "cnn", "lstm", "transformer"])
    def test_a_run_of_the_former_format(self, tmp_path, model):
        """Without metadata, scaler, results or the later fields of the config."""
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
        from safetensors.numpy import load_file, save_file

        folder = tmp_path / "run"
        run = Run(Config(model=model, epochs=1, warmup=0.05 if model == "transformer" else 0.0), folder)
        run.train()
        accuracy = run.figures()["test"]["accuracy"]
        for name in ("scaler.safetensors", "results.json"):
            (folder / name).unlink()
        save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")
        names = ["dataset", "model", "norm", "epochs", "lr", "batch_size", "optimizer", "seed"]
        config = json.loads((folder / "config.json").read_text())
        old = {name: config[name] for name in [*names, "data_dir", "file"]}
        old["norm_first"] = True if model == "transformer" else None
        (folder / "config.json").write_text(json.dumps(old))
        test = data.load("digits").test
        loaded = load_run(folder)
        assert (loaded.predict(test.images).astype(int) == test.labels).mean() == accuracy
        assert Sums(loss=1.0, correct=2, seen=3) == Sums(1.0, 2, 3)  # as in its checkpoint
        Run(Config.load(folder / "config.json"), folder, resume=True)

    def test_text(self, tmp_path):
        file = tmp_path / "text.txt"
        file.write_text("the quick brown fox jumps over the lazy dog;\n" * 67)
        Run(Config("text", "lstm", epochs=1, file=str(file)), tmp_path / "run").train()
        loaded = load_run(tmp_path / "run")
        text = loaded.generate("the quick", 30)
        assert len(text) == 30
        assert text == loaded.generate("the quick", 30) != loaded.generate("the quick", 30, seed=1)
        with pytest.raises(ValueError, match="use generate"):
            loaded.predict(np.zeros((1, 3)))
        with pytest.raises(ValueError, match="at least one character"):
            loaded.generate("")

    def test_own_models_and_scalers_are_asked_for(self, tmp_path, points):
        class Halves(data.Scaler):
            def transform(self, x):
                return np.asarray(x) / 2

        Run(Config(epochs=1), tmp_path / "a", dataset=points, model=own_model()).train()
        with pytest.raises(ValueError, match=r"pass one like it, load_run\(..., model=...\)"):
            load_run(tmp_path / "a")
        with pytest.raises(ValueError, match="weights of another architecture"):
            load_run(tmp_path / "a", model=nn.Linear(3, 3))
        Run(Config(epochs=1), tmp_path / "b", dataset=points.scaled(Halves())).train()
        with pytest.raises(ValueError, match="scaled by Halves, a script's own"):
            load_run(tmp_path / "b")
        assert load_run(tmp_path / "b", scaler=Halves()).predict(points.test.inputs)[0] in points.classes

    @pytest.mark.parametrize("name", ["scaler.safetensors", "model.safetensors"])
    def test_a_lost_file_is_written_again_as_the_error_says(self, tmp_path, points, name):
        dataset = points.scaled(data.StandardScaler())
        Run(Config(epochs=1), tmp_path / "run", dataset=dataset).train()
        (tmp_path / "run" / name).unlink()
        with pytest.raises(ValueError, match=f"no {name}.*train --resume"):
            load_run(tmp_path / "run")
        Run(Config(epochs=1), tmp_path / "run", dataset=dataset, resume=True).train()
        load_run(tmp_path / "run")

    def test_errors(self, tmp_path, points):
        with pytest.raises(ValueError, match="is not the folder of a run"):
            load_run(tmp_path)
        Run(Config(epochs=1), tmp_path / "run", dataset=points).train()
        loaded = load_run(tmp_path / "run")
        with pytest.raises(
            ValueError, match=r"inputs of shape \(N, 3\), got \(3,\): for one input, pass x\[None\]"
        ):
            loaded.predict(np.zeros(3))
        with pytest.raises(ValueError, match=r"got \(2, 4\)$"):
            loaded.predict(np.zeros((2, 4)))
        with pytest.raises(ValueError, match="not a run on text"):
            loaded.generate("a")
        path = tmp_path / "run" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(ValueError, match="is damaged"):
            load_run(tmp_path / "run")


class TestWhatARunRefuses:
    def test_a_folder_that_has_another_run(self, tmp_path, points):
        Run(Config(epochs=1), tmp_path, dataset=points).train()
        before = (tmp_path / "checkpoint.safetensors").read_bytes()
        with pytest.raises(ValueError, match="already has a run: continue it with resume=True"):
            Run(Config(epochs=2), tmp_path, dataset=points).train()
        assert (tmp_path / "checkpoint.safetensors").read_bytes() == before

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"dataset": ([1], [2])}, r"must be a tn.data.Dataset, got tuple: tn.data.from_arrays"),
            ({"dataset": "digits"}, r"belongs in Config\(dataset=...\)"),
            ({"model": "mlp"}, r"belongs in Config\(model=...\)"),
            ({"loss": "mse"}, "loss must be a function of outputs and targets, got 'mse'"),
            ({"metrics": [F.l1_loss]}, "metrics must be functions of outputs and targets by name"),
        ],
    )
    def test_what_is_no_dataset_model_loss_or_metric(self, tmp_path, given, message):
        with pytest.raises(TypeError, match=message):
            Run(Config("moons", epochs=1), tmp_path, **given)

    def test_figures_before_the_first_epoch_and_threads_of_another_type(self, tmp_path):
        with pytest.raises(RuntimeError, match="before the first epoch is complete"):
            Run(Config("moons"), tmp_path).figures()
        with pytest.raises(TypeError, match="threads must be an int, got '2'"):
            Run(Config("moons"), tmp_path, threads="2")

    def test_metrics_that_hide_the_loss_or_are_no_numbers(self, tmp_path):
        config = Config("moons", epochs=1)
        with pytest.raises(ValueError, match="cannot be called loss, which is the name of the loss"):
            Run(config, tmp_path, metrics={"loss": F.cross_entropy})
        with pytest.raises(ValueError, match="the metric 'rows' must be the mean over the batch, a number"):
            Run(config, tmp_path, metrics={"rows": lambda y, t: y.numpy()}).train()

    @pytest.mark.parametrize("given", [{"epochs": "3"}, {"lr": "0.1"}, {"seed": 1.5}, {"batch_size": True}])
    def test_settings_of_another_type(self, given):
        with pytest.raises(TypeError, match=f"{next(iter(given))} must be"):
            Config(**given)


def test_tables_are_read_by_the_names_of_their_columns(tmp_path):
    """In another order, with further columns; a missing one is named."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3)).round(4)
    labels = np.where(rows[:, 0] > rows[:, 2], "more", "less")

    def write(name, columns):
        values = {"a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2], "label": labels, "note": rows[:, 1]}
        lines = [",".join(columns), *(",".join(str(values[c][i]) for c in columns) for i in range(60))]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    run = Run(Config(str(write("t.csv", ["a", "b", "c", "label"])), epochs=5), tmp_path / "run")
    run.train()
    loaded = load_run(tmp_path / "run")
    assert loaded.features == ("a", "b", "c")
    _, inputs = data.load_inputs(write("p.csv", ["c", "note", "a", "b"]), (3,), features=loaded.features)
    np.testing.assert_array_equal(inputs, rows)
    missing = write("m.csv", ["a", "c", "note"])
    with pytest.raises(ValueError, match="has no column 'b', a feature in the training"):
        data.load_inputs(missing, (3,), features=loaded.features)
    accuracy = (loaded.predict(rows) == labels).mean()
    other = data.load(write("o.csv", ["c", "label", "b", "a"]))
    assert evaluate_run(loaded, other).figures["accuracy"] == pytest.approx(accuracy)
    with pytest.raises(ValueError, match="has no column 'b', a feature in the training of"):
        evaluate_run(loaded, data.load(write("w.csv", ["c", "label", "note", "a"])))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("epoch,train_lozs,validation_loss\n1,2,3\n", "the same figures for training and validation"),
        ("epoch,train_loss,validation_loss,more\n1,2,3,4\n", "the same figures for training and validation"),
        ("epoch,train_loss,validation_loss\n1,2\n", "line 2 has 2 cells, not 3"),
        ("epoch,train_loss,validation_loss\n2,2,3\n", "line 2 must be that of epoch 1"),
    ],
    ids=["another name", "a further column", "too few cells", "another epoch"],
)
def test_damaged_metrics_are_an_error_that_says_what_to_do(tmp_path, lines, message):
    (tmp_path / "metrics.csv").write_text(lines)
    with pytest.raises(ValueError, match=f"{message}.*train --resume"):
        read_metrics(tmp_path / "metrics.csv")
