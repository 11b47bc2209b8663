"""PyTorch's further functions: values, dtypes and gradients are those of PyTorch, also at the edges."""

import numpy as np
import pytest

import tinygrad_norm as tn

X = np.random.default_rng(0).normal(size=(3, 4))
CUBE = np.random.default_rng(1).normal(size=(2, 4, 3))

CALLS = {
    "subtract": lambda m, x, c: m.subtract(x, x[0], alpha=3),
    "multiply": lambda m, x, c: x.multiply(x[0]).divide(2).true_divide(3),
    "negative": lambda m, x, c: m.negative(x).absolute().positive(),
    "lerp": lambda m, x, c: m.lerp(x, x[:1], 0.3),
    "addcmul": lambda m, x, c: m.addcmul(x, x, x[0], value=0.5),
    "addcdiv": lambda m, x, c: m.addcdiv(x, x, x[0], value=0.5),
    "t": lambda m, x, c: x.t() @ m.t(x[0]).t()[:3].ravel(),
    "swapdims": lambda m, x, c: m.swapdims(c, 0, -1),
    "aminmax": lambda m, x, c: m.aminmax(x, dim=1).min + x.aminmax().max,
    "std_mean": lambda m, x, c: m.std_mean(x, 1, correction=0)[0] * m.std_mean(x)[1],
    "masked_select": lambda m, x, c: x.masked_select(m.tensor([True, False, True, True])),
    "repeat_interleave": lambda m, x, c: m.repeat_interleave(x, 2),
    "repeat_interleave each": lambda m, x, c: x.repeat_interleave(m.tensor([1, 0, 2]), 0),
    "tensor_split": lambda m, x, c: m.tensor_split(x, 3, 1)[0] + x.tensor_split([1, 2])[0][:, :2],
    "unfold": lambda m, x, c: c.unfold(1, 2, 1),
    "meshgrid": lambda m, x, c: m.meshgrid(x[0], x[1, :3], indexing="ij")[1],
    "meshgrid xy": lambda m, x, c: m.meshgrid([x[0], x[1, :3], x[:2, 0]], indexing="xy")[0],
    "vstack": lambda m, x, c: m.vstack([x, x[0]]),
    "hstack": lambda m, x, c: m.hstack([x, x]),
    "dstack": lambda m, x, c: m.dstack([x, x]),
    "column_stack": lambda m, x, c: m.column_stack([x, x[:, 0]]),
    "index_put": lambda m, x, c: x.index_put((m.tensor([0, 2]), m.tensor([1, 1])), x[0, :2]),
    "scatter of a number": lambda m, x, c: m.scatter(x, 1, m.tensor([[1], [0]]), value=2.0),
    "cummax of ties": lambda m, x, c: m.cummax(x.round() + x * 0, 1).values,
    "sort of ties": lambda m, x, c: (x.round() + x).sort(dim=0, descending=True, stable=True).values,
    "kron": lambda m, x, c: m.kron(x, c),
    "nan_to_num": lambda m, x, c: m.nan_to_num(x / (x > 0), posinf=3.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_those_of_pytorch(name, torch):
    results, gradients = [], []
    for library in (tn, torch):
        x, c = (library.tensor(array, requires_grad=True) for array in (X, CUBE))
        y = CALLS[name](library, x, c)
        y.backward(library.tensor(np.random.default_rng(2).normal(size=tuple(y.shape))))
        results.append(y.detach().numpy())
        gradients.append([np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in (x, c)])
    np.testing.assert_allclose(*results, rtol=1e-12)
    for mine, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


TIES = np.array([[1.0, 3.0, 3.0, np.nan, 2.0, 3.0], [-0.0, 0.0, np.inf, -np.inf, 1.0, 1.0]])
POSITIONS = {
    "sort": lambda m, x: m.sort(x, stable=True),
    "sort descending": lambda m, x: m.sort(x, descending=True, stable=True),
    "argsort": lambda m, x: [x.argsort(dim=0, stable=True)],
    "topk": lambda m, x: [m.topk(x, 4).values],
    "topk smallest": lambda m, x: [m.topk(x, 3, largest=False).values],
    "cummax": lambda m, x: m.cummax(x, 1),
    "cummin": lambda m, x: m.cummin(x, 1),
    "nonzero": lambda m, x: [x.nonzero(), m.argwhere(x), *m.nonzero(x, as_tuple=True)],
    "floor": lambda m, x: [m.floor(x), x.ceil(), x.round(), x.trunc()],
    "copysign": lambda m, x: [m.copysign(x, -0.0), m.copysign(x, x.flip(0))],
    "nan_to_num": lambda m, x: [m.nan_to_num(x), x.nan_to_num(2.0, 3.0, 4.0)],
    "logcumsumexp": lambda m, x: [m.logcumsumexp(x, 1)],
    "logaddexp": lambda m, x: [m.logaddexp(x, x.flip(1))],
    "atan2": lambda m, x: [m.atan2(x, x.flip(1)), m.hypot(x, x.flip(0))],
    "round": lambda m, x: [m.round(x * 1.234, decimals=1), m.round(x * 1234, decimals=-2)],
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", POSITIONS)
def test_ties_and_numbers_that_are_not_finite(name, dtype, torch):
    for mine, other in zip(
        *(POSITIONS[name](m, m.tensor(TIES.astype(dtype))) for m in (tn, torch)), strict=True
    ):
        assert f"torch.{mine.dtype}" == str(other.dtype)
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["floor", "ceil", "trunc", "round", "nan_to_num", "tan", "exp2", "atan", "asinh", "log10"]
)
@pytest.mark.parametrize("dtype", ["int64", "float16"])
def test_dtypes_are_those_of_pytorch(name, dtype, torch):
    array = np.array([1, 2, 3], dtype)
    mine, other = (getattr(m, name)(m.tensor(array)) for m in (tn, torch))
    assert f"torch.{mine.dtype}" == str(other.dtype)
    np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=2e-3)


def test_gradients_that_pytorch_makes_nan_are_0_here():
    for call in (
        lambda x: tn.atan2(x, x),
        lambda x: tn.hypot(x, x),
        lambda x: tn.logaddexp(x - np.inf, x - np.inf),
    ):
        x = tn.zeros(1, requires_grad=True)
        call(x).backward(tn.ones(1))
        assert x.grad.tolist() == [0]


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (3,)])
def test_the_gradient_of_a_product_with_zeros(zeros, torch):
    array, found = np.array([1.5, -2.0, 3.0, 0.5]), []
    array[list(zeros)] = 0
    for m in (tn, torch):
        x = m.tensor(array, requires_grad=True)
        m.cumprod(x, 0).backward(m.tensor([1.0, -2.0, 0.5, 3.0]).to(x.dtype))
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_names_without_a_gradient(torch):
    for m in (tn, torch):
        assert m.numel(m.ones(2, 3)) == 6
        assert m.is_tensor(m.empty(2))
        assert tuple(m.empty_like(m.ones(2, 3)).shape) == (2, 3)
        assert m.asarray([1, 2]).tolist() == [1, 2]
    np.testing.assert_allclose(tn.logspace(0, 2, 5).numpy(), torch.logspace(0, 2, 5).numpy(), rtol=1e-6)
    assert tn.logspace(0, 3, 4, base=2, dtype=tn.float64).tolist() == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tn.ones(1, 1, 1).t(), ValueError, "takes a matrix"),
        (lambda: tn.ones(2).masked_select(tn.ones(2)), TypeError, "bool tensor"),
        (lambda: tn.ones(2).masked_select(tn.ones(3) > 0), ValueError, "broadcast"),
        (lambda: tn.ones(2).repeat_interleave(-1), ValueError, "at least 0"),
        (lambda: tn.ones(2).repeat_interleave(tn.ones(2)), TypeError, "must be ints"),
        (lambda: tn.ones(2).tensor_split(0), ValueError, "at least 1"),
        (lambda: tn.ones(2).unfold(0, 3, 1), ValueError, "longer than axis"),
        (lambda: tn.meshgrid(tn.ones(2), indexing="yx"), ValueError, "'ij' or 'xy'"),
        (lambda: tn.meshgrid(tn.ones(2, 2)), ValueError, "takes vectors"),
        (lambda: tn.positive(tn.tensor(True)), TypeError, "bools"),
    ],
    ids=["t", "mask", "shape", "negative", "real", "parts", "window", "indexing", "matrix", "positive"],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_methods_that_overwrite(torch):
    found = []
    for m in (tn, torch):
        x = m.zeros(3)
        assert x.masked_fill_(m.tensor([True, False, True]), 2.0) is x
        x.scatter_(0, m.tensor([1]), m.ones(1) * 5).scatter_add_(0, m.tensor([1]), m.ones(1))
        found.append(x.index_add_(0, m.tensor([0]), m.ones(1)).tolist())
    assert found[0] == found[1] == [3, 6, 2]
    x = tn.zeros(4000)
    assert x.uniform_(2, 4) is x
    assert x.min().item() >= 2
    np.testing.assert_allclose(x.mean().item(), 3, atol=0.05)
    np.testing.assert_allclose(x.normal_(-1, 2).std().item(), 2, atol=0.1)
    tn.manual_seed(3)
    first = x.uniform_().tolist()
    tn.manual_seed(3)
    assert x.uniform_().tolist() == first
    with pytest.raises(ValueError, match="floating-point tensors"):
        tn.tensor([1]).uniform_()
    with pytest.raises(ValueError, match="low at most high"):
        x.uniform_(1, 0)
    with pytest.raises(ValueError, match="std must be at least 0"):
        x.normal_(0, -1)
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        tn.ones(2, requires_grad=True).masked_fill_(tn.tensor([True, False]), 0)


def test_a_tensor_of_pytorch_is_an_operand_and_is_copied(torch):
    other = torch.arange(3.0)
    x = tn.ones(3, requires_grad=True)
    y = x * other
    other += 5
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 2]
    assert tn.exp(torch.zeros(2)).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="requires grad"):
        x * torch.ones(3, requires_grad=True)
