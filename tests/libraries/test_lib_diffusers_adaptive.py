"""Affines from a condition beside those of diffusers, in float64."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("diffusers.models.normalization")

RNG = np.random.default_rng(0)
N, C, K = 4, 6, 3


def check(results, expected):
    for a, b in zip(results, expected, strict=True):
        b = b.detach().numpy()
        assert abs(a.numpy() - b).max() <= 1e-9 * abs(b).max()


def loaded(ours, library):
    ours, library = ours.double(), library.double()
    state = {name: RNG.normal(size=tuple(p.shape)) for name, p in library.named_parameters()}
    library.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    ours.load_state_dict(state)
    return ours, library


def test_ada_group_norm_is_that_of_diffusers():
    ours, library = loaded(nn.AdaGroupNorm(5, C, 2), theirs.AdaGroupNorm(5, C, 2))
    arrays = RNG.normal(size=(N, C, 4, 3)), RNG.normal(size=(N, 5))
    inputs, dy = [tn.tensor(a, requires_grad=True) for a in arrays], RNG.normal(size=arrays[0].shape)
    given = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*inputs), library(*given)
    check([y], [expected])
    of = [*given, *library.parameters()]
    check(
        grad(y, [*inputs, *ours.parameters()], tn.tensor(dy)),
        torch.autograd.grad(expected, of, torch.tensor(dy)),
    )


def test_ada_layer_norm_zero_is_that_of_diffusers():
    ours, library = loaded(nn.AdaLayerNormZero(C), theirs.AdaLayerNormZero(C))
    x, c = RNG.normal(size=(N, 5, C)), RNG.normal(size=(N, C))
    given = [torch.tensor(a, requires_grad=True) for a in (x, c)]
    expected = library(given[0], emb=given[1])
    inputs = [tn.tensor(a, requires_grad=True) for a in (x, c)]
    ys = ours(*inputs)
    check(ys, expected)
    dy = RNG.normal(size=x.shape)
    check(grad(ys[0], inputs, tn.tensor(dy)), torch.autograd.grad(expected[0], given, torch.tensor(dy)))


def test_conditional_instance_norm_is_their_ada_group_norm_of_one_hot_classes():
    """With one channel in each group; a table's row of weights is 1 + a column of their linear map."""
    library = theirs.AdaGroupNorm(K, C, C).double()
    with torch.no_grad():
        library.linear.bias.zero_()
    map_, labels = library.linear.weight.detach().numpy(), np.array([2, 0, 2, 2])
    x, dy = RNG.normal(size=(2, N, C, 4, 3))
    tables = [tn.tensor(a, requires_grad=True) for a in (1 + map_[:C].T, map_[C:].T)]
    input, given = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = F.conditional_instance_norm(input, tn.tensor(labels), *tables)
    expected = library(given, torch.tensor(np.eye(K)[labels]))
    check([y], [expected])
    dx, dw, db = grad(y, [input, *tables], tn.tensor(dy))
    of_map, of_x = torch.autograd.grad(expected, [library.linear.weight, given], torch.tensor(dy))
    check([dx, tn.cat((dw.T, db.T))], [of_x, of_map])
