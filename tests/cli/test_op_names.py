"""The names of ops on the command line: the registered ones, and the short ones of `train --norm`."""

import inspect

import pytest
import typer

from tinygrad_norm import nn, optim
from tinygrad_norm.cli.op_names import find_op
from tinygrad_norm.registry import REGISTRY
from tinygrad_norm.training import NORMS


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
def test_commands_take_the_short_names_of_norms(name):
    assert find_op(name) is REGISTRY[NORMS[name].op]


def test_a_registered_name_is_found_as_it_is():
    assert find_op("layer_norm") is REGISTRY["layer_norm"]


@pytest.mark.parametrize("name", ["LayerNorm", "layernorm", "Layer_Norm"])
def test_a_layers_name_is_that_of_its_op(name):
    assert find_op(name) is REGISTRY["layer_norm"]


@pytest.mark.parametrize("name", ["none", "", "layer_nrom"])
def test_an_unknown_name_is_told_with_similar_ones(name):
    with pytest.raises(typer.BadParameter, match=f"no registered op is called {name!r}.*(mean|Choose)"):
        find_op(name)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("RevIN", "reversible_instance_norm"),
        ("revin", "reversible_instance_norm"),
        ("RevIN, the way back", "reversible_instance_denorm"),
        ("act_norm", "activation_norm"),
        ("EvoNorm2dB0", "evo_norm_b0"),
        ("EvoNormB0", "evo_norm_b0"),
        ("Derf", "dynamic_erf"),
        ("AdaNorm", "standard_score"),
        ("InPlaceABN", "inplace_abn"),
        ("logitnorm", "logit_norm"),
        ("SwitchableNorm2d", "switchable_norm"),
        ("switchable-norm", "switchable_norm"),
        ("IGDN", "gdn"),
        ("FixNorm", "scale_norm"),
        ("AdaLayerNorm", "adaptive_layer_norm"),
        ("BatchNorm2d", "batch_norm"),
        ("CrossEntropyLoss", "cross_entropy"),
        ("Cosine normalization", "cosine_linear"),
        ("GROUP", "group_norm"),
    ],
)
def test_a_layer_and_a_title_are_names_of_their_op(name, op):
    assert find_op(name) is REGISTRY[op]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_ops_own_name_goes_before_titles_and_layers(name):
    assert find_op(name).name == name
    assert find_op(name.upper()).name == name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("SPADE", "nn/conditional.py"),
        ("film", "nn/conditional.py"),
        ("Muon", "optim/muon.py"),
        ("LayerScale", "nn/residual/layerscale.py"),
        ("ModulatedConv2d", "nn/convolution/modulatedconv.py, which uses weight_demodulation"),
    ],
)
def test_a_class_without_an_op_is_told_where_it_is(name, file):
    with pytest.raises(typer.BadParameter, match=f"has no op of its own. It is in tinygrad_norm/{file}"):
        find_op(name)


def test_every_public_class_is_known():
    classes = [c for c in [*vars(nn).values(), *vars(optim).values()] if inspect.isclass(c)]
    layers = [c.__name__ for c in classes if c.__module__.startswith("tinygrad_norm")]
    assert len(layers) > 200
    for name in layers:
        try:
            find_op(name)
        except typer.BadParameter as error:
            assert f"the class {name} has no op of its own" in str(error)  # noqa: PT017 (some have one)


@pytest.mark.parametrize(
    ("name", "meant"), [("revni", "RevIN"), ("SwitchabelNorm2d", "SwitchableNorm2d"), ("actnrm", "ActNorm")]
)
def test_suggestions_look_at_layers_and_titles(name, meant):
    with pytest.raises(typer.BadParameter, match=rf"Did you mean .*\b{meant}\b"):
        find_op(name)


def test_suggestions_are_of_the_known_ops_and_name_each_once():
    with pytest.raises(typer.BadParameter) as error:
        find_op("layer_nrom", ["layer", "layer_norm", "batch_norm"])
    assert str(error.value).count("layer_norm") == 1
    assert "AdaLayerNorm" not in str(error.value)
