"""`--norm` with options, and what is said if a normalization does not fit a model."""

import pytest
from train_runs import invoke

from tinygrad_norm import nn
from tinygrad_norm.registry import REGISTRY
from tinygrad_norm.training import NORMS, Config
from tinygrad_norm.training.models import build_image_model
from tinygrad_norm.training.norm_choices import find_norm, fits, sequence_norm


@pytest.mark.parametrize("name", NORMS)
def test_every_choice_names_its_op_and_takes_its_options(name):
    assert name == "none" or NORMS[name].op in REGISTRY
    for option, parameter in NORMS[name].options.items():
        value = {"eps": 0.25}.get(option, parameter.default)
        shape = (16, 4, 4) if fits(name, (16, 4, 4)) else (16,)
        text = name if value is None else f"{name}:{option}={str(value).lower()}"
        layer = find_norm(text)(shape)
        assert value is None or getattr(layer, option, value) == value


def test_options_reach_the_layer():
    layer = find_norm("group:groups=4,eps=0.001")((16, 2, 2))
    assert isinstance(layer, nn.GroupNorm)
    assert (layer.num_groups, layer.eps) == (4, 0.001)
    assert find_norm("rms:eps=0.5")((4,)).eps == 0.5
    assert find_norm("batch:momentum=0.3")((4,)).momentum == 0.3
    assert find_norm("lpbatch:p=inf")((4,)).p == float("inf")
    assert isinstance(find_norm("lpbatch:gaussian=true")((4, 2, 2)), nn.LpBatchNorm2d)
    assert find_norm("lp:p=3")((4,)).p == 3.0
    model = build_image_model(Config(model="cnn", norm="group:groups=2"), (1, 8, 8), 10)
    assert {part.num_groups for part in model.modules() if isinstance(part, nn.GroupNorm)} == {2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grup", "unknown norm 'grup': choose one of .*did you mean 'group'"),
        ("group:group=4", "unknown option of norm 'group': 'group': choose one of groups, eps"),
        ("group:groups=many", "the option group:groups takes int, got 'many'"),
        ("group:groups", "the option group:groups takes int, got ''"),
        ("batch:eps=", "takes float, got ''"),
        ("none:eps=1", "norm 'none' has no options, got 'eps'"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        find_norm(text)
    with pytest.raises(ValueError, match=message):
        Config(norm=text)


def test_options_that_do_not_fit_are_said_by_the_layer():
    with pytest.raises(ValueError, match=r"num_groups \(5\) must divide the number of channels \(16\)$"):
        find_norm("group:groups=5")((16, 2, 2))


def test_a_normalization_that_does_not_fit_says_which_do():
    with pytest.raises(
        ValueError, match=r"several positions .* Norms that fit: batch, .*layer, rms, group, .*none"
    ):
        find_norm("instance")((16,))


def test_power_normalization_is_for_features_on_the_last_axis():
    with pytest.raises(ValueError, match=r"on the last axis, but channels \(16, 2, 2\) .* that fit: batch, "):
        find_norm("power")((16, 2, 2))
    assert isinstance(sequence_norm(find_norm("power:warmup=7"), 8), nn.PowerNorm)


def test_train_takes_options_and_names_the_folder_after_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["--norm", "group:groups=4"], ["--norm", "group:groups=4", "--norm", "layer:eps=0.1"]):
        result = invoke("digits", "--epochs", 1, *arguments)
        assert result.exit_code == 0, result.output
        assert "group:groups=4" in result.output
    assert (tmp_path / "runs" / "digits-mlp-group-groups=4" / "model.safetensors").exists()
    assert (tmp_path / "runs" / "digits-mlp-norms" / "layer-eps=0.1-0" / "model.safetensors").exists()
