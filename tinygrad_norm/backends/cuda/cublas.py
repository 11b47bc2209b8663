"""Matrix products inside a captured step: cuBLAS, called without CuPy's wrappers.

On a stream that is being captured, every cuBLAS wrapper of CuPy raises NotImplementedError. cuBLAS itself
can be captured, if it has a workspace that lives as long as the graph. So while a graph warms up and
captures its step, `@` and `matmul` of CuPy's arrays call it here, through CuPy's own library and handle;
einsum calls `matmul`. Nothing else of CuPy is replaced, and nothing outside of the graph's stream.

cuBLAS stores matrices by columns. Read in that way, the memory of a C-contiguous matrix holds its transpose,
so c = a @ b is computed as cᵀ = bᵀ @ aᵀ: its first matrix is b, and its sizes are the columns of c, the rows
of c, and K. A transposed view is read as it lies; only an array without a contiguous last or second-to-last
axis is copied. A batch is one call if its matrices lie at equal distances (0 for a matrix that is broadcast).
"""

from __future__ import annotations

import ctypes
import itertools
import math
from types import TracebackType
from typing import Any, NamedTuple

from .. import Array
from .machine import machine_of

WORKSPACE = 1 << 25  # bytes; NVIDIA recommends 32 MiB for Hopper, less for others

_AS_IT_LIES, _TRANSPOSED = 0, 1  # CUBLAS_OP_N, CUBLAS_OP_T
_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
_SINGLE, _SINGLE_PEDANTIC, _SINGLE_TF32, _DOUBLE, _DOUBLE_PEDANTIC = 68, 69, 77, 70, 71  # cublasComputeType_t
_PEDANTIC, _TF32 = 2, 7  # the compute types of CuPy that differ from its default
_DEFAULT_ALGORITHM = -1
_FACTORS = {kind: (kind(1), kind(0)) for kind in (ctypes.c_float, ctypes.c_double)}  # of a @ b, and of c
_MOST = 2**31 - 1

_int, _pointer, _stride = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
ARGUMENTS = {  # handle, stream; handle, workspace, bytes; handle, operations, sizes, 1, a, b, 0, c, how
    "cublasSetStream_v2": [_pointer, _pointer],
    "cublasSetWorkspace_v2": [_pointer, _pointer, ctypes.c_size_t],
    "cublasGemmEx": [
        *(_pointer, *(_int,) * 5, _pointer),
        *(_pointer, _int, _int) * 2,
        *(_pointer, _pointer, _int, _int),
        *(_int, _int),
    ],
    "cublasGemmStridedBatchedEx": [
        *(_pointer, *(_int,) * 5, _pointer),
        *(_pointer, _int, _int, _stride) * 2,
        *(_pointer, _pointer, _int, _int, _stride),
        *(_int, _int, _int),
    ],
}


class Operand(NamedTuple):
    """A matrix (R, C), or a batch of them, as cuBLAS reads it: strides are in elements."""

    array: Array
    operation: int
    leading: int


class MatrixProducts:
    """Within its block, the matrix products of CuPy's arrays on `stream` are calls of cuBLAS made here."""

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cupy, self._stream = cupy, stream
        self._plain = cupy.matmul, cupy.ndarray.__matmul__
        self._library: Any = None
        self._ready = False

    def __enter__(self) -> None:
        cupy, (_, plain) = self._cupy, self._plain
        self._ready = False

        def operator(a: Any, b: Any) -> Any:
            return self.matmul(a, b) if isinstance(b, cupy.ndarray) else plain(a, b)

        cupy.matmul, cupy.ndarray.__matmul__ = self.matmul, operator

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cupy.matmul, self._cupy.ndarray.__matmul__ = self._plain
        if self._ready:  # the handle outlives the graph's stream
            self._check(self._library.cublasSetStream_v2(self._handle, None))

    def matmul(self, a: Array, b: Array, out: Array | None = None, **options: Any) -> Array:
        """Return a @ b as CuPy's `matmul` does, for one or two matrices, vectors or batches."""
        cupy = self._cupy
        dtype = cupy.result_type(a, b)
        elsewhere = cupy.cuda.get_current_stream().ptr != self._stream.ptr
        if options or elsewhere or dtype.name not in _TYPES or 0 in (a.ndim, b.ndim):
            return self._plain[0](a, b, **options) if out is None else self._plain[0](a, b, out, **options)
        x = (a if a.ndim > 1 else a[None]).astype(dtype, copy=False)
        y = (b if b.ndim > 1 else b[:, None]).astype(dtype, copy=False)
        if x.shape[-1] != y.shape[-2]:
            raise ValueError(
                f"matmul: the last size of {a.shape} must equal the size that {b.shape} sums over"
            )
        batch = _broadcast(a.shape, x.shape[:-2], b.shape, y.shape[:-2])
        shape = *batch, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ())
        if out is not None and out.shape != shape:
            raise ValueError(f"matmul: the result has shape {shape}, got out with shape {out.shape}")
        vector = 1 in (a.ndim, b.ndim)
        target: Any = out if self._writable(out, dtype, vector, x, y) else cupy.empty(shape, dtype)
        full = target.reshape(*batch, x.shape[-2], y.shape[-1]) if vector else target
        if 0 in (x.size, y.size, full.size):
            full.fill(0)
        else:
            self._multiply(x, y, full)
        if out is None or out is target:
            return target
        out[...] = target
        return out

    def _writable(self, out: Array | None, dtype: Any, vector: bool, *operands: Array) -> bool:
        """Return whether cuBLAS can write its result into `out`."""
        if out is None or out.dtype != dtype or any(self._cupy.may_share_memory(out, x) for x in operands):
            return False
        return out.flags.c_contiguous or (not vector and _operation(out) == _AS_IT_LIES)

    def _multiply(self, a: Array, b: Array, c: Any) -> None:
        """Write a @ b into c: at least one matrix each, without empty axes."""
        first, second, result = self._operand(b), self._operand(a), Operand(c, _AS_IT_LIES, _leading(c))
        batch = c.shape[:-2]
        strides = [_batch_strides(operand.array, batch) for operand in (first, second, result)]
        sizes = c.shape[-1], c.shape[-2], a.shape[-1]
        leading = [operand.leading for operand in (first, second, result)]
        axes, loop = _together(batch, strides)
        count = math.prod(batch[axis] for axis in axes)
        if max(*sizes, *leading, count) > _MOST:
            raise ValueError(
                f"cuBLAS multiplies matrices with sizes up to {_MOST}, got {a.shape} @ {b.shape}"
            )
        each = [row[axes[-1]] if axes else 0 for row in strides]
        for index in itertools.product(*(range(batch[axis]) for axis in loop)):
            at = [
                machine_of(operand.array).address(operand.array)
                + operand.array.itemsize * sum(i * row[axis] for i, axis in zip(index, loop, strict=True))
                for operand, row in zip((first, second, result), strides, strict=True)
            ]
            self._call(c.dtype, (first.operation, second.operation, *sizes), at, leading, each, count)

    def _operand(self, x: Array) -> Operand:
        operation = _operation(x)
        if operation is None:
            x, operation = self._cupy.ascontiguousarray(x), _AS_IT_LIES
        return Operand(x, operation, _leading(x if operation == _AS_IT_LIES else x.swapaxes(-1, -2)))

    def _call(
        self,
        dtype: Any,
        sizes: tuple[int, ...],
        at: list[int],
        leading: list[int],
        strides: list[int],
        count: int,
    ) -> None:
        if not self._ready:
            self._prepare()
        kind, compute = self._arithmetic(dtype)
        one, zero = map(ctypes.addressof, _FACTORS[kind])
        code, batched = _TYPES[dtype.name], count > 1
        a, b, c = (
            (at[i], code, leading[i], strides[i]) if batched else (at[i], code, leading[i]) for i in range(3)
        )
        how = (count, compute, _DEFAULT_ALGORITHM) if batched else (compute, _DEFAULT_ALGORITHM)
        call = self._library.cublasGemmStridedBatchedEx if batched else self._library.cublasGemmEx
        self._check(call(self._handle, *sizes, one, *a, *b, zero, *c, *how))

    def _arithmetic(self, dtype: Any) -> tuple[Any, int]:
        """Return the type of the factors and the arithmetic in which CuPy itself multiplies this dtype."""
        chosen = self._cupy._core.get_compute_type(dtype)
        if dtype.name == "float64":
            return ctypes.c_double, _DOUBLE_PEDANTIC if chosen == _PEDANTIC else _DOUBLE
        if chosen == _TF32 and dtype.name == "float32":
            return ctypes.c_float, _SINGLE_TF32
        return ctypes.c_float, _SINGLE_PEDANTIC if chosen == _PEDANTIC else _SINGLE

    def _prepare(self) -> None:
        """Make cuBLAS use the graph's stream and workspace. CuPy's next call of cuBLAS undoes both."""
        cupy = self._cupy
        if self._library is None:
            self._library = load_library()
            self._handle = cupy.cuda.Device().cublas_handle
            self._workspace = cupy.empty(WORKSPACE, "uint8")  # aligned to 256 bytes
        address = machine_of(self._workspace).address(self._workspace)
        self._check(self._library.cublasSetStream_v2(self._handle, self._stream.ptr))  # resets the workspace
        self._check(self._library.cublasSetWorkspace_v2(self._handle, address, WORKSPACE))
        self._ready = True

    def _check(self, status: int) -> None:
        if status != 0:
            raise RuntimeError(f"cuBLAS returned the status {status} (cublasStatus_t) in a captured step")


def load_library() -> Any:
    """Return the cuBLAS that CuPy is linked against.

    Symbols of a library are looked up in the libraries that it needs, too: so CuPy's own extension module
    leads to the cuBLAS that CuPy found and loaded, whatever its version and place.
    """
    from cupy_backends.cuda.libs import cublas  # finds and loads cuBLAS

    library = ctypes.CDLL(cublas.__file__)
    for name, arguments in ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
    return library


# -- how arrays lie in memory


def _operation(x: Array) -> int | None:
    """Return how cuBLAS must read the last two axes of x, or None if it cannot."""
    (R, C), (row, column) = x.shape[-2:], _strides(x)[-2:]
    if min(x.strides) < 0:
        return None
    if (column == 1 or C == 1) and (row >= C or R == 1):
        return _AS_IT_LIES
    if (row == 1 or R == 1) and (column >= R or C == 1):
        return _TRANSPOSED
    return None


def _leading(x: Array) -> int:
    """Return the leading dimension of matrices whose rows are contiguous: elements from row to row."""
    R, C = x.shape[-2:]
    return C if R == 1 else _strides(x)[-2]


def _strides(x: Array) -> list[int]:
    """Return the strides of x in elements."""
    return [stride // x.itemsize for stride in x.strides]


def _batch_strides(x: Array, batch: tuple[int, ...]) -> list[int]:
    """Return the distances of matrices along the axes of the batch that x is broadcast to."""
    own, missing = _strides(x)[:-2], len(batch) - (x.ndim - 2)
    return [0] * missing + [0 if x.shape[i] == 1 else own[i] for i in range(x.ndim - 2)]


def _broadcast(
    a: tuple[int, ...], x: tuple[int, ...], b: tuple[int, ...], y: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape that the batches x of `a` and y of `b` are broadcast to."""
    ndim = max(len(x), len(y))
    pairs = list(zip((1,) * (ndim - len(x)) + x, (1,) * (ndim - len(y)) + y, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        raise ValueError(f"matmul of {a} and {b}: the axes before the last two must be equal, or 1")
    return tuple(n if m == 1 else m for m, n in pairs)


def _together(batch: tuple[int, ...], strides: list[list[int]]) -> tuple[list[int], list[int]]:
    """Return the axes of the batch that one call covers, and those to loop over: as few calls as possible.

    Neighbouring axes count as one if, in each array, a step along the outer one equals all steps along the
    inner one.
    """
    runs: list[list[int]] = []
    for axis in (i for i, n in enumerate(batch) if n > 1):
        if runs and all(row[runs[-1][-1]] == row[axis] * batch[axis] for row in strides):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    longest = max(runs, key=lambda run: math.prod(batch[i] for i in run), default=[])
    return longest, [axis for run in runs if run is not longest for axis in run]
