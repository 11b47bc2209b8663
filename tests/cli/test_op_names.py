"""The names of ops on the command line: the registered ones, and the short ones of `train --norm`."""

import pytest
import typer

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
