"""Values at the edges: ties, kinks, zeros, infinities. Equal to PyTorch, or to the deviation written down.

Nothing may warn: pytest turns warnings into errors.
"""

import math

import numpy as np
import pytest

import tinygrad_norm as tn

inf, nan = float("inf"), float("nan")


def gradients(function, *inputs):
    """The result and the gradients of Σ dy·y, with dy = 1, 2, 3, ..."""
    xs = [tn.tensor(np.array(x, float), requires_grad=True) for x in inputs]
    y = function(*xs)
    y.backward(tn.tensor(np.arange(1.0, y.numel() + 1).reshape(y.shape)))
    return [y.detach().numpy(), *(x.grad.numpy() for x in xs)]


def torch_gradients(torch, function, *inputs):
    xs = [torch.tensor(np.array(x, float), requires_grad=True) for x in inputs]
    y = function(*xs)
    y.backward(torch.arange(1.0, y.numel() + 1, dtype=torch.float64).reshape(y.shape))
    return [y.detach().numpy(), *(x.grad.numpy() for x in xs)]


AS_PYTORCH = {
    "abs at 0": (lambda x: x.abs(), [-1, 0, 2]),
    "sign": (lambda x: x.sign(), [-1, 0, 2]),
    "exp overflows": (lambda x: x.exp(), [1000, -1000, -inf]),
    "expm1": (lambda x: x.expm1(), [1000, -1000, 1e-20]),
    "log": (lambda x: x.log(), [0, -1, inf]),
    "log1p": (lambda x: x.log1p(), [-1, -2, 1e-20]),
    "sqrt below 0": (lambda x: x.sqrt(), [-1, 4, inf]),
    "rsqrt": (lambda x: x.rsqrt(), [0, -1, 4, inf]),
    "reciprocal": (lambda x: x.reciprocal(), [0, -2, inf]),
    "square overflows": (lambda x: x.square(), [1e200, 0, -3]),
    "mul overflows": (lambda x, y: x * y, [1e200, 0, 2], [1e200, 3, 0]),
    "add overflows": (lambda x, y: x + y, [1.7e308, inf], [1.7e308, -inf]),
    "div": (lambda x, y: x / y, [1, 0, 3, -1e300], [0, 0, 2, 1e-300]),
    "sin": (lambda x: x.sin() + x.cos(), [0, 1e10]),
    "tanh": (lambda x: x.tanh(), [-1000, 0, 1000]),
    "sigmoid": (lambda x: x.sigmoid(), [-1000, -50, 0, 50, 1000]),
    "erf": (lambda x: x.erf(), [-30, -6, -1e-300, 0, 5.99, inf]),
    "maximum ties": (lambda x, y: x.maximum(y), [1, 2, 3], [1, 3, 2]),
    "minimum ties": (lambda x, y: x.minimum(y), [1, 2, 3], [1, 3, 2]),
    "maximum broadcast ties": (lambda x, y: x.maximum(y), [[1, 2], [3, 1]], [1, 1]),
    "clamp at the bounds": (lambda x: x.clamp(-1, 1), [-2, -1, 0, 1, 2]),
    "clamp, bounds as tensors": (lambda x, a, b: x.clamp(a, b), [0, 1, 2, 3], [1, 1, 3, 4], [2, 2, 2, 2]),
    "clamp between infinities": (lambda x: x.clamp(-inf, inf), [-2, inf]),
    "max ties": (lambda x: x.max(), [1, 3, 3, 2]),
    "min ties": (lambda x: x.min(), [1, 3, 1, 2]),
    "max along ties": (lambda x: x.max(1).values, [[3, 3, 1], [0, 2, 2]]),
    "min along ties": (lambda x: x.min(0).values, [[3, 3, 1], [3, 2, 2]]),
    "amax ties": (lambda x: x.amax((0, 1)), [[3, 3, 1], [3, 2, 2]]),
    "amin ties": (lambda x: x.amin(1), [[1, 3, 1], [2, 2, 2]]),
    "norm at 0": (lambda x: x.norm(), [0, 0]),
    "norm of rows at 0": (lambda x: x.norm(2, 1), [[0, 0], [3, 4]]),
    "norm 1 at 0": (lambda x: x.norm(1), [0, -2]),
    "norm 1/2 at 0": (lambda x: x.norm(0.5), [0, -2, 1]),
    "norm 3 at 0": (lambda x: x.norm(3), [0, 0]),
    "norm inf ties": (lambda x: x.norm(inf), [-2, 2, 1]),
    "norm -inf ties": (lambda x: x.norm(-inf), [-2, 2, 2]),
    "prod with a zero": (lambda x: x.prod(), [0, 2, 3]),
    "prod with two zeros": (lambda x: x.prod(), [0, 0, 3]),
    "prod of rows with zeros": (lambda x: x.prod(1), [[0, 0, 3], [1, 2, 0], [1, 2, 3]]),
    "pow 0": (lambda x: x**0, [0, -2]),
    "pow 2": (lambda x: x**2, [0, -2]),
    "pow 3": (lambda x: x**3, [0, -2]),
    "pow -1": (lambda x: x**-1, [-2, 0]),
    "pow of 0 to tensors": (lambda x, y: x**y, [0, 0, 0], [0, 1, 2]),
    "pow of 0 to the negative": (lambda x, y: x**y, [0, 2], [-1, -1]),
    "pow of negatives": (lambda x, y: x**y, [-2, -2, -2], [2, 3, 0.5]),
    "numbers to tensors": (lambda x: 2**x, [0, -1, 3]),
    "0 to tensors": (lambda x: 0.0**x, [0, 2]),
    "logsumexp, one -inf": (lambda x: x.logsumexp(0), [-inf, 0, 1]),
    "logsumexp, huge": (lambda x: x.logsumexp(1), [[1e300, 0], [-1e300, -1e300]]),
    "var of two equal": (lambda x: x.var(), [2, 2]),
    "var of one": (lambda x: x.var(), [2]),
    "var, correction 0": (lambda x: x.var(correction=0), [2]),
    "mean of nothing": (lambda x: x.mean(), np.zeros((0, 2))),
    "sum of nothing": (lambda x: x.sum(), np.zeros((0, 2))),
    "prod of nothing": (lambda x: x.prod(), np.zeros((0, 2))),
    "logsumexp of nothing": (lambda x: x.logsumexp(0), np.zeros((0, 2))),
    "masked_fill with -inf": (lambda x: x.masked_fill(x > 1, -inf), [1, 2]),
    "nan": (lambda x: x.maximum(x * 0 + 1), [nan, 1.5]),
}


@pytest.mark.filterwarnings("ignore:var\\(\\):UserWarning")  # PyTorch's
@pytest.mark.parametrize("name", AS_PYTORCH)
def test_as_pytorch(name, torch):
    function, *inputs = AS_PYTORCH[name]
    expected = torch_gradients(torch, function, *inputs)
    for ours, theirs in zip(gradients(function, *inputs), expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-300)


OUR_OWN = {  # name: function, x, y, dx; PyTorch's dx is infinite or NaN
    "sqrt at 0": (lambda x: x.sqrt(), [0, 4], [0, 2], [0, 0.5]),
    "pow 1/2 at 0": (lambda x: x**0.5, [0, 4], [0, 2], [0, 0.5]),
    "std of equal numbers": (
        lambda x: x.std(1),
        [[2, 2], [1, 3]],
        [0, 2**0.5],
        [[0, 0], [-(2**0.5), 2**0.5]],
    ),
    "composed norm at 0": (lambda x: (x * x).sum().sqrt(), [0, 0], 0, [0, 0]),
    "logsumexp, all -inf": (lambda x: x.logsumexp(1), [[-inf, -inf], [0, -inf]], [-inf, 0], [[0, 0], [2, 0]]),
    "norm, squares overflow": (lambda x: x.norm(), [3e200, 4e200], 5e200, [0.6, 0.8]),
    "norm, squares underflow": (lambda x: x.norm(), [3e-200, 4e-200], 5e-200, [0.6, 0.8]),
}


@pytest.mark.parametrize("name", OUR_OWN)
def test_gradients_stay_finite_where_pytorch_has_none(name):
    function, x, y, dx = OUR_OWN[name]
    ours = gradients(function, x)
    np.testing.assert_allclose(ours[0], y, rtol=1e-14)
    np.testing.assert_allclose(ours[1], dx, rtol=1e-14)


def test_pow_with_a_tensor_exponent_between_0_and_1_stays_finite_at_0():
    _, da, db = gradients(lambda a, b: a**b, [0, 4], [0.5, 0.5])
    np.testing.assert_allclose(da, [0, 0.5])
    np.testing.assert_allclose(db, [0, 4 * np.log(4)])


OVERFLOWS = {
    "compare": lambda x: (x > 1e300) | (x == -1e300),
    "clamp": lambda x: x.clamp(-1e300, 1e300),
    "maximum": lambda x: x.maximum(1e300),
    "where": lambda x: tn.where(x > 0, x, -1e300),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1e300),
    "add": lambda x: x + 1e300,
    "power": lambda x: x**1e300 + 1e300**x,
    "sums": lambda x: (x * 6e4).sum() + (x * 6e4).prod() + (x * 6e4).cumsum(0),
    "moments": lambda x: (x * 6e4).mean() + (x * 6e4).cumsum(0).var() + (x * 6e4).norm(3),
    "products": lambda x: (x * 6e4) @ (x * 6e4) + tn.einsum("i,i->", x * 6e4, x * 6e4),
    "exponentials": lambda x: (x * 6e4).exp() + (x * 6e4).expm1() + (x * 6e4).logsumexp(0),
    "nan": lambda x: (x * nan).max() + (x * nan).sign().abs().sigmoid().tanh().erf().sqrt().log(),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", OVERFLOWS)
def test_overflow_and_nan_do_not_warn(name, dtype):
    x = tn.ones(3, dtype=dtype, requires_grad=True)
    y = OVERFLOWS[name](x)
    if y.requires_grad:
        y.backward(tn.ones_like(y))


def test_numbers_enter_float64_tensors_exactly():
    x = tn.tensor(np.zeros(2))
    for y in (x + 0.1, x.masked_fill(x == 0, 0.1), tn.where(x == 0, 0.1, x), x.clamp(0.1), x.maximum(0.1)):
        assert y.tolist() == [0.1, 0.1]


def test_norm_0_counts_and_has_no_slope():
    y, dx = gradients(lambda x: x.norm(0), [0, 2, -3])
    assert y == 2
    np.testing.assert_array_equal(dx, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_is_exact_to_rounding(dtype):
    x = np.concatenate(
        [np.linspace(-6.5, 6.5, 4001), np.logspace(-30, -1, 60), [0.0, 1 / 64, 3 / 64]]
    ).astype(dtype)
    expected = np.array([math.erf(v) for v in x.tolist()])
    error = np.abs(tn.tensor(x).erf().numpy() - expected) / np.spacing(np.abs(expected).astype(dtype) + 1e-37)
    assert error.max() <= 3  # units in the last place


def test_erf_of_nan_and_minus_zero():
    y = tn.tensor([nan, -0.0, inf, -inf]).erf().numpy()
    assert np.isnan(y[0])
    assert np.signbit(y[1])
    assert (y[2], y[3]) == (1, -1)


@pytest.mark.filterwarnings("ignore:(var|std)\\(\\):UserWarning")  # PyTorch's
@pytest.mark.parametrize("correction", [3, 4, 5.5])
@pytest.mark.parametrize("x", [[1, 2, 4], [2, 2, 2]])
@pytest.mark.parametrize("name", ["var", "std"])
def test_too_few_numbers_have_no_variance_and_no_slope(name, x, correction, torch):
    y, dx = gradients(lambda t: getattr(t, name)(correction=correction), x)
    expected = getattr(torch.tensor(x, dtype=torch.float64), name)(correction=correction)
    np.testing.assert_array_equal(y, expected.numpy())
    assert np.isnan(dx).all()  # PyTorch's are infinite, NaN or of the wrong sign


@pytest.mark.parametrize(
    "name", ["sum", "mean", "prod", "var", "std", "max", "min", "amax", "logsumexp", "norm"]
)
def test_a_0d_tensor_has_one_axis_to_reduce_over(name, torch):
    arguments = ("fro", 0) if name == "norm" else (0,)
    options = {"correction": 0} if name in ("var", "std") else {}
    y = getattr(tn.tensor(2.0), name)(*arguments, **options)
    y_torch = getattr(torch.tensor(2.0), name)(*arguments, **options)
    y, y_torch = (y.values, y_torch.values) if name in ("max", "min") else (y, y_torch)
    assert y.shape == ()
    assert y.item() == y_torch.item()
    with pytest.raises(IndexError, match="dim 1 is out of range"):
        getattr(tn.tensor(2.0), name)(*arguments[:-1], 1)


@pytest.mark.parametrize("dim", [True, 1.0, "1", (0, True)], ids=repr)
def test_an_axis_is_an_int_and_no_bool(dim):
    with pytest.raises(TypeError, match="dim must be an int"):
        tn.ones(2, 3).sum(dim)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_zero_size_tensors_keep_their_shapes(shape, torch):
    a, b = tn.zeros(shape, requires_grad=True), torch.zeros(shape)
    calls = [
        lambda t: t + 1,
        lambda t: t.exp(),
        lambda t: t * t,
        lambda t: t.sum(-1),
        lambda t: t.mean(0),
        lambda t: t.T if t.ndim == 2 else t,
        lambda t: t.flatten(),
        lambda t: t[..., :0],
        lambda t: t.cumsum(0),
        lambda t: t.prod(-1),
        lambda t: t.unsqueeze(0),
        lambda t: t.flip(0),
        lambda t: t.roll(1, 0),
        lambda t: t.norm(2, 0),
        lambda t: t.clamp(0, 1),
        lambda t: t.logsumexp(-1),
        lambda t: t.repeat(*shape),
    ]
    for call in calls:
        y = call(a)
        assert y.shape == tuple(call(b).shape)
        a.grad = None
        y.backward(tn.zeros_like(y))
        assert a.grad.shape == shape


SUMMED = {
    "last axis, whole chunks": ((3, 96), 1),
    "last axis, with a rest": ((3, 101), 1),
    "last axis, too short": ((3, 63), 1),
    "first axis": ((20, 300), 0),
    "middle axis": ((4, 9, 64), 1),
    "a narrow row": ((4, 100, 3), 1),
    "nothing": ((0, 100), 1),
    "nothing along it": ((300, 0), 1),
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SUMMED)
def test_running_sums_are_those_of_float64(name, dtype):
    shape, dim = SUMMED[name]
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    t = tn.tensor(x, requires_grad=True)
    y = t.cumsum(dim)
    dy = np.random.default_rng(1).normal(size=shape).astype(dtype)
    y.backward(tn.tensor(dy))
    dx = np.flip(np.flip(dy.astype(float), dim).cumsum(dim), dim)
    eps = np.finfo(dtype).eps * 100
    np.testing.assert_allclose(y.numpy(), x.astype(float).cumsum(dim), atol=eps, rtol=eps)
    np.testing.assert_allclose(t.grad.numpy(), dx, atol=eps, rtol=eps)
    assert y.dtype == t.grad.dtype == dtype


@pytest.mark.parametrize("value", [inf, -inf, nan, 3e38])
@pytest.mark.parametrize("dim", [0, 1])
def test_running_sums_before_an_infinite_one_stay_finite(value, dim):
    x = np.ones((300, 300), np.float32)
    x[150, 70] = value
    x[160, 80] = value
    with np.errstate(all="ignore"):
        expected = x.cumsum(dim)
    np.testing.assert_allclose(tn.tensor(x).cumsum(dim).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "row", [[1e-30, 1e-30, 1e25], [1e30, 1e30, 1e-30], [1e-20, 1e-19, 1.0], [0.0, 2.0, 3.0]]
)
def test_the_gradient_of_a_product_that_leaves_the_number_range_is_right(row):
    x = tn.tensor(np.array([row, [1.0, 2.0, 3.0]], np.float32), requires_grad=True)
    x.prod(1).sum().backward()
    others = np.array([[r[1] * r[2], r[0] * r[2], r[0] * r[1]] for r in (row, [1.0, 2.0, 3.0])])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(x.grad.numpy(), others.astype(np.float32), rtol=1e-6, atol=1e-44)
