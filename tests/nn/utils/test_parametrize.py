"""Custom parametrizations: order, inverses, assignment, copies, removal, caching, errors."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn.utils import parametrizations, parametrize
from tinygrad_norm.nn.utils.parameter_swap import functional_call
from tinygrad_norm.nn.utils.parametrize import (
    cached,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
    type_before_parametrizations,
)
from tinygrad_norm.optim import SGD, Adam


class Symmetric(nn.Module):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return x.triu() + x.triu(1).T

    def right_inverse(self, value):
        return value.triu()


class Plus(nn.Module):
    """Has no inverse."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x + self.number


class Times(Plus):
    def forward(self, x):
        return x * self.number

    def right_inverse(self, value):
        return value / self.number


class Shift(Plus):
    def right_inverse(self, value):
        return value - self.number


class Product(nn.Module):
    """The weight is a row times a column."""

    def forward(self, row, column):
        return column @ row

    def right_inverse(self, value):
        return value[:1], value[:, :1] / value[:1, :1]


class Flat(nn.Module):
    """The original has another shape than the weight."""

    def forward(self, x):
        return x.reshape(3, 3)

    def right_inverse(self, value):
        return value.reshape(9)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def square(*parametrization):
    layer = nn.Linear(3, 3).double()
    for one in parametrization:
        register_parametrization(layer, "weight", one)
    return layer


def test_the_tensor_is_computed_and_the_original_is_trained():
    layer = nn.Linear(3, 3).double()
    weight, before = layer.weight, layer.weight.numpy().copy()
    assert register_parametrization(layer, "weight", Symmetric()) is layer
    np.testing.assert_array_equal(layer.weight.numpy(), np.triu(before) + np.triu(before, 1).T)
    assert layer.parametrizations.weight.original is weight
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert [name for name, _ in layer.named_parameters()] == list(layer.state_dict())
    x, dy = Tensor(normal(4, 3)), normal(4, 3, seed=1)
    (dweight,) = grad(layer(x), [weight], dy)
    full = dy.T @ x.numpy()
    np.testing.assert_allclose(dweight.numpy(), np.triu(full) + np.triu(full.T, 1), rtol=1e-13)
    assert is_parametrized(layer)
    assert is_parametrized(layer, "weight")
    assert not is_parametrized(layer, "bias")
    assert not is_parametrized(nn.Linear(2, 2))


def test_several_apply_in_the_order_of_registration():
    layer = nn.Linear(3, 3).double()
    before = layer.weight.numpy().copy()
    for one in (Plus(1.0), Times(3.0), Plus(-2.0)):
        register_parametrization(layer, "weight", one)
    np.testing.assert_allclose(layer.weight.numpy(), (before + 1) * 3 - 2, rtol=1e-15)
    register_parametrization(layer, "bias", Times(2.0))
    assert list(layer.parametrizations) == ["weight", "bias"]
    assert [type(one) for one in layer.parametrizations.weight] == [Plus, Times, Plus]


def test_assignment_goes_through_the_inverses_last_first():
    layer = square(Symmetric(), Times(3.0), Shift(1.0))
    value = normal(3, 3)
    value += value.T
    layer.weight = Tensor(value)
    np.testing.assert_allclose(layer.weight.numpy(), value, rtol=1e-13)
    original = layer.parametrizations.weight.original
    np.testing.assert_allclose(original.numpy(), np.triu((value - 1) / 3), rtol=1e-13)
    assert original.requires_grad
    assert original.is_leaf


def test_a_sequence_of_originals():
    layer = square(Product())
    assert list(layer.state_dict())[1:] == [
        *("parametrizations.weight.original0", "parametrizations.weight.original1")
    ]
    row, column = layer.parametrizations.weight.originals
    assert (type(row), type(column)) == (nn.Parameter, nn.Parameter)
    value = normal(3, 1) @ normal(1, 3, seed=1)
    layer.weight = Tensor(value)
    np.testing.assert_allclose(layer.weight.numpy(), value, rtol=1e-13)
    with pytest.raises(ValueError, match="computed from 2 originals"):
        remove_parametrizations(layer, "weight", leave_parametrized=False)
    remove_parametrizations(layer, "weight")
    assert type(layer.weight) is nn.Parameter
    np.testing.assert_allclose(layer.weight.numpy(), value, rtol=1e-13)


def test_frozen_weights_stay_frozen_and_stay_parameters():
    layer = nn.Linear(3, 3)
    layer.weight.requires_grad_(False)
    register_parametrization(layer, "weight", Product())
    assert not any(original.requires_grad for original in layer.parametrizations.weight.originals)
    remove_parametrizations(layer, "weight")
    assert type(layer.weight) is nn.Parameter
    assert not layer.weight.requires_grad


def test_an_original_of_another_shape():
    layer = nn.Linear(3, 3).double()
    before = layer.weight.numpy().copy()
    register_parametrization(layer, "weight", Flat())
    assert layer.parametrizations.weight.original.shape == (9,)
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    remove_parametrizations(layer, "weight")
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_buffers_can_be_parametrized():
    norm = nn.BatchNorm1d(3)
    register_parametrization(norm, "running_var", Times(2.0))
    np.testing.assert_array_equal(norm.running_var.numpy(), [1, 1, 1])
    assert [name for name, _ in norm.named_buffers()][-1] == "parametrizations.running_var.original"
    remove_parametrizations(norm, "running_var", leave_parametrized=False)
    np.testing.assert_array_equal(norm.running_var.numpy(), [0.5, 0.5, 0.5])
    assert "running_var" in norm.state_dict()


def test_removal_restores_the_class_and_the_parameter():
    layer = square(Times(2.0))
    register_parametrization(layer, "bias", Times(2.0))
    weight = layer.parametrizations.weight.original
    assert type(layer).__name__ == "ParametrizedLinear"
    assert type_before_parametrizations(layer) is nn.Linear
    assert isinstance(layer, nn.Linear)
    value = layer.weight.numpy().copy()
    assert remove_parametrizations(layer, "weight") is layer
    assert layer.weight is weight
    np.testing.assert_array_equal(weight.numpy(), value)
    assert is_parametrized(layer, "bias")
    remove_parametrizations(layer, "bias", leave_parametrized=False)
    assert type(layer) is nn.Linear
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert not hasattr(layer, "parametrizations")


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
def test_copies_are_independent(again):
    layer = parametrizations.spectral_norm(square(Symmetric())).eval()
    twin = again(layer)
    assert type(twin) is type(layer)
    np.testing.assert_array_equal(twin.weight.numpy(), layer.weight.numpy())
    value = layer.weight.numpy().copy()
    remove_parametrizations(twin, "weight")
    twin.weight.zero_()
    np.testing.assert_array_equal(layer.weight.numpy(), value)
    assert not is_parametrized(twin)
    assert is_parametrized(layer)


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_optimizers_may_move_the_originals(optimizer):
    """They are in the flat buffer; load_state_dict, assignment and removal still reach them."""
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU())
    net.append(parametrizations.spectral_norm(nn.Linear(4, 2)))
    training = optimizer(net.parameters(), 0.05)
    x, target = tn.randn(16, 3), tn.randn(16, 2)
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    losses = []
    for _ in range(2):
        net.load_state_dict(state)
        for _ in range(20):
            training.zero_grad()
            loss = ((net(x) - target) ** 2).mean()
            losses.append(loss.item())
            loss.backward()
            training.step()
    assert losses[19] < losses[0]
    assert losses[20] == losses[0]
    net[0].weight = tn.ones(4, 3)
    np.testing.assert_allclose(net[0].weight.numpy(), 1, rtol=1e-6)
    original = net[2].parametrizations.weight.original
    remove_parametrizations(net[2], "weight")
    training.zero_grad()
    net(x).sum().backward()
    before = original.numpy().copy()
    training.step()
    assert net[2].weight is original
    assert not np.array_equal(original.numpy(), before)


def test_modes_and_dtypes_reach_the_parametrizations():
    layer = parametrizations.spectral_norm(nn.Linear(3, 4).eval())
    assert not layer.parametrizations.weight[0].training
    assert layer.train().parametrizations.weight[0].training
    layer.double()
    assert {value.dtype for value in layer.state_dict().values()} == {np.dtype(np.float64)}
    assert layer(Tensor(normal(2, 3))).dtype == np.float64
    assert layer.half().weight.dtype == np.float16


def test_functional_call_replaces_originals():
    layer = square(Times(2.0))
    weight = Tensor(normal(3, 3), requires_grad=True)
    y = functional_call(layer, {"parametrizations.weight.original": weight}, [tn.eye(3).double()])
    np.testing.assert_allclose(y.numpy() - layer.bias.numpy(), 2 * weight.numpy().T, rtol=1e-12)


def test_cached_computes_once_and_with_gradients():
    layer = square(Symmetric())
    x = Tensor(normal(2, 3))
    (right,) = grad(layer(layer(x)).sum(), [layer.parametrizations.weight.original])
    Symmetric.calls = 0
    with cached():
        with tn.no_grad():
            layer(x)
        with cached():
            y = layer(layer(x)).sum()
        layer(x)
        assert Symmetric.calls == 2
        (dweight,) = grad(y, [layer.parametrizations.weight.original])
        np.testing.assert_allclose(dweight.numpy(), right.numpy(), rtol=1e-14)
        layer.weight = tn.eye(3).double()
        np.testing.assert_array_equal(layer.weight.numpy(), np.eye(3))
    calls = Symmetric.calls
    layer(x)
    assert Symmetric.calls == calls + 1


class Bad(nn.Module):
    def __init__(self, forward, inverse=None):
        super().__init__()
        self.function = forward
        if inverse is not None:
            self.right_inverse = inverse

    def forward(self, *xs):
        return self.function(*xs)


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize(
    ("forward", "error", "match"),
    [
        (lambda x: x[0], ValueError, "must keep the shape"),
        (lambda x: x.float(), TypeError, "must keep the dtype float64"),
        (lambda x: 1.0, TypeError, "must return a Tensor, got float"),
    ],
    ids=["shape", "dtype", "number"],
)
def test_what_changes_shape_or_dtype_raises_unless_unsafe(forward, error, match, first):
    layer = nn.Linear(3, 3).double() if first else square(Times(2.0))
    before = layer.weight.numpy().copy()
    with pytest.raises(error, match=match):
        register_parametrization(layer, "weight", Bad(forward))
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert is_parametrized(layer) == (not first)
    register_parametrization(layer, "weight", Bad(forward), unsafe=True)
    with tn.no_grad():
        np.testing.assert_array_equal(np.asarray(layer.weight), np.asarray(forward(Tensor(before))))


def test_inverses_that_do_not_fit_raise():
    layer = nn.Linear(3, 3).double()
    with pytest.raises(TypeError, match="right_inverse must return a Tensor"):
        register_parametrization(layer, "weight", Bad(lambda x: x, lambda value: 3))
    with pytest.raises(TypeError, match="right_inverse must return a Tensor"):
        register_parametrization(layer, "weight", Bad(lambda x: x, lambda value: ()))
    with pytest.raises(TypeError, match="keep the dtype"):
        register_parametrization(layer, "weight", Bad(lambda x: x.double(), lambda value: value.float()))
    assert type(layer) is nn.Linear
    layer = square(Plus(1.0))
    with pytest.raises(RuntimeError, match="Plus has none"):
        layer.weight = tn.eye(3).double()
    layer = square(Times(1.0))
    with pytest.raises(ValueError, match="originals have shapes"):
        layer.weight = tn.zeros(3).double()
    with pytest.raises(TypeError, match="keep the dtype float64"):
        layer.weight = tn.eye(3)
    for value in (nn.Parameter(normal(3, 3)), None, 1.0):
        with pytest.raises(TypeError, match="assign a Tensor as its value"):
            layer.weight = value


def test_names_that_are_not_parameters_raise():
    layer = nn.Linear(3, 3, bias=False)
    for name in ("bias", "in_features", "nothing"):
        with pytest.raises(ValueError, match=f"no parameter or buffer named '{name}'"):
            register_parametrization(layer, name, Times(2.0))
    with pytest.raises(ValueError, match="no parametrized tensor named 'weight'"):
        remove_parametrizations(layer, "weight")
    register_parametrization(layer, "weight", Times(2.0))
    with pytest.raises(AttributeError, match="has no attribute 'wieght'"):
        _ = layer.wieght


def test_folding_into_a_parametrized_layer_raises():
    """The product would be normalized by σ again."""
    layer, norm = parametrizations.spectral_norm(nn.Linear(3, 4)).eval(), nn.BatchNorm1d(4).eval()
    with pytest.raises(TypeError, match="remove_parametrizations first"):
        nn.utils.fuse_linear_bn_eval(layer, norm)


def test_signatures_are_pytorchs(torch):
    for name in ("register_parametrization", "remove_parametrizations", "is_parametrized", "cached"):
        ours, theirs = (
            [
                (p.name, p.kind, p.default)
                for p in inspect.signature(getattr(module, name)).parameters.values()
            ]
            for module in (parametrize, torch.nn.utils.parametrize)
        )
        assert ours == theirs


def test_it_prints_as_in_pytorch():
    lines = repr(square(Times(2.0))).splitlines()
    assert lines[0] == "ParametrizedLinear("
    assert [line.strip() for line in lines[2:5]] == [
        *("(parametrizations): ModuleDict(", "(weight): ParametrizationList(", "(0): Times()")
    ]
