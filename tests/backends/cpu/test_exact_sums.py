"""Long sums keep their digits: along every axis, forward and backward, as float64 has them.

100,000 float32 numbers around 1, added one after another, lose two digits; 3,000,000 lose four.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends.cpu import sums
from tinygrad_norm.normalization import sync_batch_norm

F = nn.functional
N, C = 100_003, 4
X = np.random.default_rng(0).uniform(1, 1.1, (N, C)).astype(np.float32)
E = X.astype(float)
BEYOND = 5e-7  # relative; one unit in the last place is up to 1.2e-7


def gradient(function, shape, dy=X):
    """The gradient of `function` of zeros (or, for sizes, ones) of `shape`."""
    leaf = tn.zeros(*shape, requires_grad=True)
    function(leaf).backward(tn.tensor(dy))
    return leaf.grad


REDUCTIONS = {
    "sum": (lambda x: x.sum(0), E.sum(0)),
    "sum of columns, transposed": (lambda x: x.T.sum(1), E.sum(0)),
    "sum of every other row": (lambda x: x[::2].sum(0), E[::2].sum(0)),
    "sum of rows in reverse": (lambda x: x.flip(0)[::-1].sum(0), E.sum(0)),
    "sum over first and last": (lambda x: x.reshape(N, 2, 2).sum((0, 2)), E.reshape(N, 2, 2).sum((0, 2))),
    "sum over the middle": (lambda x: x[1:].reshape(2, -1, 2).sum(1), E[1:].reshape(2, -1, 2).sum(1)),
    "sum of a part of each row": (lambda x: x[:, :2].sum(), E[:, :2].sum()),
    "mean": (lambda x: x.mean(0), E.mean(0)),
    "var": (lambda x: x.var(0), E.var(0, ddof=1)),
    "std": (lambda x: x.std(0), E.std(0, ddof=1)),
    "norm": (lambda x: x.norm(2, 0), np.linalg.norm(E, axis=0)),
    "norm 1": (lambda x: x.norm(1, 0), E.sum(0)),
    "norm 3": (lambda x: x.norm(3, 0), (E**3).sum(0) ** (1 / 3)),
    "logsumexp": (lambda x: x.logsumexp(0), np.log(np.exp(E).sum(0))),
    "cumsum": (lambda x: x.cumsum(0), E.cumsum(0)),
    "cumsum of wide rows": (lambda x: x[3:].reshape(-1, 16).cumsum(0), E[3:].reshape(-1, 16).cumsum(0)),
    "cumsum along the last axis": (lambda x: x.T.cumsum(1), E.T.cumsum(1)),
    "einsum": (lambda x: tn.einsum("nc->c", x), E.sum(0)),
    "softmax": (lambda x: F.softmax(x.reshape(1, N, C), 1), np.exp(E) / np.exp(E).sum(0)),
    "cosine_similarity": (
        lambda x: F.cosine_similarity(x, x.flip(1), 0),
        (E * E[:, ::-1]).sum(0) / np.linalg.norm(E, axis=0) / np.linalg.norm(E, axis=0)[::-1],
    ),
    "cross entropy of distributions": (
        lambda x: F.cross_entropy(x.reshape(1, N, C), x.reshape(1, N, C) / N, reduction="none"),
        -(E / N * (E - np.log(np.exp(E).sum(0)))).sum(0),
    ),
    "total_norm": (lambda x: nn.utils.get_total_norm([x]), np.linalg.norm(E)),
    "total_norm 1": (lambda x: nn.utils.get_total_norm([x[:, :2]], 1), E[:, :2].sum()),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_of_many_rows_has_all_digits(name):
    function, expected = REDUCTIONS[name]
    found = function(tn.tensor(X)).numpy().reshape(expected.shape)
    np.testing.assert_allclose(found, expected, BEYOND * 2)


def rnn_bias_gradient():
    rnn = nn.RNN(1, C)
    for parameter in rnn.parameters():
        nn.init.zeros_(parameter)
    rnn(tn.zeros(1, N, 1))[0].backward(tn.tensor(X[None]))  # tanh' is 1 at 0
    return rnn.bias_ih_l0.grad


def norm_gradients(norm):
    """dweight and dbias of a normalization of x, with dy = x."""
    weight, bias = tn.ones(C, requires_grad=True), tn.zeros(C, requires_grad=True)
    norm(tn.tensor(X), weight, bias).backward(tn.tensor(X))
    return weight.grad.numpy(), bias.grad.numpy()


ROWS = np.zeros(N, int)
GRADIENTS = {
    "broadcast bias": lambda: gradient(lambda b: tn.zeros(N, C) + b, (C,)),
    "broadcast bias (1, C)": lambda: gradient(lambda b: tn.zeros(N, C) + b, (1, C))[0],
    "expand": lambda: gradient(lambda b: b.expand(N, C), (C,)),
    "repeat": lambda: gradient(lambda b: b.repeat(N, 1), (C,)),
    "linear bias": lambda: gradient(lambda b: F.linear(tn.zeros(N, 2), tn.zeros(C, 2), b), (C,)),
    "index": lambda: gradient(lambda table: table[tn.tensor(ROWS)], (2, C))[0],
    "embedding": lambda: gradient(lambda table: F.embedding(tn.tensor(ROWS), table), (2, C))[0],
    "conv1d bias": lambda: gradient(
        lambda b: F.conv1d(tn.zeros(N, 1, 1), tn.zeros(C, 1, 1), b), (C,), X[:, :, None]
    ),
    "conv1d weight": lambda: gradient(
        lambda w: F.conv1d(tn.ones(N, 1, 1), w), (C, 1, 1), X[:, :, None]
    ).reshape(C),
    "conv_transpose1d bias": lambda: gradient(
        lambda b: F.conv_transpose1d(tn.zeros(N, 1, 1), tn.zeros(1, C, 1), b), (C,), X[:, :, None]
    ),
    "RNN bias": lambda: rnn_bias_gradient(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_that_many_rows_share_has_all_digits(name):
    np.testing.assert_allclose(GRADIENTS[name]().numpy(), E.sum(0), BEYOND)


def standardized(axis):
    return (E - E.mean(axis, keepdims=True)) / np.sqrt(E.var(axis, keepdims=True) + 1e-5)


NORMS = {
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), standardized(0)),
    "batch_norm in evaluation": (
        lambda x, w, b: F.batch_norm(x, tn.zeros(C), tn.ones(C), w, b),
        E / np.sqrt(1 + 1e-5),
    ),
    "sync_batch_norm": (lambda x, w, b: sync_batch_norm(x, (N - 9, 9), w, b), standardized(0)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (C,), w, b), standardized(1)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 1, w, b), standardized(1)),
}


@pytest.mark.parametrize("name", NORMS)
def test_gradients_of_weight_and_bias_have_all_digits(name):
    norm, x_hat = NORMS[name]
    dweight, dbias = norm_gradients(norm)
    np.testing.assert_allclose(dbias, E.sum(0), BEYOND)
    largest = abs(E * x_hat).sum(0)  # the sum itself is small beside its terms
    assert (abs(dweight - (E * x_hat).sum(0)) / largest).max() < 5e-6


def test_the_gradient_of_a_weight_along_long_and_short_rows():
    """(N, C, S) with many samples, or with many positions."""
    for shape in ((N // 3, C, 3), (1, C, N), (3, C, N // 3)):
        x = np.random.default_rng(1).uniform(1, 1.1, shape).astype(np.float32)
        e = x.astype(float)
        for found, expected in (
            (sums.channel_sums(x), e),
            (sums.channel_sum_products(x, x), e * e),
        ):
            expected = expected.sum((0, 2), keepdims=True)
            np.testing.assert_allclose(found[..., :1], expected, BEYOND)


@pytest.mark.parametrize("shape", [(3_000_000, 1), (1, 3_000_000)])
def test_millions_of_equal_numbers_add_up(shape):
    """Their roundings do not cancel: of 1000 that BLAS adds in a row, 1e-5 may be lost."""
    x = np.full(shape, 1.05, np.float32)
    expected = x.size * float(x[0, 0])
    for found in (
        tn.tensor(x).sum(shape.index(x.size)).item(),
        sums.column_sums(x.reshape(-1, 1)).item(),
        sums.row_sums(x.reshape(1, -1)).item(),
        sums.row_sum_products(x.reshape(1, -1), np.ones_like(x).reshape(1, -1)).item(),
    ):
        assert found == pytest.approx(expected, rel=1e-5)


def test_float16_sums_are_those_of_float32():
    x = X.astype(np.float16)
    found = tn.tensor(x).mean(0)
    np.testing.assert_array_equal(found.numpy(), x.astype(float).mean(0).astype(np.float16))


def test_parts_are_added_in_pairs():
    parts = [(np.float32(1.05), np.float32(i)) for i in range(100_000)]
    a, b = sums.total_of_parts(iter(parts))
    assert a == pytest.approx(100_000 * float(np.float32(1.05)), rel=BEYOND)
    assert b == pytest.approx(100_000 * 99_999 / 2, rel=BEYOND)
    assert sums.total_of_parts(iter([])) == ()


def test_totals_of_arrays_of_any_layout():
    """As NumPy's own sums in float64: any order and stride of axes, any sizes around those of chunks."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        ndim = rng.integers(1, 4)
        sizes = rng.choice([0, 1, 2, 3, 64, 128, 129, 193, 300], ndim, p=[0.02, *[0.28 / 3] * 3, *[0.14] * 5])
        if sizes.prod() > 1_000_000:
            continue
        x = rng.uniform(1, 2, sizes).astype(np.float32).transpose(rng.permutation(ndim))
        x = x[tuple([slice(None, None, step) for step in rng.choice([1, 1, -1, 2], ndim)])]
        axes = tuple(rng.permutation(ndim)[: rng.integers(0, ndim + 1)].tolist())
        keepdims = bool(rng.integers(2))
        expected = x.astype(float).sum(axes, keepdims=keepdims)
        found = sums.total(x, axes, keepdims)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, 2 * BEYOND, err_msg=f"{x.shape} {x.strides} {axes}")
