"""What the registry does not cover of Linear and Bilinear: initial values, layouts, half types."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def same_layers(torch, name, *sizes, **options):
    mine = getattr(nn, name)(*sizes, **options).double()
    reference = getattr(torch.nn, name)(*sizes, **options).double()
    mine.load_state_dict({k: v.numpy() for k, v in reference.state_dict().items()})
    return mine, reference


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("name", "sizes", "shapes"),
    [
        ("Linear", (5, 3), [(4, 5)]),
        ("Linear", (5, 3), [(2, 1, 4, 5)]),
        ("Linear", (5, 3), [(5,)]),
        ("Bilinear", (5, 2, 3), [(4, 5), (4, 2)]),
        ("Bilinear", (5, 2, 3), [(2, 4, 5), (2, 4, 2)]),
        ("Bilinear", (5, 2, 3), [(5,), (2,)]),
    ],
)
def test_layers_compute_what_pytorchs_do(name, sizes, shapes, bias, torch):
    mine, reference = same_layers(torch, name, *sizes, bias=bias)
    xs = [Tensor(normal(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]
    ts = [torch.tensor(x.array, requires_grad=True) for x in xs]
    y, z = mine(*xs), reference(*ts)
    dy = normal(*y.shape, seed=9)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12, atol=1e-14)
    for a, b in zip((*xs, *mine.parameters()), (*ts, *reference.parameters()), strict=True):
        np.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(lambda: nn.Linear(64, 200), 64), (lambda: nn.Bilinear(16, 50, 20), 16)],
    ids=["Linear", "Bilinear"],
)
def test_start_values_are_pytorchs_distribution(layer, fan_in):
    """Uniform in ±1/√fan_in: kaiming_uniform with a = √5 is the same bound."""
    layer = layer()
    bound = 1 / math.sqrt(fan_in)
    for values in (layer.weight.array, layer.bias.array):
        assert values.dtype == np.float32
        assert 0.8 * bound < abs(values).max() <= bound
    np.testing.assert_allclose(layer.weight.array.std(), bound / math.sqrt(3), rtol=0.02)
    assert abs(layer.weight.array.mean()) < 0.02 * bound


def test_the_seed_decides_the_start_values():
    tn.manual_seed(3)
    first = nn.Linear(4, 4).weight.array
    second = nn.Linear(4, 4).weight.array
    tn.manual_seed(3)
    assert np.array_equal(nn.Linear(4, 4).weight.array, first)
    assert not np.array_equal(first, second)


def test_state_names_and_shapes_are_pytorchs(torch):
    for name, sizes in (("Linear", (4, 3)), ("Bilinear", (4, 2, 3))):
        for bias in (True, False):
            mine = getattr(nn, name)(*sizes, bias=bias).state_dict()
            reference = getattr(torch.nn, name)(*sizes, bias=bias).state_dict()
            assert {k: v.shape for k, v in mine.items()} == {k: tuple(v.shape) for k, v in reference.items()}


def test_repr_is_pytorchs(torch):
    for name, sizes in (("Linear", (4, 3)), ("Bilinear", (4, 2, 3))):
        assert repr(getattr(nn, name)(*sizes)) == repr(getattr(torch.nn, name)(*sizes))


@pytest.mark.parametrize(
    ("function", "shapes", "wanted"),
    [
        *((F.linear, [(4, 3), (5, 3), (5,)], i) for i in range(3)),
        *((F.bilinear, [(4, 3), (4, 2), (5, 3, 2), (5,)], i) for i in range(4)),
    ],
)
def test_only_the_wanted_gradient_is_computed(function, shapes, wanted):
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    every = [Tensor(a, requires_grad=True) for a in arrays]
    one = [Tensor(a, requires_grad=i == wanted) for i, a in enumerate(arrays)]
    dy = normal(4, 5, seed=9)
    y = function(*one)
    assert [dx is not None for dx in y.creator.backward(dy)] == [i == wanted for i in range(len(shapes))]
    expected = grad(function(*every), every, dy)[wanted].array
    np.testing.assert_array_equal(grad(y, one[wanted], dy)[0].array, expected)


def test_any_memory_layout():
    x, w = normal(6, 8).T[::2], normal(6, 10).T[::2]
    a, b = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    y = F.linear(a, b)
    np.testing.assert_allclose(y.array, x @ w.T, rtol=1e-14)
    dy = np.broadcast_to(np.arange(5.0), y.shape)
    dx, dw = grad(y, [a, b], dy)
    np.testing.assert_allclose(dx.array, dy @ w, rtol=1e-13)
    np.testing.assert_allclose(dw.array, dy.T @ x, rtol=1e-13)


def test_half_precision_is_summed_in_float32():
    x, w, b = (v.astype(np.float16) for v in (normal(4, 2048), normal(3, 2048, seed=1), normal(3, seed=2)))
    tensors = [Tensor(v, requires_grad=True) for v in (x, w, b)]
    y = F.linear(*tensors)
    wide = x.astype(np.float64) @ w.astype(np.float64).T + b
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.array, wide, rtol=1e-3, atol=1e-2)
    assert [d.dtype for d in grad(y, tensors, np.ones((4, 3)))] == [np.float16] * 3
    pair, weights = Tensor(x[:, :8], requires_grad=True), Tensor(w.reshape(3, 8, 256)[:, :, :8])
    z = F.bilinear(pair, pair, weights, tensors[2])
    assert z.dtype == grad(z, pair, np.ones((4, 3)))[0].dtype == np.float16
    exact = np.einsum("ni,nj,kij->nk", *(v.array.astype(np.float64) for v in (pair, pair, weights))) + b
    np.testing.assert_allclose(z.array, exact, rtol=1e-3, atol=1e-2)
    huge = F.linear(Tensor(np.full((1, 4), 6e4, np.float16)), Tensor(np.ones((1, 4), np.float16)))
    assert huge.array == np.inf


def test_a_weight_of_one_axis_is_a_row_without_its_axis(torch):
    x, w = normal(4, 3), normal(3, seed=1)
    y = F.linear(Tensor(x), Tensor(w))
    np.testing.assert_allclose(y.array, torch.nn.functional.linear(torch.tensor(x), torch.tensor(w)).numpy())
    np.testing.assert_allclose(F.linear(Tensor(x), Tensor(w), Tensor(np.array(2.0))).array, y.array + 2)


def test_zero_features_make_a_layer_that_returns_its_bias():
    layer = nn.Linear(0, 3)
    y = layer(Tensor(np.ones((2, 0), np.float32)))
    np.testing.assert_array_equal(y.array, np.tile(layer.bias.array, (2, 1)))


def test_a_double_input_to_a_float_layer_says_what_to_do():
    with pytest.raises(TypeError, match=r"x.to\('float32'\) or layer.to\('float64'\)"):
        nn.Linear(3, 2)(Tensor(normal(4, 3)))


def test_identity_takes_anything():
    x = Tensor(normal(2))
    assert nn.Identity(54, unused=True)(x) is x
