"""einsum: any equation that PyTorch takes, its values and its gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn

SIZES = {"a": 2, "b": 3, "c": 4, "d": 1, "E": 2}
terms = st.text(alphabet=list(SIZES), max_size=4)


@st.composite
def equations(draw):
    operands = draw(st.lists(terms, min_size=1, max_size=3))
    names = sorted(set("".join(operands)))
    if draw(st.booleans()):
        return ",".join(operands)
    return (
        ",".join(operands) + "->" + "".join(draw(st.permutations(names))[: draw(st.integers(0, len(names)))])
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(equations())
def test_random_equations_as_pytorch(equation):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(0)
    shapes = [[SIZES[name] for name in term] for term in equation.split("->")[0].split(",")]
    values = [rng.normal(size=shape) for shape in shapes]
    compare(torch, equation, values)


def compare(torch, equation, values):
    ours = [tn.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    y, y_torch = tn.einsum(equation, *ours), torch.einsum(equation, *theirs)
    assert y.shape == tuple(y_torch.shape)
    np.testing.assert_allclose(y.detach().numpy(), y_torch.detach().numpy(), rtol=1e-10, atol=1e-12)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(tn.tensor(dy))
    y_torch.backward(torch.tensor(dy))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 4), (5, 1, 4, 2)]),
        ("i...,i...->...", [(3, 2), (3, 4, 1)]),
        ("...", [(2, 3)]),
        ("...->", [(2, 3)]),
        ("ab...,b...->a", [(2, 3, 4), (3, 4)]),
        ("i j , j k -> i k", [(2, 3), (3, 4)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
        ("ij,ij->", [(1, 3), (2, 1)]),
        ("ii,i", [(1, 1), (3,)]),
    ],
)
def test_equations_as_pytorch(equation, shapes, torch):
    rng = np.random.default_rng(0)
    compare(torch, equation, [rng.normal(size=shape) for shape in shapes])


def test_operands_as_a_list_and_of_different_dtypes():
    a, b = tn.ones(2, 3), tn.ones((3, 4), dtype=tn.float64)
    y = tn.einsum("ij,jk->ik", [a, b])
    assert y.dtype == tn.float64
    assert (y == 3).all()
    assert tn.einsum("i,i", tn.tensor([1, 2]), tn.tensor([3, 4])).item() == 11
