"""Finds, compiles, caches and launches the kernels of a .cu file.

One convention for every kernel: its first template argument is the storage type of the arrays; integer
parameters are `long long`, floating-point ones are of the accumulation type, flags are `bool`. Python's
numbers are cast to the declared type, and arrays are checked against it, before anything is launched.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy

from .. import Array, namespace
from .binding import Binding, is_contiguous
from .machine import Machine, machine_of
from .signature import EXACT, STORAGE, accumulator, mean_type, name_expression, parameters_of
from .teams import (
    FORWARD_SHAPES,
    MOST_THREADS,
    PACK,
    SUM_SHAPES,
    VECTOR_SHAPES,
    WIDE_BLOCK,
    Pairs,
    Shapes,
    Teams,
    teams_for,
)

MOST_PERSISTENT = 1024  # threads of a multiprocessor
MOST_BLOCKS = 2**31 - 1
FEW = 32  # bytes of a vector that a thread keeps in registers: FEW in teams.cuh
SHARED_WITHOUT_ASKING = 48 * 1024  # bytes
HERE = Path(__file__).parent
_FORWARD = VECTOR_SHAPES, VECTOR_SHAPES.pairs[-1:]
_BACKWARD = SUM_SHAPES, *_FORWARD
_HEADERS = {
    "float16": "#include <cuda_fp16.h>\n",
    "bfloat16": "#include <cuda_bf16.h>\n",
    "object": '#include "residue.h"\n',
}


class Instance:
    """One instance of a kernel on one machine: how its arguments are bound, and the function once loaded."""

    def __init__(self, bind: Binding, load: Callable[[], Any]) -> None:
        self.bind, self._load = bind, load
        self._asked = SHARED_WITHOUT_ASKING

    @functools.cached_property
    def function(self) -> Any:
        """The compiled kernel."""
        return self._load()

    def with_shared(self, size: int) -> Any:
        """Return the compiled kernel, allowed to use `size` bytes of shared memory per block."""
        if size > self._asked:
            self.function.max_dynamic_shared_size_bytes = self._asked = size
        return self.function


class CudaSource:
    """The kernels of the .cu file beside a Python file: `CudaSource(__file__)`.

    reduce.cuh and teams.cuh, and then the files named in `shared` from the same directory, are put before
    it as text: CuPy's cache of compiled kernels would not see that an included file has changed.
    """

    def __init__(self, python_file: str, *shared: str) -> None:
        self.path = Path(python_file).with_suffix(".cu")
        self.parts = (
            HERE / "reduce.cuh",
            HERE / "teams.cuh",
            *(self.path.parent / name for name in shared),
            self.path,
        )
        self._instances: dict[tuple[Any, ...], Instance] = {}
        self._resident: dict[tuple[Any, ...], int] = {}

    @functools.cached_property
    def code(self) -> str:
        """The whole text, without the headers of the half types."""
        return "\n".join(f'#line 1 "{part.name}"\n{part.read_text("utf-8")}' for part in self.parts)

    def text(self, storage: str) -> str:
        """Return the text that is compiled for arrays of the dtype `storage`."""
        return _HEADERS.get(storage, "") + self.code

    def launch(
        self,
        kernel: str,
        storage: Any,
        numbers: Sequence[int],
        blocks: int,
        threads: int,
        args: Sequence[Any],
        shared_memory: int = 0,
    ) -> None:
        """Launch the instance `kernel<storage, *numbers>` on `blocks` blocks of `threads` threads.

        Args:
            kernel: its name in the .cu file.
            storage: the dtype of the arrays.
            numbers: the other template arguments.
            blocks: how many, in one dimension.
            threads: of a block.
            args: arrays, None for one that is not given, Python numbers.
            shared_memory: dynamic shared memory of a block, in bytes.

        Raises:
            TypeError: for arguments that are not what the kernel declares, none that is an array, a dtype
                it cannot store, and sizes that are no integers.
            ValueError: for arrays whose elements do not lie one after the other, and beyond the limits.
        """
        first = _first_array(kernel, args)
        machine = machine_of(first)
        try:
            instance = self._instances[kernel, storage, numbers, machine]
        except (KeyError, TypeError):
            instance = self._instance(kernel, storage, numbers, machine)
        values = instance.bind(args, machine.array_type or type(first))
        if not (
            type(blocks) is type(threads) is type(shared_memory) is int
            and 0 < threads <= MOST_THREADS
            and 0 < blocks <= MOST_BLOCKS
            and 0 <= shared_memory <= machine.shared_memory
        ):
            threads = _size(kernel, "threads a block", threads, 1, MOST_THREADS)
            blocks = _size(kernel, "blocks", blocks, 1, MOST_BLOCKS)
            shared_memory = _size(
                kernel, "bytes of shared memory a block", shared_memory, 0, machine.shared_memory
            )
        function = instance.with_shared(shared_memory)
        function((blocks,), (threads,), values, shared_mem=shared_memory)

    def _instance(self, kernel: str, storage: Any, numbers: Sequence[int], machine: Machine) -> Instance:
        """Return a kernel instance, compiled at the first call."""
        name, numbers = _storage_name(kernel, storage), tuple(numbers)
        key = kernel, numpy.dtype(storage), numbers, machine
        if key not in self._instances:
            bind = Binding(kernel, parameters_of(self.code, kernel, name), numpy.dtype(storage))
            expression = name_expression(kernel, name, numbers)
            self._instances[key] = Instance(bind, lambda: machine.load(self.text(name), expression))
        return self._instances[key]

    def persistent_blocks(
        self, kernel: str, x: Array, shape: Teams, rows: int, shared_memory: int = 0
    ) -> int:
        """Return how many blocks to launch if each goes through many rows of x.

        They fill the machine once: each multiprocessor gets the blocks that it runs at a time, but no more
        than 1024 threads, which load enough: every further block would only add partial sums.
        """
        machine = machine_of(x)
        key = kernel, x.dtype, shape, shared_memory, machine
        resident = self._resident.get(key)
        if resident is None:
            function = self._instance(kernel, x.dtype, shape.template, machine).with_shared(shared_memory)
            resident = self._resident[key] = machine.resident(function, shape.block, shared_memory)
        each = min(resident, MOST_PERSISTENT // shape.block)
        return min(shape.blocks(rows), machine.multiprocessors * max(each, 1))

    def forward_rows(
        self,
        kernel: str,
        rows: Sequence[Array],
        vectors: Sequence[Array | None],
        statistics: int,
        *numbers: float,
    ) -> tuple[Array, ...]:
        """Launch a forward pass over rows (N, D); return a result for each of `rows`, then columns (N, 1).

        The kernel takes: rows, vectors (D,), results, `statistics` columns, N, D, `numbers`, and whether a
        row that registers cannot hold is kept in shared memory. With vectors, blocks go through many rows.
        """
        rows = contiguous(*rows)
        x, (N, D), vectors = rows[0], rows[0].shape, wide(rows[0], *vectors)
        results = [namespace(x).empty_like(x) for _ in rows]
        columns = statistics_of(x, statistics, N, 1)
        of_launch = *rows, *results, *vectors
        if vectors:
            shape, shared = teams_with_vectors(_FORWARD, D, len(vectors), *of_launch)
            shared = shared or kept_bytes(shape, D, x)
            blocks = self.persistent_blocks(kernel, x, shape, N, shared)
        else:
            shape = teams(D, *of_launch)
            shared, blocks = kept_bytes(shape, D, x), shape.blocks(N)
        args = *rows, *vectors, *results, *columns, N, D, *numbers, shape.kept == 0 and shared > 0
        self.launch(kernel, x.dtype, shape.template, blocks, shape.block, args, shared)
        return *results, *columns

    def forward_pools(
        self,
        kernel: str,
        x: Array,
        vectors: Sequence[Array | None],
        statistics: int,
        sizes: Sequence[int],
        eps: float,
        run: int = 0,
    ) -> tuple[Array, ...]:
        """Launch a forward pass over pools, the first two axes of x; return y, then statistics.

        The kernel takes: x, vectors, y, `statistics` arrays, the number of pools, `sizes`, 1/n for pools of n
        values, eps, and whether a pool that registers cannot hold is kept in shared memory. `run` is that of
        `teams`.
        """
        (x,), vectors, pools = contiguous(x), wide(x, *vectors), x.shape[0] * x.shape[1]
        n, y = x.size // pools, namespace(x).empty_like(x)
        columns = statistics_of(x, statistics, *x.shape[:2], *(1,) * (x.ndim - 2))
        shape = teams(n, x, y, run=run)
        shared = kept_bytes(shape, n, x)
        args = x, *vectors, y, *columns, pools, *sizes, 1 / n, eps, shared > 0
        self.launch(kernel, x.dtype, shape.template, shape.blocks(pools), shape.block, args, shared)
        return y, *columns

    def backward_rows(
        self,
        kernel: str,
        rows: Sequence[Array],
        statistics: Sequence[Array],
        weight: Array | None,
        vectors: int,
        *numbers: float,
    ) -> tuple[Array, ...]:
        """Launch a backward pass over rows (N, D), x last; return dx and `vectors` gradients (D,).

        The kernel takes: rows, the weight (D,), statistics (N, 1), dx, one array (blocks, D) of partial sums
        for each vector, N, D, 1/D, `numbers`, and whether the sums of a row that registers cannot hold are in
        shared memory. A second kernel adds up all partial sums.
        """
        rows = contiguous(*rows)
        x, (N, D), (weight,) = rows[-1], rows[-1].shape, wide(rows[-1], weight)
        shape, shared = teams_with_vectors(_BACKWARD, D, 1 + vectors, *reversed(rows), weight)
        shape = dataclasses.replace(shape, smallest_block=WIDE_BLOCK)
        if not shape.kept:
            shared = shared_bytes(x, vectors, D)
        elif not shared and shape.team < shape.block:
            shared = D * shape.block // max(shape.team, 32) * accumulator_dtype(x).itemsize
        blocks = self.persistent_blocks(kernel, x, shape, N, shared)
        dx, partials = namespace(x).empty_like(x), wide_empty(x, vectors, blocks, D)
        parts = [partials[k] for k in range(vectors)]
        args = *rows, weight, *statistics, dx, *parts, N, D, 1 / D, *numbers, shape.kept == 0 and shared > 0
        self.launch(kernel, x.dtype, shape.template, blocks, shape.block, args, shared)
        sums = self.sum_columns(partials)
        return dx, *(sums[k] for k in range(vectors))

    def sum_columns(self, partials: Array) -> Array:
        """Return the sums of the columns of `partials` (P, D), or of each of the matrices (V, P, D).

        One launch; the rows are always added in the same order.
        """
        (P, D), shape = partials.shape[-2:], (*partials.shape[:-2], partials.shape[-1])
        sums = namespace(partials).empty(shape, partials.dtype)
        blocks = sums.size // D * -(-D // 32)
        self.launch("column_sums", partials.dtype, (), blocks, 1024, (partials, sums, P, D))
        return sums


def _first_array(kernel: str, args: Sequence[Any]) -> Any:
    for value in args:
        if hasattr(value, "dtype") and not isinstance(value, numpy.generic):
            return value
    raise TypeError(f"{kernel}: received no array, expected one at least, on the GPU to launch it on")


def _storage_name(kernel: str, storage: Any) -> str:
    try:
        name = None if storage is None else numpy.dtype(storage).name  # NumPy reads None as float64
    except TypeError:
        name = None
    if name not in (*STORAGE, EXACT):
        stored = ", ".join(STORAGE)
        raise TypeError(f"{kernel}: no kernel stores {name or repr(storage)}; there are {stored}")
    return name


# -- sizes


def _size(kernel: str, what: str, size: Any, least: int, most: int) -> int:
    if not isinstance(size, int | numpy.integer) or isinstance(size, bool):
        raise TypeError(f"{kernel}: received {size!r} {what}, expected an integer")
    if not least <= size <= most:
        raise ValueError(f"{kernel}: received {size} {what}, possible are {least} to {most}")
    return int(size)


# -- what twins do to their arguments


def inverse(divisor: int) -> int:
    """Return ⌈2⁶²/divisor⌉, by which kernels divide: `quotient` in moments.cuh."""
    return -(-(2**62) // divisor)


def contiguous(*arrays: Array) -> list[Array]:
    """Return the arrays with their elements one after the other: themselves, or copies."""
    return [x if is_contiguous(x) else namespace(x).ascontiguousarray(x) for x in arrays]


def wide(like: Array, *arrays: Array | None) -> list[Array | None]:
    """Return the arrays, or None, contiguous and in the type that kernels accumulate `like` in."""
    dtype = accumulator_dtype(like)
    return [x if x is None or (x.dtype is dtype and is_contiguous(x)) else _cast(x, dtype) for x in arrays]


def _cast(x: Array, dtype: numpy.dtype) -> Array:
    return contiguous(x.astype(dtype, copy=False))[0]


def accumulator_dtype(x: Array) -> numpy.dtype:
    """Return the dtype that kernels accumulate the values of x in."""
    return _accumulator_dtype(x.dtype)


@functools.cache
def _accumulator_dtype(dtype: numpy.dtype) -> numpy.dtype:
    return numpy.dtype(accumulator(dtype.name))


def wide_empty(like: Array, *shape: int) -> Array:
    """Return an array that is yet to be written, in the type that kernels accumulate `like` in."""
    return namespace(like).empty(shape, accumulator_dtype(like))


def mean_dtype(x: Array) -> numpy.dtype:
    """Return the dtype in which kernels write the means of pools of x: float64 for float32."""
    return _mean_dtype(x.dtype)


@functools.cache
def _mean_dtype(dtype: numpy.dtype) -> numpy.dtype:
    return numpy.dtype(mean_type(dtype.name))


def statistics_of(x: Array, count: int, *shape: int) -> list[Array]:
    """Return arrays for the statistics of the pools of x; the first of several is the mean."""
    others = [wide_empty(x, *shape) for _ in range(count - (count > 1))]
    return others if count == 1 else [namespace(x).empty(shape, mean_dtype(x)), *others]


def written_or_given(x: Array, mean: Array) -> tuple[Array | None, Array | None]:
    """Return a mean of pools of x and None; or, if kernels write another dtype, None and it, made wide."""
    if mean.dtype == mean_dtype(x):
        return contiguous(mean)[0], None
    return None, wide(x, mean)[0]


def teams(D: int, *arrays: Array | None, shapes: Shapes | Pairs = FORWARD_SHAPES, run: int = 0) -> Teams:
    """Return how teams share rows of D values of `arrays`; the first is one that the kernel stores.

    A pack lies within one of the runs of `run` values that a row is made of, if that is given.
    """
    first: Any = arrays[0]
    itemsize, address, together = first.dtype.itemsize, machine_of(first).address, run * first.dtype.itemsize
    for x in arrays:
        if x is not None:
            together |= address(x)  # a multiple of PACK if all are
    return teams_for(D, itemsize, together % PACK == 0, shapes)


def teams_with_vectors(
    shapes: Sequence[Shapes | Pairs], D: int, vectors: int, x: Array, *others: Array | None
) -> tuple[Teams, int]:
    """Return how teams share rows if they keep `vectors` vectors (D,) from row to row, and the shared memory.

    Few values are in registers. More are in shared memory, by the first of `shapes` with which a
    multiprocessor can hold those of all its blocks. The last of `shapes` keeps none.
    """
    for one in shapes:
        shape = teams(D, x, *others, shapes=one)
        if shape.kept * shape.vector * accumulator_dtype(x).itemsize <= FEW:
            return shape, 0
        blocks = MOST_PERSISTENT // shape.block
        if shared := shared_bytes(x, blocks * vectors, D) // blocks:
            return shape, shared
    raise AssertionError("the last of `shapes` keeps vectors")


def shared_bytes(x: Array, vectors: int, D: int) -> int:
    """Return the shared memory for vectors (D,) of x's accumulation type: 0 if they do not fit."""
    size = vectors * D * accumulator_dtype(x).itemsize
    return size if size <= machine_of(x).shared_memory - _RESERVED else 0


def kept_bytes(chosen: Teams, D: int, x: Array) -> int:
    """Return the shared memory for a row of D values of `x` that registers do not hold: 0 if too long."""
    size = 0 if chosen.kept else D * x.dtype.itemsize
    return size if size <= machine_of(x).shared_memory - _RESERVED else 0


_RESERVED = 1024  # bytes of shared memory for reductions


def packs(*arrays: Array | None) -> tuple[int, int]:
    """Return how many values of flat arrays a thread has, and how many blocks of 256 threads that makes."""
    first: Any = arrays[0]
    shape = teams(first.size, *arrays)
    return shape.vector, -(-first.size // (shape.vector * 256))
