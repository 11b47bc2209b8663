"""F and nn follow PyTorch: the same names, the same order of arguments, the same defaults."""

import inspect
import re
from pathlib import Path

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

OMITTED = {  # deprecated in PyTorch, or meaningless without its devices and in-place storage
    *("size_average", "reduce", "min_value", "max_value", "device", "dtype", "out", "_stacklevel", "foreach"),
    *("max_norm", "norm_type", "scale_grad_by_freq", "sparse"),
}
ADDED = {"norm", "attention", "placement"}  # not in PyTorch: keyword only
ADDED |= {"softcap", "inner_norm", "qk_norm", "layer_index", "depth"}
ADDED |= {"zero_centered", "input_scaled"}
ADDED |= {"scale"}
ADDED |= {"memory_efficient"}


def torch_parameters(torch_object):
    """Names and defaults in PyTorch's order; of a built-in, as its docstring gives them."""
    try:
        parameters = inspect.signature(torch_object).parameters.values()
        return {p.name: p.default for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    except ValueError:
        arguments = re.search(r"\w+\((.*?)\)", torch_object.__doc__, re.DOTALL).group(1)
        pairs = [
            argument.strip().partition("=") for argument in arguments.split(",") if argument.strip() != "*"
        ]
        return {
            name.strip(): eval(default) if default else inspect.Parameter.empty for name, _, default in pairs
        }


def check_signature(ours, theirs):
    reference = torch_parameters(theirs)
    order = list(reference)
    own = [p for p in inspect.signature(ours).parameters.values() if p.kind is not p.VAR_KEYWORD]
    positional = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in positional] == order[: len(positional)]
    assert left_out(ours, theirs) <= OMITTED
    for p in own:
        if p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and p.name in ADDED):
            continue
        assert p.name in reference
        if inspect.Parameter.empty not in (p.default, reference[p.name]):
            assert plain(p.default) == plain(reference[p.name]), p.name


def left_out(ours, theirs):
    return set(torch_parameters(theirs)) - set(inspect.signature(ours).parameters)


def plain(default):
    """A default in a form that both libraries share: a function becomes its name."""
    return getattr(default, "__name__", default)


def public(module):
    return sorted(name for name in vars(module) if not name.startswith("_"))


FUNCTIONS = [name for name in public(F) if inspect.isfunction(getattr(F, name))]
LAYERS = [name for name in public(nn) if inspect.isclass(getattr(nn, name))]


INITIALIZERS = [name for name in public(nn.init) if name.endswith("_")]
CLIPPING = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm"]
FUSION = ["fuse_conv_bn_eval", "fuse_linear_bn_eval"]


def pairs(torch):
    """Everything with a signature here and in PyTorch, by name."""
    for name in FUNCTIONS:
        theirs = getattr(torch if name in ("sigmoid", "tanh") else torch.nn.functional, name, None)
        if "max_pool" in name:  # there, a dispatcher without a signature of its own
            theirs = getattr(torch.nn.functional, f"{name}_with_indices")
        if theirs is not None:
            yield name, getattr(F, name), theirs
    for name in LAYERS:
        theirs = getattr(torch.nn, name, None)
        if theirs is not None and name != "Parameter" and len(torch_parameters(theirs.__init__)) > 1:
            yield name, getattr(nn, name).__init__, theirs.__init__
    yield "from_pretrained", nn.Embedding.from_pretrained, torch.nn.Embedding.from_pretrained
    for names, ours, theirs in (
        (INITIALIZERS, nn.init, torch.nn.init),
        (CLIPPING, nn.utils, torch.nn.utils),
        (FUSION, nn.utils, torch.nn.utils.fusion),
    ):
        for name in names:
            yield name, getattr(ours, name), getattr(theirs, name)


@pytest.mark.parametrize("name", [*FUNCTIONS, *LAYERS, "from_pretrained", *INITIALIZERS, *CLIPPING, *FUSION])
def test_arguments_are_pytorchs(name, torch):
    found = [pair[1:] for pair in pairs(torch) if pair[0] == name]
    if not found:
        pytest.skip("PyTorch has no such thing, or it takes anything")
    check_signature(*found[0])


def test_nothing_is_said_to_be_left_out_that_is_there(torch):
    assert set.union(*(left_out(ours, theirs) for _, ours, theirs in pairs(torch))) == OMITTED


def test_what_is_left_out_is_documented():
    """The first column of the first table of docs/pytorch.md."""
    page = (Path(__file__).parents[2] / "docs" / "pytorch.md").read_text()
    table = page.split("| --- |", 1)[1].split("\n\n", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(OMITTED)
