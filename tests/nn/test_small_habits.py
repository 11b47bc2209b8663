"""Small habits of PyTorch users, each with its right value or error."""

import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim


def test_a_parameter_without_data_is_empty(torch):
    mine, theirs = nn.Parameter(), torch.nn.Parameter()
    assert mine.shape == tuple(theirs.shape) == (0,)
    assert str(theirs.dtype) == f"torch.{mine.dtype}"
    assert mine.requires_grad


@pytest.mark.parametrize("make", [nn.Sequential, lambda *modules: nn.ModuleList(modules)])
def test_insert_beyond_the_ends(make):
    for index in (3, -3):
        modules = make(nn.ReLU(), nn.Tanh())
        with pytest.raises(IndexError, match=f"cannot insert at {index} in a .* of 2 modules"):
            modules.insert(index, nn.Identity())
        assert len(modules) == 2
    for index, name in ((2, "Identity"), (-2, "ReLU"), (-1, "ReLU")):
        modules = make(nn.ReLU(), nn.Tanh())
        modules.insert(index, nn.Identity())
        assert type(modules[-1 if index == 2 else 0 if index == -1 else 1]).__name__ == name


ASSIGNMENTS = ["x **= 2", "x &= 6", "x |= 4", "x ^= 1", "x += 1", "x -= 1", "x *= 2"]


@pytest.mark.parametrize("code", ASSIGNMENTS)
def test_assignments_change_the_tensor_as_in_pytorch(code, torch):
    results = []
    for library in (tn, torch):
        names = {"x": library.tensor([1, 2, 3])}
        held = names["x"]
        exec(code, names)
        assert names["x"] is held
        results.append(held.tolist())
    assert results[0] == results[1]
    if code[2] not in "&|^":
        leaf = tn.ones(2, requires_grad=True)
        with pytest.raises(RuntimeError, match="a leaf that requires grad cannot be changed in place"):
            exec(code, {"x": leaf})


CLIP = {
    "norm": lambda tensors: nn.utils.clip_grad_norm_(tensors, 1.0),
    "value": lambda tensors: nn.utils.clip_grad_value_(tensors, 1.0),
    "adaptive": lambda tensors: nn.utils.adaptive_clip_grad_(tensors),
}


@pytest.mark.parametrize("clip", CLIP.values(), ids=CLIP.keys())
def test_a_generator_that_is_used_up_is_warned_of(clip):
    layer = nn.Linear(2, 2)
    layer(tn.ones(1, 2)).sum().backward()
    parameters = layer.parameters()
    clip(parameters)
    with pytest.warns(UserWarning, match="generator of tensors is empty, so no gradient is changed") as seen:
        clip(parameters)
    assert seen[0].filename == __file__
    clip([])


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_has_no_order_for_an_optimizer(kind):
    parameters = kind([nn.Parameter(tn.ones(2))])
    for given in (parameters, [{"params": parameters}]):
        with pytest.raises(TypeError, match="takes parameters in order, and a set has none"):
            optim.SGD(given, lr=0.1)
    optimizer = optim.SGD([nn.Parameter(tn.ones(2))], lr=0.1)
    with pytest.raises(TypeError, match="takes parameters in order"):
        optimizer.add_param_group({"params": parameters})
