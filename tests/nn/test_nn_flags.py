"""Arguments that are flags take bools, and those that are numbers take real numbers, in every class."""

import inspect

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.optim import lr_scheduler

REQUIRED = {
    "normalized_shape": 4,
    "num_features": 4,
    "num_groups": 2,
    "num_channels": 4,
    "in_features": 4,
    "out_features": 4,
    "in1_features": 2,
    "in2_features": 2,
    "in_channels": 2,
    "out_channels": 2,
    "channels": 2,
    "kernel_size": 3,
    "norm_type": 2,
    "output_size": 2,
    "input_size": 2,
    "hidden_size": 3,
    "layer": nn.Identity(),
    "num_embeddings": 5,
    "embedding_dim": 4,
    "max_length": 5,
    "embed_dim": 4,
    "d_model": 4,
    "nhead": 2,
    "num_heads": 2,
    "threshold": 0.0,
    "value": 1.0,
    "num_layers": 1,
    "size": 3,
    "max_lr": 1.0,
    "total_steps": 10,
    "step_size": 2,
    "T_max": 4,
    "dim": 1,
    "d": 4,
    "B": 2,
    "real_B": 4,
    "ghost_batch_size": 2,
    "cond_dim": 3,
    "num_tasks": 2,
    "num_domains": 2,
    "unflattened_size": (2, 2),
    "milestones": [2],
    "padding": 1,
    "upscale_factor": 2,
    "downscale_factor": 2,
    "gamma": 0.9,
    "T_0": 4,
    "num_classes": 3,
    "style_dim": 3,
    "base_lr": 0.1,
    "lr_lambda": lambda step: 1.0,
    "norm_before_gate": True,
    "group_size": 1,
}


def required(name, annotation):
    if name == "params":
        return [nn.Parameter(tn.ones(2, 2))]
    if name == "optimizer":
        return optim.SGD([nn.Parameter(tn.ones(2))], lr=0.1, momentum=0.9)
    if name == "module":
        return nn.MultiheadAttention(4, 2)
    if name == "encoder_layer":
        return nn.TransformerEncoderLayer(4, 2)
    return REQUIRED[name]


def cases(*types):
    for module in (nn, optim, lr_scheduler):
        for name, cls in sorted(vars(module).items()):
            if isinstance(cls, type) and cls.__module__.startswith("tinygrad_norm"):
                for parameter in inspect.signature(cls).parameters.values():
                    if parameter.annotation in types and cls is not nn.Parameter:
                        yield pytest.param(cls, parameter.name, id=f"{name}-{parameter.name}")


def make(cls, **options):
    parameters = inspect.signature(cls).parameters.values()
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    needed = [p for p in parameters if p.default is p.empty and p.kind in kinds]
    if cls is lr_scheduler.OneCycleLR:
        options = {"total_steps": 10, **options}
    if cls is nn.EvoNorm2dS0:  # whose default is 32 groups, as timm's
        options = {"groups": 2, **options}
    given = {p.name: required(p.name, p.annotation) for p in needed if p.name not in options}
    return cls(**given, **options)


@pytest.mark.parametrize(("cls", "name"), list(cases(bool, "bool")))
def test_flags_are_bools(cls, name):
    for value in ("False", 1, None):
        with pytest.raises(TypeError, match=rf"{name} must be True or False, got {value!r}"):
            make(cls, **{name: value})


@pytest.mark.parametrize(("cls", "name"), list(cases(bool, "bool")))
def test_bools_of_numpy_are_bools(cls, name):
    default = REQUIRED.get(name, inspect.signature(cls).parameters[name].default)
    assert isinstance(default, bool)
    make(cls, **{name: np.bool_(default)})


@pytest.mark.parametrize(("cls", "name"), list(cases(float, "float", "float | None")))
def test_numbers_are_real(cls, name):
    for value in ("0.5", 1j, [0.5]):
        with pytest.raises(TypeError, match="must be a number, got"):
            make(cls, **{name: value})


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_flags_of_a_group_and_of_a_loaded_state_are_bools(make):
    x = nn.Parameter(tn.ones(2))
    with pytest.raises(TypeError, match="maximize must be True or False, got 'no'"):
        make([{"params": [x], "maximize": "no"}], lr=0.1)
    optimizer = make([x], lr=0.1)
    state = optimizer.state_dict()
    state["param_groups"][0]["maximize"] = 1
    with pytest.raises(TypeError, match="maximize must be True or False, got 1"):
        optimizer.load_state_dict(state)
