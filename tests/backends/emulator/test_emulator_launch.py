"""Launches that raise: the message says what was received, what was expected and what to do."""

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import KernelError, RawModule, empty, zeros

f4, i4 = np.float32, np.int32


@pytest.fixture
def kernel(correct):
    """layer_norm(x, weight, bias, y, D, eps)"""
    return correct.get_function("layer_norm")


def arguments(**changes):
    given = {
        "x": zeros((2, 8), f4),
        "weight": np.uint64(0),
        "bias": np.uint64(0),
        "y": empty((2, 8), f4),
        "D": i4(8),
        "eps": f4(1e-5),
        **changes,
    }
    return tuple(given.values())


def test_a_good_launch(kernel):
    kernel((2,), (128,), arguments(), shared_mem=32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"eps": 1e-5},
            TypeError,
            r"argument 5 \(eps\): received the Python float 1e-05, passed as float64, "
            r"expected float32: pass numpy.float32\(...\)",
        ),
        ({"eps": np.float64(1)}, TypeError, r"received numpy.float64\(1.0\), expected float32"),
        ({"eps": 1}, TypeError, r"received the Python int 1, passed as int64, expected float32"),
        ({"D": np.int64(8)}, TypeError, r"argument 4 \(D\): received numpy.int64\(8\), expected int32"),
        ({"D": 2**31}, ValueError, r"argument 4 \(D\): received 2147483648, which int32 cannot hold"),
        ({"D": -(2**70)}, ValueError, r"argument 4 \(D\): received -1180591620717411303424, which int32"),
        ({"D": zeros((), i4)}, TypeError, r"received a .*EmulatorArray of int32, expected int32"),
        (
            {"x": zeros((2, 8))},
            TypeError,
            r"argument 0 \(x\): received an array of float64, expected an array of float32: convert it",
        ),
        ({"x": np.zeros((2, 8), f4)}, TypeError, "received a numpy.ndarray of float32, .* in host memory"),
        ({"x": f4(1)}, TypeError, r"received numpy.float32\(1.0\), expected an array of float32"),
        ({"weight": None}, TypeError, r"received None, which CuPy does not .*: pass numpy.uint64\(0\)"),
        ({"weight": np.uint64(8)}, TypeError, r"received numpy.uint64\(8\), expected an array of float32"),
        (
            {"x": zeros((2, 16), f4)[:, ::2]},
            ValueError,
            r"argument 0 \(x\): received an array of shape \(2, 8\) with strides \(64, 8\), "
            r".* pass ascontiguousarray",
        ),
        ({"x": zeros((8, 2), f4).T}, ValueError, r"array of shape \(2, 8\) with strides \(4, 8\)"),
        (
            {"extra": 1},
            TypeError,
            r"layer_norm: received 7 arguments, expected 6: \(x, weight, bias, y, D, eps\)",
        ),
    ],
)
def test_a_wrong_argument(kernel, changes, error, message):
    with pytest.raises(error, match=message):
        kernel((2,), (128,), arguments(**changes), shared_mem=32)


def test_an_array_that_may_not_be_written(kernel):
    y = empty((2, 8), f4)
    y.flags.writeable = False
    kernel((2,), (128,), arguments(x=y), shared_mem=32)
    with pytest.raises(ValueError, match=r"argument 3 \(y\): received a read-only array"):
        kernel((2,), (128,), arguments(y=y), shared_mem=32)


def test_a_vector_pointer_must_be_aligned(correct):
    kernel = correct.get_function("scale_vectors")
    a = zeros(8)
    with pytest.raises(
        ValueError, match=r"argument 0 \(x\): received an array 4 bytes past a multiple of 16"
    ):
        kernel((1,), (1,), (zeros(9, f4)[1:], zeros(8, f4), a, a, i4(1)))


@pytest.mark.parametrize(
    ("grid", "block", "error", "message"),
    [
        ((0,), (32,), ValueError, "grid.x is 0: it must be between 1 and 2147483647"),
        ((1, 65536), (32,), ValueError, "grid.y is 65536: it must be between 1 and 65535"),
        ((1,), (1025,), ValueError, "block.x is 1025"),
        ((1,), (1, 1, 65), ValueError, "block.z is 65: it must be between 1 and 64"),
        ((1,), (32, 33), ValueError, "32 × 33 × 1 = 1056 threads: the limit is 1024"),
        (1, (32,), TypeError, "grid must be a tuple of 1 to 3 integers, not 1"),
        ((1,), (32.0,), TypeError, "block must be a tuple of 1 to 3 integers"),
        ((1, 1, 1, 1), (32,), TypeError, "grid must be a tuple"),
    ],
)
def test_a_wrong_shape(kernel, grid, block, error, message):
    with pytest.raises(error, match=message):
        kernel(grid, block, arguments(), shared_mem=32)


def test_shared_memory_has_its_limit_until_it_is_raised(kernel):
    with pytest.raises(ValueError, match=r"shared_mem=49153 .* set max_dynamic_shared_size_bytes first"):
        kernel((2,), (128,), arguments(), shared_mem=49153)
    kernel.max_dynamic_shared_size_bytes = 100_000
    kernel((2,), (128,), arguments(), shared_mem=100_000)
    for size in (232_449, 1000.5, "all"):
        with pytest.raises(ValueError, match=f"={size}: a block can have 0 to 232448 bytes"):
            kernel.max_dynamic_shared_size_bytes = size
    with pytest.raises(TypeError, match=r"shared_mem must be an integer, a number of bytes, not 32\.0"):
        kernel((2,), (128,), arguments(), shared_mem=32.0)


@pytest.mark.usefixtures("compiler")
def test_one_argument_too_few():
    module = RawModule(code='extern "C" __global__ void fill(int* y, int n) { y[threadIdx.x] = n; }')
    with pytest.raises(TypeError, match=r"fill: received 1 argument, expected 2: \(y, n\)"):
        module.get_function("fill")((1,), (4,), (empty(4, i4),))


def test_a_kernel_that_is_not_there(correct):
    with pytest.raises(ValueError, match=r"no kernel 'nothing'.* row_sum<float, 256>"):
        correct.get_function("nothing")


def test_dynamic_shared_memory_has_one_name():
    text = "/* extern __shared__ int a[]; */ extern __shared__ float smem[];"
    with pytest.raises(ValueError, match="called 'smem', expected 'shared_memory'"):
        RawModule(code=text)


@pytest.mark.usefixtures("compiler")
def test_an_option_without_a_meaning():
    module = RawModule(code='extern "C" __global__ void f() {}', options=("--maxrregcount=32",))
    with pytest.raises(ValueError, match="--maxrregcount=32"):
        module.get_function("f")


@pytest.mark.usefixtures("compiler")
def test_macros_reach_the_kernel():
    text = 'extern "C" __global__ void fill(int* y) { y[threadIdx.x] = VALUE; }'
    y = empty(4, i4)
    for value in (3, 4):
        module = RawModule(code=text, options=("-std=c++17", f"-DVALUE={value}"))
        module.get_function("fill")((1,), (4,), (y,))
        assert np.asarray(y).tolist() == [value] * 4


@pytest.mark.usefixtures("compiler")
def test_line_directives_name_file_and_line():
    text = '#line 6 "layernorm.cu"\n// x̂ = (x − μ)·r\nextern "C" __global__ void f(int* y) {\n  y[4] = 1;\n}'
    with pytest.raises(KernelError, match=r"at layernorm\.cu:8"):
        RawModule(code=text, checked=True).get_function("f")((1,), (1,), (empty(4, i4),))
