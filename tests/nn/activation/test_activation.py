"""What the registry does not test of activations: modules, kinks, extreme values, half types."""

import functools

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

LAYERS = {
    "ReLU": {},
    "ReLU6": {},
    "LeakyReLU": {"negative_slope": 0.2},
    "PReLU": {"num_parameters": 3, "init": 0.1},
    "Threshold": {"threshold": 0.1, "value": 2.0},
    "Hardtanh": {"min_val": -0.5, "max_val": 0.7},
    "Hardsigmoid": {},
    "Hardswish": {},
    "ELU": {"alpha": 0.5},
    "SELU": {},
    "CELU": {"alpha": 0.5},
    "GELU": {"approximate": "tanh"},
    "SiLU": {},
    "Mish": {},
    "Softplus": {"beta": 2.0, "threshold": 1.0},
    "Softsign": {},
    "LogSigmoid": {},
    "GLU": {"dim": 0},
    "Sigmoid": {},
    "Tanh": {},
    "Softmax": {"dim": 1},
    "LogSoftmax": {"dim": 0},
    "Softmin": {"dim": 1},
}
POINTWISE = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("threshold", {"threshold": 0.5, "value": 2.0}),
    ("hardtanh", {}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("elu", {"alpha": 0.5}),
    ("selu", {}),
    ("celu", {"alpha": 0.5}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("softplus", {}),
    ("softsign", {}),
    ("logsigmoid", {}),
]
pointwise = pytest.mark.parametrize(("name", "options"), POINTWISE, ids=lambda part: str(part))
CONSTANT_OF_SINGLE_PRECISION = {"hardsigmoid": 3e-8}  # PyTorch's gradient is the float32 number 1/6


def ours(name, options, x):
    x = Tensor(x, requires_grad=True)
    y = getattr(F, name)(x, **options)
    return y.array, grad(y, x, np.ones_like(y.array))[0].array


def theirs(torch, name, options, x):
    x = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(x, **options)
    return y.detach().numpy(), torch.autograd.grad(y.sum(), x)[0].numpy()


@pytest.mark.parametrize(("name", "options"), LAYERS.items(), ids=LAYERS.keys())
def test_layers_compute_what_pytorchs_do(name, options, torch):
    layer, reference = getattr(nn, name)(**options).double(), getattr(torch.nn, name)(**options).double()
    x = np.random.default_rng(0).normal(size=(4, 3)) * 2
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = layer(a), reference(b)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    rtol = CONSTANT_OF_SINGLE_PRECISION.get(name.lower(), 1e-12)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=rtol, atol=1e-14)
    for p, q in zip(layer.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.array, q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), LAYERS.items(), ids=LAYERS.keys())
def test_layers_show_their_options(name, options):
    shown = repr(getattr(nn, name)(**options))
    assert shown.startswith(f"{name}(")
    for option, value in options.items():
        assert option == "init" or f"{option}={value!r}" in shown


@pointwise
def test_equal_to_pytorch_at_any_size(name, options, torch):
    sizes = np.array(
        [1e-300, 1e-20, 1e-8, 1e-3, 0.1, 1.0, 3.5, 8.0, 15.0, 19.5, 25.0, 40.0, 90.0, 700.0, 1e5]
    )
    x = np.concatenate([sizes, -sizes])
    for a, b, rtol in zip(
        ours(name, options, x),
        theirs(torch, name, options, x),
        (1e-12, CONSTANT_OF_SINGLE_PRECISION.get(name, 1e-12)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


@pointwise
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_finite_up_to_the_largest_number(name, options, dtype):
    """Warnings are errors here, so this also tests that no intermediate overflow warns."""
    largest = np.finfo(dtype).max
    x = np.array([largest, -largest, largest / 2, -largest / 2, np.sqrt(largest), -np.sqrt(largest)], dtype)
    y, dx = ours(name, options, x)
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(dx).all()
    if name != "selu":  # its scale of 1.05 overflows at the largest number
        assert np.isfinite(y).all()


@pointwise
def test_kinks_have_pytorchs_subgradient(name, options, torch):
    x = np.array([0.0, -0.0, 0.5, 1.0, -1.0, 3.0, -3.0, 6.0])
    x = x[(abs(x) != 3.0)] if name == "hardswish" else x
    rtol = CONSTANT_OF_SINGLE_PRECISION.get(name, 1e-12)
    np.testing.assert_allclose(
        ours(name, options, x)[1], theirs(torch, name, options, x)[1], rtol=rtol, atol=1e-14
    )


@pointwise
def test_nan_stays_nan(name, options):
    assert np.isnan(ours(name, options, np.array([np.nan, 1.0]))[0][0])


@pointwise
def test_nan_and_infinity_are_as_in_pytorch(name, options, torch):
    """Sixty-four values: PyTorch's gradient at NaN differs between few and many values."""
    for value in (np.nan, np.inf, -np.inf):
        x = np.full(64, value)
        (y, dx), (expected, slope) = ours(name, options, x), theirs(torch, name, options, x)
        np.testing.assert_array_equal(y, expected)
        if np.isinf(value) and np.isnan(slope).all() and not np.isnan(dx).any():
            slope = theirs(torch, name, options, np.sign(x) * 1e5)[1]  # ours has the limit, not NaN
            np.testing.assert_allclose(dx, slope, atol=1e-9)
        else:
            np.testing.assert_array_equal(dx, slope)


def test_prelu_at_nan_and_infinity_is_as_in_pytorch(torch):
    x, w = np.array([np.nan, np.inf, -np.inf]), np.array([0.25])
    ours, theirs = ([make(x), make(w)] for make in (Tensor, torch.tensor))
    for tensor in (*ours, *theirs):
        tensor.requires_grad_()
    y, z = F.prelu(*ours), torch.nn.functional.prelu(*theirs)
    np.testing.assert_array_equal(y.array, z.detach().numpy())
    for a, b in zip(grad(y, ours, np.ones(3)), torch.autograd.grad(z.sum(), theirs), strict=True):
        np.testing.assert_array_equal(a.array, b.numpy())


@pointwise
def test_half_precision_is_computed_in_float32(name, options):
    x = np.linspace(-4, 4, 33).astype(np.float16)
    for low, high in zip(ours(name, options, x), ours(name, options, x.astype(np.float64)), strict=True):
        np.testing.assert_allclose(low, high, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu"])
def test_the_left_tail_keeps_its_digits_in_float32(name):
    x = np.linspace(-15, -0.5, 30) if name != "gelu" else np.linspace(-2.5, -0.5, 30)
    low, high = ours(name, {}, x.astype(np.float32)), ours(name, {}, x)
    np.testing.assert_allclose(low[0], high[0], rtol=2e-5)


def test_prelu_of_one_axis_takes_one_weight(torch):
    x, w = np.array([-1.0, 2.0]), np.array([0.25])
    a, b = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    dx, dw = grad(F.prelu(a, b), [a, b], np.array([1.0, 1.0]))
    assert dx.tolist() == [0.25, 1.0]
    assert dw.tolist() == [-1.0]


def test_glu_gates_the_first_half_with_the_second():
    x = Tensor(np.array([[3.0, -5.0, 0.0, 40.0]]))
    np.testing.assert_allclose(F.glu(x).array, [[1.5, -5.0]], rtol=1e-15)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "softmax", "log_softmax"])
def test_changing_a_saved_output_in_place_is_detected(name):
    function = getattr(F, name)
    function = functools.partial(function, dim=1) if "softmax" in name else function
    for shape in ((2, 3), (2, 3, 4)):
        x = Tensor(np.ones(shape), requires_grad=True)
        y = function(x)
        y.detach().zero_()
        with pytest.raises(RuntimeError, match="in place"):
            y.backward(np.ones(shape))


INPLACE = [
    *("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardtanh", "Hardsigmoid"),
    *("Hardswish", "Threshold", "Dropout"),
]
SHOWN_NEITHER_OR_ALWAYS_BY_PYTORCH = {"Hardsigmoid", "Hardswish", "Dropout"}


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_is_accepted_and_changes_nothing(name):
    options = LAYERS.get(name, {})
    layer, twin = getattr(nn, name)(**options, inplace=True), getattr(nn, name)(**options)
    x = np.random.default_rng(0).normal(size=(4, 3))
    leaf = Tensor(x.copy(), requires_grad=True)
    hidden = leaf * 1.0  # recorded: its values are needed again
    product = hidden * hidden
    tn.manual_seed(1)
    y = layer(hidden)
    tn.manual_seed(1)
    np.testing.assert_array_equal(y.array, twin(Tensor(x)).array)
    np.testing.assert_array_equal(hidden.array, x)
    (y * product).sum().backward()
    again = Tensor(x.copy(), requires_grad=True)
    tn.manual_seed(1)
    (twin(again * 1.0) * (again * again)).sum().backward()
    np.testing.assert_allclose(leaf.grad.array, again.grad.array, rtol=1e-12)


@pytest.mark.parametrize("name", INPLACE)
def test_functions_accept_inplace_too(name):
    function, options = getattr(F, {"LeakyReLU": "leaky_relu"}.get(name, name.lower())), LAYERS.get(name, {})
    x = Tensor(np.random.default_rng(0).normal(size=(4, 3)))
    results = []
    for inplace in (True, False):
        tn.manual_seed(1)
        results.append(function(x, **options, inplace=inplace).array)
    np.testing.assert_array_equal(*results)
    assert not np.shares_memory(results[0], x.array)


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_is_shown_as_in_pytorch(name, torch):
    options = LAYERS.get(name, {})
    assert repr(getattr(nn, name)(**options, inplace=True)).endswith("inplace=True)")
    assert "inplace" not in repr(getattr(nn, name)(**options))
    if name not in SHOWN_NEITHER_OR_ALWAYS_BY_PYTORCH:
        for inplace in ({}, {"inplace": True}):
            ours, theirs = (getattr(library, name)(**options, **inplace) for library in (nn, torch.nn))
            assert repr(ours) == repr(theirs)


def test_gelu_in_float32_is_right_to_a_rounding_and_keeps_its_left_tail():
    x = np.linspace(-14, 14, 40001)
    low, high = ours("gelu", {}, x.astype(np.float32)), ours("gelu", {}, x)
    np.testing.assert_allclose(low[0], high[0], atol=2e-7, rtol=2e-7)
    np.testing.assert_allclose(low[1], high[1], atol=5e-7)
    tail = (x > -5.9) & (x < -1)
    np.testing.assert_allclose(low[0][tail], high[0][tail], rtol=2e-5)


@pointwise
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_give_the_same_as_the_whole(name, options, dtype, monkeypatch):
    x = np.random.default_rng(0).normal(size=(7, 12)).astype(dtype)
    expected = ours(name, options, x)
    monkeypatch.setattr("tinygrad_norm.backends.cpu.blocks.SMALL_BLOCK", 40)
    for got, whole in zip(ours(name, options, x), expected, strict=True):
        np.testing.assert_array_equal(got, whole)
    turned = Tensor(np.asfortranarray(x), requires_grad=True)
    y = getattr(F, name)(turned, **options)
    np.testing.assert_array_equal(y.array, expected[0])
    np.testing.assert_array_equal(grad(y, turned, np.ones_like(x))[0].array, expected[1])


def test_an_activation_keeps_one_array_for_backward_and_none_without_a_gradient():
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    assert [array.shape for array in F.gelu(x).creator.saved] == [(2, 3)]
    assert F.gelu(x.detach()).creator is None
    y = F.silu(x)
    x.detach().zero_()  # harmless: the slope is saved
    np.testing.assert_allclose(grad(y, x, np.ones((2, 3)))[0].array, 0.9276705, rtol=1e-6)
