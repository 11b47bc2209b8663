"""Matrix products in a captured step: what cuBLAS is asked for gives a @ b, for all views of arrays."""

import shutil

import fake_cupy
import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda import availability
from tinygrad_norm.backends.cuda.cublas import MatrixProducts

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture
def tape(monkeypatch):
    with tn.use_backend("emulator"):
        yield fake_cupy.install(monkeypatch)


@pytest.fixture
def products(tape):
    """Matrix products on a stream; `products.calls` is what cuBLAS was asked for."""
    cupy = availability.load_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    made = MatrixProducts(cupy, stream)
    made.calls = tape.cublas.calls
    with stream, made:
        yield made


def draw(*shape, dtype="float64"):
    return emulator.asarray(np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype))


def ones_apart(*shape):
    """Return a broadcast view: its rows are one row."""
    row = draw(*shape[:-2], 1, shape[-1])
    return np.lib.stride_tricks.as_strided(row, shape, (*row.strides[:-2], 0, row.strides[-1]), subok=True)


# name: two operands, the calls of cuBLAS, how many operands are copied first
CASES = {
    "matrices": (lambda: (draw(3, 4), draw(4, 5)), 1, 0),
    "the first is transposed": (lambda: (draw(4, 3).T, draw(4, 5)), 1, 0),
    "the second is transposed": (lambda: (draw(3, 4), draw(5, 4).T), 1, 0),
    "both are transposed": (lambda: (draw(4, 3).T, draw(5, 4).T), 1, 0),
    "rows with gaps": (lambda: (draw(3, 9)[:, 2:6], draw(4, 8)[:, 1:6]), 1, 0),
    "columns with gaps": (lambda: (draw(4, 8)[:, 2:5].T, draw(5, 9)[:, 3:7].T), 1, 0),
    "every second row": (lambda: (draw(6, 4)[::2], draw(8, 5)[::2]), 1, 0),
    "every second column": (lambda: (draw(3, 8)[:, ::2], draw(4, 10)[:, ::2]), 1, 2),
    "rows backwards": (lambda: (draw(3, 4)[::-1], draw(4, 5)), 1, 1),
    "one row": (lambda: (draw(1, 4), draw(4, 5)), 1, 0),
    "one column": (lambda: (draw(3, 4), draw(4, 1)), 1, 0),
    "one column with gaps": (lambda: (draw(3, 4), draw(4, 7)[:, 2:3]), 1, 0),
    "K = 1": (lambda: (draw(3, 7)[:, 4:5], draw(1, 5)), 1, 0),
    "a row of a transposed matrix": (lambda: (draw(4, 3).T[1:2], draw(4, 5)), 1, 0),
    "one number each": (lambda: (draw(1, 1), draw(1, 1)), 1, 0),
    "equal rows": (lambda: (ones_apart(3, 4), draw(4, 5)), 1, 1),
    "a vector and a matrix": (lambda: (draw(4), draw(4, 5)), 1, 0),
    "a matrix and a vector": (lambda: (draw(3, 4), draw(4)), 1, 0),
    "vectors": (lambda: (draw(4), draw(4)), 1, 0),
    "a column as a vector": (lambda: (draw(3, 4), draw(4, 6)[:, 2]), 1, 0),
    "a batch": (lambda: (draw(2, 3, 4), draw(2, 4, 5)), 1, 0),
    "a batch, both transposed": (lambda: (draw(2, 4, 3).swapaxes(1, 2), draw(2, 5, 4).swapaxes(1, 2)), 1, 0),
    "a batch with gaps": (lambda: (draw(5, 3, 4)[::2], draw(3, 6, 7)[:, :4, :5]), 1, 0),
    "a batch along the middle axis": (lambda: (draw(3, 2, 4).swapaxes(0, 1), draw(2, 4, 5)), 1, 0),
    "a batch and a vector": (lambda: (draw(2, 3, 4), draw(4)), 1, 0),
    "a vector and a batch": (lambda: (draw(4), draw(2, 4, 5)), 1, 0),
    "two axes of a batch": (lambda: (draw(2, 3, 4, 5), draw(2, 3, 5, 6)), 1, 0),
    "heads": (  # (N, T, H, E) as (N, H, T, E), and its transpose
        lambda: (draw(2, 5, 3, 4).swapaxes(1, 2), draw(2, 6, 3, 4).swapaxes(1, 2).swapaxes(2, 3)),
        2,
        0,
    ),
    "one matrix for all": (lambda: (draw(3, 4), draw(2, 4, 5)), 1, 0),
    "all with one matrix": (lambda: (draw(2, 3, 4), draw(5, 4).T), 1, 0),
    "one matrix for all of two axes": (lambda: (draw(1, 1, 3, 4), draw(2, 6, 4, 5)), 1, 0),
    "groups": (
        lambda: (draw(3, 2, 4), draw(5, 3, 4, 6)),
        3,
        0,
    ),  # a weight (groups, F, K), windows (N, groups, K, P)
    "groups, transposed": (lambda: (draw(3, 4, 2).swapaxes(1, 2), draw(5, 3, 4, 6)), 3, 0),
    "each with each": (lambda: (draw(2, 1, 3, 4), draw(1, 5, 4, 6)), 2, 0),
    "K = 0": (lambda: (draw(3, 0), draw(0, 5)), 0, 0),
    "an empty batch": (lambda: (draw(0, 3, 4), draw(0, 4, 5)), 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_products(products, monkeypatch, name):
    make, calls, copies = CASES[name]
    a, b = make()
    copied = []
    copy = products._cupy.ascontiguousarray
    monkeypatch.setattr(
        products._cupy, "ascontiguousarray", lambda x: copied.append(x) or copy(x), raising=False
    )
    expected = np.asarray(a) @ np.asarray(b)
    found = a @ b
    assert (type(found), found.dtype) == (type(a), a.dtype)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13)
    assert (len(products.calls), len(copied)) == (calls, copies)
    out = products._cupy.empty(expected.shape)
    assert products._cupy.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, found)


OUTS = {
    "a block of columns": ((2, 3, 9), lambda x: x[:, :, 2:7]),
    "steps of a batch": ((4, 3, 5), lambda x: x[::2]),
    "a transposed array": ((2, 5, 3), lambda x: x.swapaxes(1, 2)),
    "heads": ((3, 4, 5), lambda x: x.swapaxes(0, 1)[1:3]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OUTS)
def test_out_is_written_and_nothing_around_it(products, name, dtype):
    shape, view = OUTS[name]
    whole = draw(*shape, dtype=dtype)
    a, b, expected = draw(2, 3, 4), draw(2, 4, 5), np.array(whole)
    view(expected)[...] = np.asarray(a) @ np.asarray(b)
    out = view(whole)
    assert products.matmul(a, b, out=out) is out
    np.testing.assert_allclose(np.asarray(whole), expected, rtol=1e-6)
    assert len(products.calls) == 1


def test_out_may_be_an_operand(products):
    a, b = draw(3, 3), draw(3, 3)
    expected = np.asarray(a) @ np.asarray(b)
    np.testing.assert_allclose(np.asarray(products.matmul(a, b, out=a)), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14), ("float16", 1e-3), ("bfloat16", 8e-3)]
)
def test_half_types_are_accumulated_in_float32(products, dtype, tolerance):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    a, b = draw(2, 400, dtype=dtype), draw(3, 400, dtype=dtype).T
    found = a @ b
    assert found.dtype == a.dtype
    exact = a.astype(np.float64).dot(b.astype(np.float64))
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(exact), rtol=tolerance)


def test_dtypes_are_promoted_as_by_matmul(products):
    assert (draw(2, 3, dtype="float32") @ draw(3, 2)).dtype == np.float64


def test_integers_are_left_to_cupy(products):
    a = emulator.asarray(np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(np.asarray(a @ a.T), [[5, 14], [14, 50]])
    assert products.calls == []


def test_products_on_another_stream_are_left_to_cupy(products):
    other = products._cupy.cuda.Stream(non_blocking=True)
    other.ptr = 2
    with other:
        draw(2, 3) @ draw(3, 2)
    assert products.calls == []


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ((2, 3), (4, 2), "last size"),
        ((2, 3), (4,), "last size"),
        ((2, 2, 3), (3, 3, 2), "equal, or 1"),
    ],
)
def test_shapes_that_do_not_fit(products, a, b, match):
    with pytest.raises(ValueError, match=match):
        draw(*a) @ draw(*b)
    with pytest.raises(ValueError, match="out with shape"):
        products.matmul(draw(2, 3), draw(3, 2), out=draw(2, 3))


def test_cupy_is_itself_again_after_the_block(tape):
    cupy = availability.load_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, MatrixProducts(cupy, stream):
        draw(2, 3) @ draw(3, 2)
        assert tape.cublas.stream == stream.ptr
        assert tape.cublas.workspace is not None
    assert tape.cublas.stream is None  # the handle is not bound to a stream that may be gone
    before = len(tape.cublas.calls)
    with stream:
        draw(2, 3) @ draw(3, 2)
    assert len(tape.cublas.calls) == before
    assert cupy.matmul is np.matmul


def swapped(values):
    return [values[1], values[0], *values[2:]]


PLANTED = {
    "leading dimensions swapped": lambda sizes, at, ld, steps: (sizes, at, swapped(ld), steps),
    "operands swapped": lambda sizes, at, ld, steps: (sizes, swapped(at), ld, steps),
    "operations swapped": lambda sizes, at, ld, steps: ((*swapped(sizes[:2]), *sizes[2:]), at, ld, steps),
    "sizes swapped": lambda sizes, at, ld, steps: ((*sizes[:2], *swapped(sizes[2:])), at, ld, steps),
    "distances swapped": lambda sizes, at, ld, steps: (sizes, at, ld, swapped(steps)),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_the_stand_in_sees_a_planted_mistake(products, monkeypatch, mistake):
    call = MatrixProducts._call

    def wrong(self, dtype, sizes, at, leading, strides, count):
        call(self, dtype, *PLANTED[mistake](sizes, at, leading, strides), count)

    monkeypatch.setattr(MatrixProducts, "_call", wrong)
    a, b = draw(2, 4, 3).swapaxes(1, 2), draw(2, 4, 5)
    try:
        found = a @ b
    except RuntimeError:
        return  # cuBLAS refuses it
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(np.asarray(found), np.asarray(a) @ np.asarray(b), rtol=1e-6)


def test_an_error_of_cublas_is_an_error(products, tape, monkeypatch):
    monkeypatch.setattr(tape.cublas, "gemm", lambda *args: 13)
    with pytest.raises(RuntimeError, match="status 13"):
        draw(2, 3) @ draw(3, 2)
