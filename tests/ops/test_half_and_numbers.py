"""float16 tensors and Python numbers compute in float32: a number may be outside float16's range."""

import numpy as np
import pytest

import tinygrad_norm as tn

CASES = [
    (lambda h: h * 65536, 1e-3, 65.56),
    (lambda h: 65536.0 * h, 1e-3, 65.56),
    (lambda h: h / 1e5, 100.0, 1e-3),
    (lambda h: 1e5 / h, 100.0, 1e3),
    (lambda h: h + 70000, -6e4, 1e4),
    (lambda h: h - 70000, 6e4, -1e4),
    (lambda h: 70000 - h, 6e4, 1e4),
    (lambda h: h * 1e-8, 6e4, 6e-4),
    (lambda h: h // 1e5, 6e4, 0),
    (lambda h: tn.add(h, 1.0, alpha=65536), 1.0, np.inf),
    (lambda h: h**1e-5, 6e4, 1.0),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_numbers_outside_the_range_of_float16(case):
    f, x, expected = CASES[case]
    y = f(tn.tensor(np.array([x], np.float16)))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), np.array([expected], np.float16), rtol=1e-3)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("number", [0.1, 3, -7e-6, 1e5])
def test_results_are_rounded_once(name, number):
    x = np.random.default_rng(0).normal(size=50).astype(np.float16)
    exact = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name]
    with np.errstate(over="ignore"):
        expected = exact(x.astype(np.float32), np.float32(number)).astype(np.float16)
    np.testing.assert_array_equal(getattr(tn, name)(tn.tensor(x), number).numpy(), expected)


@pytest.mark.parametrize("name", ["mul", "div"])
@pytest.mark.parametrize("number", [0.1, 3, -7e-6])
def test_as_pytorch(name, number):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    x = np.random.default_rng(0).normal(size=50).astype(np.float16)
    ours, theirs = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(tn, name)(ours, number), getattr(torch, name)(theirs, number)
    np.testing.assert_array_equal(y.numpy(), z.detach().numpy())
    y.backward(np.full(50, 1e-3, np.float16))
    z.backward(torch.full((50,), 1e-3, dtype=torch.float16))
    assert ours.grad.dtype == np.float16
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())
