"""Which dtype comes out: PyTorch's rules, and what half precision is accumulated in."""

import itertools

import numpy as np
import pytest

import tinygrad_norm as tn

DTYPES = ["float16", "float32", "float64", "int64", "bool"]
NUMBERS = {"bool": True, "int": 3, "float": 2.5}


def name(dtype):
    return str(dtype).removeprefix("torch.")


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)))
@pytest.mark.parametrize(("a_shape", "b_shape"), [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())])
def test_two_tensors_meet_in_pytorchs_dtype(a, b, a_shape, b_shape, torch):
    ours = tn.ones(a_shape, dtype=a), tn.ones(b_shape, dtype=b)
    theirs = torch.ones(a_shape, dtype=getattr(torch, a)), torch.ones(b_shape, dtype=getattr(torch, b))
    for op in (lambda x, y: x + y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x == y):
        assert name(op(*ours).dtype) == name(op(*theirs).dtype)
    if a != "bool" and b != "bool":
        assert name(tn.maximum(*ours).dtype) == name(torch.maximum(*theirs).dtype)
    assert name(tn.where(ours[0] > 0, *ours).dtype) == name(torch.where(theirs[0] > 0, *theirs).dtype)
    assert name(tn.cat([x.reshape(-1) for x in ours]).dtype) == name(
        torch.cat([x.reshape(-1) for x in theirs]).dtype
    )


@pytest.mark.parametrize(("dtype", "number"), list(itertools.product(DTYPES, NUMBERS)))
def test_a_number_meets_a_tensor_in_pytorchs_dtype(dtype, number, torch):
    ours, theirs = tn.ones(2, dtype=dtype), torch.ones(2, dtype=getattr(torch, dtype))
    for op in (
        lambda x, n: x + n,
        lambda x, n: n * x,
        lambda x, n: x / n,
        lambda x, n: x > n,
        lambda x, n: x**n,
    ):
        if (dtype, number) == ("bool", "bool") and op(2, 3) == 8:
            continue  # neither has a power of bools
        assert name(op(ours, NUMBERS[number]).dtype) == name(op(theirs, NUMBERS[number]).dtype)


def test_a_python_number_never_changes_a_float32_tensor():
    x = tn.ones(3, requires_grad=True)
    ys = [x + 1, 1.5 * x, x / 3, x**2, x**0.5, 2**x, x - np.float64(1), x.clamp(0.5), x.where(x > 0, 0.5)]
    ys += [x.masked_fill(x > 0, 2.5), x.maximum(0.5), x.clamp(np.float64(0.1), np.float64(0.9))]
    for y in ys:
        assert y.dtype == tn.float32
        y.sum().backward()
    assert x.grad.dtype == tn.float32


@pytest.mark.parametrize(
    "f", ["exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh", "sigmoid", "erf"]
)
def test_functions_of_integers_are_float32(f, torch):
    y = getattr(tn, f)(tn.tensor([1, 2]))
    assert y.dtype == tn.float32
    np.testing.assert_allclose(y.numpy(), getattr(torch, f)(torch.tensor([1, 2])).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "f", ["abs", "sign", "square", "sum", "prod", "cumsum", "max", "clamp", "roll", "tril"]
)
def test_functions_of_integers_that_stay_integers(f):
    arguments = {"cumsum": (0,), "clamp": (0, 2), "roll": (1,)}.get(f, ())
    assert getattr(tn, f)(tn.tensor([[1, 2], [3, 4]]), *arguments).dtype == tn.int64


def test_sums_of_bools_and_small_integers_are_int64():
    for dtype in (np.bool_, np.uint8, np.int8, np.int32):
        x = tn.tensor(np.ones(300, dtype))
        for y in (x.sum(), x.sum(0), x.prod(), x.cumsum(0)):
            assert y.dtype == tn.int64
        assert x.sum().item() == 300


@pytest.mark.parametrize("f", ["mean", "var", "std", "norm", "var_mean"])
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_means_and_variances_of_integers_raise(f, dtype):
    with pytest.raises(RuntimeError, match=r"convert it first, with \.float"):
        getattr(tn, f)(tn.ones(3, dtype=dtype))


def test_half_precision_is_accumulated_in_float32():
    x = tn.ones((4, 5000), dtype=tn.float16)
    assert x.sum(1).dtype == tn.float16
    np.testing.assert_array_equal(x.sum(1).numpy(), 5000)  # in float16, 2048 + 1 = 2048
    np.testing.assert_array_equal(x.T.sum(0).numpy(), 5000)
    np.testing.assert_array_equal((x * 30).mean(0).numpy(), 30)
    assert ((x * 30).mean()).item() == 30  # the sum of 600,000 has no float16
    np.testing.assert_array_equal(x.cumsum(1)[:, -1].numpy(), 5000)
    np.testing.assert_array_equal((x @ x.T).numpy(), 5000)
    np.testing.assert_array_equal(tn.einsum("ij,kj->ik", x, x).numpy(), 5000)
    np.testing.assert_array_equal((x * 3).norm(1, 1).numpy(), 15000)
    assert (x * 300).norm(2, 1).dtype == tn.float16
    np.testing.assert_allclose((x * 300).norm(2, 1).numpy(), 300 * 5000**0.5, rtol=1e-3)
    np.testing.assert_allclose(x.logsumexp(1).numpy(), 1 + np.log(5000), rtol=1e-3)
    np.testing.assert_allclose((x + tn.tensor([[0.0], [1], [2], [3]])).var(0, False).numpy(), 1.25, rtol=1e-3)


@pytest.mark.parametrize("values", [[300.0, -300.0], [1e-4, 3e-4], [1.0, 1.0], [60000.0, -60000.0]])
def test_std_of_halves_is_one_where_the_variance_is_none(values, torch):
    x = tn.tensor(np.array(values, np.float16), requires_grad=True)
    t = torch.tensor(values, dtype=torch.float16, requires_grad=True)
    y, expected = x.std(), t.std()
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.array, expected.detach().numpy(), rtol=2**-10)
    y.backward()
    expected.backward()
    if np.isfinite(y.array):
        np.testing.assert_allclose(x.grad.array, t.grad.numpy(), rtol=2**-9)


def test_gradients_of_half_precision_are_half_and_accumulated_in_float32():
    bias = tn.zeros(1, dtype=tn.float16, requires_grad=True)
    table = tn.zeros((2, 1), dtype=tn.float16, requires_grad=True)
    (bias + tn.ones((5000, 1), dtype=tn.float16)).sum().backward()
    table[tn.zeros(5000, dtype=tn.int64)].sum().backward()
    assert bias.grad.dtype == table.grad.dtype == tn.float16
    assert bias.grad.item() == 5000
    np.testing.assert_array_equal(table.grad.numpy(), [[5000], [0]])


def test_astype_carries_the_gradient_back_in_the_dtype_it_came_from():
    x = tn.tensor([1.5, 2.5], requires_grad=True)
    y = x.double()
    assert y.dtype == tn.float64
    (y * y).sum().backward()
    assert x.grad.dtype == tn.float32
    np.testing.assert_array_equal(x.grad.numpy(), [3, 5])
    assert x.astype(tn.float32) is x
    assert not x.long().requires_grad
    assert x.to(bool).dtype == tn.bool
    assert tn.tensor([1e300]).half().item() == float("inf")


def test_promotion_carries_gradients_to_both():
    a = tn.ones(2, requires_grad=True)
    b = tn.tensor(np.full(2, 3.0), requires_grad=True)
    y = a * b
    assert y.dtype == tn.float64
    y.sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (tn.float32, tn.float64)
    np.testing.assert_array_equal(a.grad.numpy(), 3)


def test_integers_to_negative_integers_raise():
    with pytest.raises(ValueError, match=r"convert the base first, with \.float"):
        tn.tensor([2, 3]) ** -1
