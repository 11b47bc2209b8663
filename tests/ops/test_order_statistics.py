"""Medians and quantiles: values, positions and gradients are those of PyTorch, also with ties and NaN."""

import numpy as np
import pytest

import tinygrad_norm as tn

NAN = np.nan
ROWS = np.array(
    [[2.0, 2.0, 1.0, 5.0, 2.0], [2.0, NAN, 1.0, NAN, 2.0], [NAN] * 5, [np.inf, -np.inf, 3.0, 0.0, 7.0]]
)
CALLS = {
    "median": lambda m, x: [m.median(x), x[0].median(), x[1].median(), x[3, :4].median()],
    "median of rows": lambda m, x: x.median(1),
    "median of columns": lambda m, x: m.median(x, dim=0, keepdim=True),
    "nanmedian": lambda m, x: [m.nanmedian(x), x[1].nanmedian(), x[2].nanmedian()],
    "nanmedian of rows": lambda m, x: x[[0, 1, 3]].nanmedian(-1),
    "kthvalue": lambda m, x: [m.kthvalue(x[3:], 2, 1).values, x[3].kthvalue(5, keepdim=True).values],
    "quantile": lambda m, x: [m.quantile(x[0], 0.35), x[0].quantile(m.tensor([0.0, 0.9, 1.0]).to(x.dtype))],
    "quantile of rows": lambda m, x: [x[:2].quantile(0.6, 1), x.quantile(0.0, 0, keepdim=True)],
    "nanquantile": lambda m, x: [m.nanquantile(x[:3], m.tensor([0.3, 0.8]).to(x.dtype), dim=1)],
    "lower": lambda m, x: [x.quantile(0.3, 1, interpolation="lower")],
    "higher": lambda m, x: [x.nanquantile(0.3, 1, interpolation="higher")],
    "nearest": lambda m, x: [x.quantile(0.625, 1, interpolation="nearest")],
    "midpoint": lambda m, x: [x[:2].nanquantile(0.3, 1, interpolation="midpoint")],
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_those_of_pytorch(name, dtype, torch):
    results, gradients = [], []
    for m in (tn, torch):
        x = m.tensor(ROWS.astype(dtype), requires_grad=True)
        ys = list(CALLS[name](m, x))
        rng = np.random.default_rng(0)
        reached = [y for y in ys if y.requires_grad]
        dys = [rng.normal(size=tuple(y.shape)).astype(dtype) for y in reached]
        m.autograd.backward(reached, [m.tensor(dy) for dy in dys])
        results.append(ys)
        gradients.append(x.grad.numpy())
    for mine, other in zip(*results, strict=True):
        assert f"torch.{mine.dtype}" == str(other.dtype)
        if mine.dtype != np.int64 or name == "median of rows":  # of equal values, PyTorch names any
            np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(*gradients, rtol=1e-5)


def test_positions_are_those_of_the_values():
    x = tn.tensor(ROWS)
    for found in (x.median(1, True), x.nanmedian(1, True), x.kthvalue(3, 1, True)):
        np.testing.assert_array_equal(x.gather(1, found.indices).numpy(), found.values.numpy())


def test_integers_half_precision_and_views(torch):
    for m in (tn, torch):
        assert m.median(m.tensor([[4, 1], [3, 2]])).item() == 2
        assert m.median(m.tensor([4, 1, 3, 2], dtype=m.float16), 0).values.item() == 2
        assert m.arange(12.0).reshape(3, 4).t().median(0).values.tolist() == [1, 5, 9]
        assert tuple(m.ones(3, 0).median(0).values.shape) == (0,)
        assert tuple(m.ones(2, 3).quantile(m.tensor([0.5, 0.6]), keepdim=True).shape) == (2, 1, 1)
    half = tn.tensor([1.0, 2.0, 4.0], dtype=tn.float16).quantile(0.75)
    assert (half.dtype, half.item()) == (tn.float16, 3)


def test_q_that_is_not_a_number():
    with pytest.raises(ValueError, match="from 0 to 1, got nan"):
        tn.ones(2).quantile(NAN)
    with pytest.raises(TypeError, match="q must be a number"):
        tn.ones(2).quantile([0.5])
    with pytest.raises(ValueError, match="from 0 to 1, got -1"):
        tn.ones(2).quantile(tn.tensor([0.5, -1.0]))
    with pytest.raises(ValueError, match="a number or a tensor"):
        tn.ones(2).nanquantile(tn.ones(1, 1))
    with pytest.raises(TypeError, match="dtype of the input, float32, got float64"):
        tn.ones(2).quantile(tn.ones(1).double())
    with pytest.raises(RuntimeError, match="no gradient with respect to q"):
        tn.ones(2).quantile(tn.ones(1, requires_grad=True))


@pytest.mark.parametrize(
    ("values", "q", "expected", "slopes"),
    [
        ([1, 2, np.inf], 0.5, 2, [0, 1, 0]),
        ([1, 2, np.inf], 1, np.inf, [0, 0, 1]),
        ([-np.inf, 1, 2], 0.25, -np.inf, [0.5, 0.5, 0]),
        ([np.inf, np.inf], 0.25, np.inf, [0.75, 0.25]),
        ([-3e38, 3e38], 0.5, 0, [0.5, 0.5]),
    ],
    ids=["beside infinity", "infinity", "minus infinity", "twice infinity", "a difference that overflows"],
)
def test_a_quantile_of_infinite_or_huge_numbers(values, q, expected, slopes):
    x = tn.tensor(values, dtype=tn.float32, requires_grad=True)
    y = tn.quantile(x, q)
    y.backward()
    assert y.item() == expected
    assert x.grad.tolist() == slopes
