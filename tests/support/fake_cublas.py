"""A cuBLAS of NumPy: the entry points that cublas.py calls, on raw addresses, in column-major order.

It knows of a matrix what cuBLAS is given: an address, sizes and a leading dimension. As cuBLAS does, it
refuses a leading dimension smaller than the rows. Calls go through ctypes, with the types that the real
functions get.
"""

import ctypes
import types

import numpy as np

from tinygrad_norm.backends.cuda import cublas

TYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}
FACTORS = {
    68: ctypes.c_float,
    69: ctypes.c_float,
    77: ctypes.c_float,
    70: ctypes.c_double,
    71: ctypes.c_double,
}
INVALID_VALUE, INTERNAL_ERROR = 7, 14


def dtype_of(code):
    if TYPES[code] == "bfloat16":
        return np.dtype(__import__("ml_dtypes").bfloat16)
    return np.dtype(TYPES[code])


def columns(address, dtype, rows, cols, leading, stride=0, count=1):
    """Return the column-major matrices (count, rows, cols) at `address`."""
    elements = (count - 1) * stride + (cols - 1) * leading + rows
    memory = (ctypes.c_char * (elements * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    strides = np.multiply((stride, 1, leading), dtype.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (count, rows, cols), strides, writeable=True)


class FakeCublas:
    """The functions of the library. `run(operation)` runs a product, or records it for a replay."""

    def __init__(self, run=lambda operation: operation()):
        self.run, self.stream, self.workspace, self.calls = run, None, None, []

    def library(self):
        """Return what `load_library` returns."""
        functions = {}
        for name, arguments in cublas.ARGUMENTS.items():
            functions[name] = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(self.guarded(getattr(self, name)))
        return types.SimpleNamespace(**functions)

    def guarded(self, function):
        def call(*args):
            try:
                return function(*args)
            except Exception as error:  # ctypes would print it and go on
                self.error = error
                return INTERNAL_ERROR

        return call

    def cublasSetStream_v2(self, handle, stream):
        self.stream, self.workspace = stream, None
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        if address % 256:
            return INVALID_VALUE
        self.workspace = address, size
        return 0

    def cublasGemmEx(self, handle, opa, opb, m, n, k, one, A, ta, lda, B, tb, ldb, zero, C, tc, ldc, *how):
        matrices = (A, ta, lda, 0), (B, tb, ldb, 0), (C, tc, ldc, 0)
        return self.gemm(handle, opa, opb, m, n, k, one, zero, matrices, 1, *how)

    def cublasGemmStridedBatchedEx(
        self,
        handle,
        opa,
        opb,
        m,
        n,
        k,
        one,
        A,
        ta,
        lda,
        sa,
        B,
        tb,
        ldb,
        sb,
        zero,
        C,
        tc,
        ldc,
        sc,
        count,
        *how,
    ):
        matrices = (A, ta, lda, sa), (B, tb, ldb, sb), (C, tc, ldc, sc)
        return self.gemm(handle, opa, opb, m, n, k, one, zero, matrices, count, *how)

    def gemm(self, handle, opa, opb, m, n, k, one, zero, matrices, count, compute, algorithm):
        assert None not in (self.stream, self.workspace)
        shapes = (k, m) if opa else (m, k), (n, k) if opb else (k, n), (m, n)
        if any(matrix[2] < max(1, rows) for matrix, (rows, _) in zip(matrices, shapes, strict=True)):
            return INVALID_VALUE
        factor = FACTORS[compute]
        assert [factor.from_address(number).value for number in (one, zero)] == [1, 0]
        self.calls.append((opa, opb, m, n, k, count))
        views = [
            columns(where, dtype_of(code), *shape, leading, stride, count)
            for (where, code, leading, stride), shape in zip(matrices, shapes, strict=True)
        ]

        def operation():
            a, b = (
                x.astype(factor).swapaxes(1, 2) if op else x.astype(factor)
                for x, op in zip(views, (opa, opb), strict=False)
            )
            views[2][...] = (a @ b).astype(views[2].dtype)

        self.run(operation)
        return 0
