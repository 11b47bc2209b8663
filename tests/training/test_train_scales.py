"""`--scale-init`: the scales are where they belong, models learn with them, and bad choices are refused."""

import pytest

from tinygrad_norm import nn
from tinygrad_norm.training import Config, Run
from tinygrad_norm.training.models import build_image_model, build_text_model
from tinygrad_norm.training.scale_choices import SCALES

KINDS = {"layerscale": nn.LayerScale, "rezero": nn.ReZero, "skipinit": nn.SkipInit}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize(("model", "branches"), [("resnet", 4), ("convnext", 2), ("transformer", 4)])
def test_every_branch_has_its_scale(name, model, branches):
    config = Config(model=model, norm="none", scale_init=name)
    network = build_image_model(config, (1, 8, 8), 10)
    found = [part for part in network.modules() if isinstance(part, tuple(KINDS.values()))]
    assert len(found) == (branches if name in KINDS else 0)
    assert all(isinstance(part, KINDS[name]) for part in found)
    if name == "skipinit":
        assert [part.alpha.item() for part in found] == pytest.approx([branches**-0.5] * branches)


def test_a_text_transformer_has_a_scale_in_each_step():
    model = build_text_model(Config("text", norm="none", scale_init="rezero"), 20, 8)
    assert sum(isinstance(part, nn.ReZero) for part in model.modules()) == 8


def test_the_resnet_of_fixup_begins_with_branches_of_zero():
    model = build_image_model(Config(model="resnet", norm="none", scale_init="fixup"), (1, 8, 8), 10)
    blocks = [part for part in model if isinstance(part, nn.ResidualBlock)]
    for block in blocks:
        assert not block.conv2[1].weight.numpy().any()
        assert block.conv1[1].weight.numpy().any()
        assert sum(isinstance(part, nn.ScalarBias) for part in block.modules()) == 5
    assert not model[len(model) - 1].weight.numpy().any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"),
    [("resnet", "skipinit"), ("resnet", "fixup"), ("transformer", "rezero"), ("transformer", "layerscale")],
)
def test_models_without_norms_learn_with_scales(tmp_path, model, name):
    pytest.importorskip("sklearn")
    run = Run(Config(model=model, norm="none", scale_init=name, epochs=3), tmp_path)
    before = run.task.evaluate("validation")["loss"]
    run.train()
    assert run.progress.history[-1]["validation_loss"] < 0.95 * before
    assert name in run.config.title


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mlp", "scale_init": "rezero"}, "the model 'mlp' has none that take a scale"),
        ({"model": "resnet", "scale_init": "zero"}, "unknown scale_init 'zero': choose one of none, "),
        ({"model": "resnet", "scale_init": "fixup"}, "use norm 'none', got 'batch'"),
        ({"model": "transformer", "scale_init": "fixup"}, "use the model 'resnet', not 'transformer'"),
        (
            {"model": "transformer", "placement": "peri", "scale_init": "rezero"},
            "a norm follows the scale of a branch",
        ),
    ],
    ids=["no branches", "unknown", "fixup with norm", "fixup elsewhere", "peri"],
)
def test_scales_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)
