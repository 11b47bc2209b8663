"""Schedules, warm-up and weight decay of a run, and the settings of runs of older versions."""

import dataclasses
import json
import math

import numpy as np
import pytest

from tinygrad_norm import data, full, nn, no_grad
from tinygrad_norm.training import NORMS, Config, Run
from tinygrad_norm.training.norm_choices import fits
from tinygrad_norm.training.optimization import make_clipping, make_optimizer, make_schedule
from tinygrad_norm.training.recipes import IMAGES


def rates(steps, **settings):
    """The learning rates of `steps` steps, as fractions of the highest."""
    config = Config(lr=0.5, **settings)
    optimizer = make_optimizer(config, nn.Linear(2, 2))
    schedule = make_schedule(config, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [(1 + math.cos(math.pi * t / 12)) / 2 for t in range(12)]),
        ("linear", [1 - t / 12 for t in range(12)]),
        ("step", [1] * 4 + [0.1] * 4 + [0.01] * 4),
        ("constant", [1] * 12),
    ],
)
def test_a_schedule_lasts_for_all_steps(schedule, expected):
    np.testing.assert_allclose(rates(12, schedule=schedule, warmup=0.0), expected)
    warm = rates(15, schedule=schedule, warmup=0.2)
    np.testing.assert_allclose(warm, [1 / 4, 2 / 4, 3 / 4, *expected], rtol=1e-6)


def test_the_warm_up_of_a_single_step_is_none():
    assert rates(1, warmup=0.9) == [1]


def test_the_weight_decay_of_the_optimizers():
    for optimizer, given, expected in (("adamw", None, 0.01), ("adamw", 0.3, 0.3), ("sgd", 0.2, 0.2)):
        made = make_optimizer(Config(optimizer=optimizer, weight_decay=given), nn.Linear(2, 2))
        assert [group["weight_decay"] for group in made.param_groups] == [expected, 0.0]
    for optimizer in ("sgd", "adam"):  # one group, as in the checkpoints of older versions
        (group,) = make_optimizer(Config(optimizer=optimizer), nn.Linear(2, 2)).param_groups
        assert group["weight_decay"] == 0
    assert len(make_optimizer(Config(optimizer="adamw", weight_decay=0.0), nn.Linear(2, 2)).param_groups) == 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_grad": 1.0}, {"0.weight": 0.6, "0.bias": 0.0, "1.weight": 0.8}),  # of a total norm of 5
        ({"clip_grad": 2.0, "clip_mode": "value"}, {"0.weight": 2.0, "0.bias": 0.0, "1.weight": 2.0}),
        ({"clip_grad": 0.5, "clip_mode": "agc"}, {"0.weight": 1.0, "0.bias": 0.0, "1.weight": 4.0}),
        ({}, {"0.weight": 3.0, "0.bias": 0.0, "1.weight": 4.0}),
        ({"clip_grad": 0.0}, {"0.weight": 3.0, "0.bias": 0.0, "1.weight": 4.0}),
    ],
)
def test_gradients_are_clipped_as_the_config_says(settings, expected):
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
    gradients = {"0.weight": 3.0, "0.bias": 0.0, "1.weight": 4.0}
    with no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(2.0)
            parameter.grad = full(parameter.shape, gradients[name])
    make_clipping(Config(**settings), model)()
    found = {name: parameter.grad.sum().item() for name, parameter in model.named_parameters()}
    assert found == pytest.approx(expected)


def test_the_nf_resnet_is_clipped_adaptively_and_no_other_model_is(tmp_path):
    assert {model for model, recipe in IMAGES.items() if recipe.clip_grad} == {"nf-resnet"}
    config = Config(model="nf-resnet")
    assert (config.clip_grad, config.clip_mode) == (0.05, "agc")
    (tmp_path / "config.json").write_text(Config(model="nf-resnet", clip_grad=0).to_json())
    assert Config.load(tmp_path / "config.json").clip_grad == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_grad": -1}, "clip_grad must be a number of at least 0, got -1"),
        (
            {"clip_grad": 1.0, "clip_mode": "global"},
            "unknown clip_mode 'global': choose one of norm, value, agc",
        ),
        ({"clip_mode": "agd"}, "unknown clip_mode 'agd'"),
        ({"model": "ngpt"}, "ngpt is for text"),
        ({"clip_mode": "agc"}, "clip_mode 'agc' needs a clip_grad of its own"),
        ({"model": "nf-resnet", "clip_mode": "norm"}, "clip_mode 'norm' needs a clip_grad of its own"),
    ],
)
def test_bad_clipping_raises(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


OLD = {
    "dataset": "digits", "model": "cnn", "norm": "batch", "epochs": 3, "lr": 0.003, "batch_size": 64,
    "optimizer": "adam", "seed": 0, "data_dir": None, "file": None, "norm_first": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "warmup", "weight_decay"),
    [
        ({}, 0.0, 0.0),
        ({"model": "lstm", "optimizer": "adamw"}, 0.0, 0.01),
        ({"model": "transformer", "norm_first": False, "optimizer": "sgd"}, 0.05, 0.0),
        ({"dataset": "text", "model": "transformer", "norm_first": True, "optimizer": "adamw"}, 0.05, 0.01),
    ],
)
def test_the_config_of_an_older_version_means_what_it_meant(tmp_path, changes, warmup, weight_decay):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(OLD | changes))
    config = Config.load(path)
    old = OLD | changes
    placement = {None: None, True: "pre", False: "post"}[old.pop("norm_first")]
    assert dataclasses.asdict(config).items() >= old.items()
    new = {
        "placement": placement,
        "qk_norm": None if placement is None else "none",
        "schedule": "cosine",
        "warmup": warmup,
        "weight_decay": weight_decay,
        "augment": (),
        "early_stop": None,
    }
    assert dataclasses.asdict(config).items() >= new.items()
    path.write_text(config.to_json())
    assert Config.load(path) == config


@pytest.mark.parametrize(("old", "new"), [("sandwich", "peri"), ("post", "post"), ("deep", "deep")])
def test_a_config_with_the_former_names_of_placements_loads(tmp_path, old, new):
    path, config = tmp_path / "config.json", Config(model="transformer", placement=new)
    fields = json.loads(config.to_json())
    del fields["placement"], fields["softcap"]
    path.write_text(json.dumps(fields | {"residual": old}))
    assert Config.load(path) == config


def test_a_config_keeps_its_settings(tmp_path):
    settings = {"schedule": "step", "warmup": 0.1, "weight_decay": 0.5, "early_stop": 3}
    config = Config(augment="noise,shift", **settings)
    assert config.augment == ("shift", "noise") == Config(augment=["noise", "shift"]).augment
    (tmp_path / "config.json").write_text(config.to_json())
    assert Config.load(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, r"unknown schedule 'cosin': .*did you mean 'cosine'\?"),
        ({"warmup": 5}, "warmup is a fraction of all steps"),
        ({"weight_decay": -0.1}, "weight_decay must be a number of at least 0, got -0.1"),
        ({"early_stop": 0}, "early_stop must be at least 1 epoch, got 0"),
        ({"augment": "shift,flop"}, r"unknown augmentation 'flop': .*did you mean 'flip'\?"),
        ({"augment": "noise", "dataset": "text"}, "augment is for images and features"),
    ],
)
def test_a_wrong_setting_raises(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


@pytest.mark.parametrize("norm", [name for name in NORMS if fits(name, (16, 8, 8))])
def test_a_cnn_starts_at_the_loss_of_equal_probabilities_and_stays_there(tmp_path, norm):
    """Without the warm-up, the loss of these 8192 features before the last layer rises to 2 … 10."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((336, 3, 32, 32), np.float32), np.arange(336) % 4
    parts = (data.Split(images[a:b], labels[a:b]) for a, b in ((0, 320), (320, 328), (328, 336)))
    random = data.Dataset("random", *parts, tuple("abcd"), max_value=1.0)
    run = Run(Config(model="cnn", norm=norm, batch_size=32, scale="none"), tmp_path, dataset=random)
    losses = []
    for batch in run._remaining_batches():
        before = run.progress.sums.loss
        run._step(batch)
        losses.append((run.progress.sums.loss - before) / 32)
    assert losses[0] == pytest.approx(math.log(4), abs=0.3)
    assert max(losses) < math.log(4) + 0.5, losses


@pytest.mark.parametrize(
    ("dataset", "figure", "least"),
    [
        ("spirals", "accuracy", 0.95),
        ("moons", "accuracy", 0.97),
        ("blobs", "accuracy", 0.98),
        ("sine", "r2", 0.97),
    ],
)
def test_the_recipes_do_for_features_and_regression(tmp_path, dataset, figure, least):
    run = Run(Config(dataset), tmp_path)
    run.train()
    assert run.figures()["test"][figure] >= least


def test_regression_is_normalized_by_sample():
    assert Config("sine").norm == Config("table.csv", target="price").norm == "layer"
    assert Config("sine", norm="batch").norm == "batch"
    assert Config("moons").norm == Config("table.csv", label="kind").norm == "batch"
