"""F and nn speak PyTorch's language: the same names, arguments in the same places, the same defaults."""

import inspect
import re

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

OMITTED = {  # what PyTorch deprecates, or what makes no sense without its devices and in-place storage
    *("size_average", "reduce", "inplace", "device", "dtype", "_stacklevel", "generator", "foreach"),
    *("max_norm", "norm_type", "scale_grad_by_freq", "sparse", "_weight", "_freeze"),
}
ADDED = {"norm"}  # what PyTorch has not: by keyword only


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
    for p in own:
        if p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and p.name in ADDED):
            continue
        assert p.name in reference
        if inspect.Parameter.empty not in (p.default, reference[p.name]):
            assert plain(p.default) == plain(reference[p.name]), p.name


def plain(default):
    """A default as both libraries can have it: a function is its name."""
    return getattr(default, "__name__", default)


def public(module):
    return sorted(name for name in vars(module) if not name.startswith("_"))


FUNCTIONS = [name for name in public(F) if inspect.isfunction(getattr(F, name))]
LAYERS = [name for name in public(nn) if inspect.isclass(getattr(nn, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_pytorchs_arguments(name, torch):
    theirs = getattr(torch if name in ("sigmoid", "tanh") else torch.nn.functional, name, None)
    if "max_pool" in name:  # there, a dispatcher without a signature of its own
        theirs = getattr(torch.nn.functional, f"{name}_with_indices")
    if theirs is None:
        pytest.skip("PyTorch has no such function")
    check_signature(getattr(F, name), theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_pytorchs_arguments(name, torch):
    theirs = getattr(torch.nn, name, None)
    if theirs is None:
        pytest.skip("PyTorch has no such layer")
    if name == "Parameter" or len(torch_parameters(theirs.__init__)) == 1:
        pytest.skip("is no layer, or takes anything")
    check_signature(getattr(nn, name).__init__, theirs.__init__)


@pytest.mark.parametrize("name", [n for n in public(nn.init) if n.endswith("_")])
def test_initializers_take_pytorchs_arguments(name, torch):
    check_signature(getattr(nn.init, name), getattr(torch.nn.init, name))


@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_value_", "get_total_norm"])
def test_gradient_clipping_takes_pytorchs_arguments(name, torch):
    check_signature(getattr(nn.utils, name), getattr(torch.nn.utils, name))


@pytest.mark.parametrize("name", ["fuse_conv_bn_eval", "fuse_linear_bn_eval"])
def test_fusion_takes_pytorchs_arguments(name, torch):
    check_signature(getattr(nn.utils, name), getattr(torch.nn.utils.fusion, name))
