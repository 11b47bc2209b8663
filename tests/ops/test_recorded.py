"""Recorded arrays behave like NumPy's: the same code gives the same numbers, views and writes among them."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import namespace
from tinygrad_norm.ops.recorded import RecordedArray
from tinygrad_norm.ops.recorded.numpyfunctions import FUNCTIONS, UFUNCS
from tinygrad_norm.ops.recorded.recordedarray import NotRecorded

A, B = (np.random.default_rng(i).uniform(0.5, 2, size=(3, 4)) for i in range(2))


def write_to_a_slice(a, b):
    y = a.copy()
    y[1:] = b[1:]
    y[:, 0] *= 2
    return y


def write_through_views(a, b):
    y = namespace(a).zeros((2, 3, 4), a.dtype)
    first, turned = y[0], y[1].T
    first[...] = a
    turned += b.T
    y.reshape(6, 4)[0] = a[0] * b[0]
    return y


def views_follow_writes(a, b):
    y = a.copy()
    row, twice = y[0], y.swapaxes(0, 1)[1:]
    y *= b
    return row.sum() + twice


def add_into_a_buffer(a, b):
    xp = namespace(a)
    out = xp.empty_like(a)
    xp.add(a, b, out=out)
    xp.multiply(out[1:], 3, out=out[1:])
    xp.maximum(out, b, out=out, where=np.arange(4) > 1)
    return out


def accumulate_at(a, b):
    y = a.copy()
    namespace(a).add.at(y, (np.array([0, 0, 2]), slice(None)), b)
    return y


def sums_of_runs(a, b):
    return namespace(a).add.reduceat(a * b, np.array([0, 2]), 1)


def sliding(a, b):
    windows = namespace(a).lib.stride_tricks.as_strided(a, (3, 3, 2), (*a.strides, a.strides[1]))
    return windows.sum(-1) * b[:, :3]


def choose(a, b):
    xp = namespace(a)
    y = xp.where(a > b, a, 0.5 * b)
    xp.copyto(y, b, where=a > 1.5)
    return xp.take_along_axis(y, np.argsort(B), 1)


def shapes(a, b):
    xp = namespace(a)
    parts = xp.split(xp.concatenate((a, b), 1), 2, axis=1)
    y = xp.stack(parts).transpose(1, 0, 2)
    return xp.moveaxis(y, 0, -1).reshape(8, -1)[::-1].repeat(2, 0).squeeze()


def reductions(a, b):
    xp = namespace(a)
    return (
        (
            a.max(1, keepdims=True)
            - xp.min(b, 0)
            + xp.multiply.reduce(a, axis=0) * a.mean()
            - (a * b).sum((0, 1))
        )
        .cumsum(1)
        .clip(-3, 3)
    )


SNIPPETS = [
    write_to_a_slice,
    write_through_views,
    views_follow_writes,
    add_into_a_buffer,
    accumulate_at,
    sums_of_runs,
    sliding,
    choose,
    shapes,
    reductions,
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_same_code_gives_the_same_numbers_and_their_gradient(snippet):
    a, b = (tn.tensor(x, requires_grad=True) for x in (A, B))
    y = snippet(RecordedArray(a), RecordedArray(b))
    np.testing.assert_allclose(y.tensor.numpy(), snippet(A.copy(), B.copy()), rtol=1e-13)

    def function(a, b):
        return snippet(RecordedArray(a), RecordedArray(b)).tensor

    assert tn.gradcheck(function, (a, b))


@pytest.mark.parametrize("name", sorted(UFUNCS))
def test_ufuncs(name):
    ufunc = getattr(np, name)
    first = {"arccos": A / 3, "arcsin": A / 3, "arctanh": A / 3, "arccosh": A + 1}.get(name, A)
    second = {"ldexp": 3, "matmul": B.T}.get(name, B)
    arguments = (first, second)[: ufunc.nin]
    recorded = [RecordedArray(tn.tensor(x)) if isinstance(x, np.ndarray) else x for x in arguments]
    np.testing.assert_allclose(ufunc(*recorded).tensor.numpy(), ufunc(*arguments), rtol=1e-14)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_are_numpys(name):
    assert callable(getattr(np, name))


def test_comparisons_and_signs_are_plain_arrays():
    a = RecordedArray(tn.tensor(A))
    for result in (
        a > 1,
        a == a,
        np.sign(a),
        np.isfinite(a),
        np.floor(a),
        a.argmax(1),
        a.any(),
        a.astype(int),
    ):
        assert not isinstance(result, RecordedArray)


@pytest.mark.parametrize(
    "lose",
    [np.array, float, lambda a: a.item(), lambda a: np.zeros(3).__iadd__(a), np.cbrt, np.linalg.norm],
    ids=["array", "float", "item", "into a plain array", "unknown ufunc", "unknown function"],
)
def test_what_would_lose_the_gradient_raises(lose):
    with pytest.raises(NotRecorded):
        lose(RecordedArray(tn.tensor(A[0, :3])))


def test_a_copy_does_not_follow():
    a = RecordedArray(tn.tensor(A))
    copy = a.copy()
    a += 1
    np.testing.assert_array_equal(copy.tensor.numpy(), A)
