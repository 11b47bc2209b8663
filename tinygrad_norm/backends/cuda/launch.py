"""Finds, compiles, caches and launches the kernels of a .cu file.

One convention for every kernel: its first template argument is the storage type of the arrays; integer
parameters are `long long`, floating-point ones are of the accumulation type, flags are `bool`. Python's
numbers are cast to the declared type, and arrays are checked against it, before anything is launched.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from .. import Array, namespace
from .machine import Machine, machine_of
from .signature import STORAGE, Parameter, accumulator, name_expression, parameters_of
from .teams import BACKWARD_SHAPES, FORWARD_SHAPES, PACK, Teams, aligned, teams_for

MOST_THREADS = 1024
MOST_PERSISTENT = 1024  # threads of a multiprocessor
MOST_BLOCKS = 2**31 - 1
SHARED_WITHOUT_ASKING = 48 * 1024  # bytes
NULL = numpy.uint64(0)  # CuPy would pass None as 0xffffffff
HERE = Path(__file__).parent
_HEADERS = {"float16": "#include <cuda_fp16.h>\n", "bfloat16": "#include <cuda_bf16.h>\n"}


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
        name = _storage_name(kernel, storage)
        arrays = (value for value in args if hasattr(value, "dtype") and not isinstance(value, numpy.generic))
        first = next(arrays, None)
        if first is None:
            raise TypeError(f"{kernel}: received no array, expected one at least, on the GPU to launch it on")
        machine = machine_of(first)
        values = _bind(kernel, parameters_of(self.code, kernel, name), args, type(first))
        _check_size(kernel, "threads a block", threads, 1, MOST_THREADS)
        _check_size(kernel, "blocks", blocks, 1, MOST_BLOCKS)
        _check_size(kernel, "bytes of shared memory a block", shared_memory, 0, machine.shared_memory)
        function = _compiled(machine, self, name, name_expression(kernel, name, numbers))
        _ask_for(function, shared_memory)
        function((int(blocks),), (int(threads),), values, shared_mem=int(shared_memory))

    def persistent_blocks(
        self, kernel: str, x: Array, shape: Teams, rows: int, shared_memory: int = 0
    ) -> int:
        """Return how many blocks to launch if each goes through many rows of x.

        They fill the machine once: each multiprocessor gets the blocks that it runs at a time, but no more
        than 1024 threads, which load enough: every further block would only add partial sums.
        """
        resident = _resident(machine_of(x), self, kernel, x.dtype.name, shape, shared_memory)
        each = min(resident, MOST_PERSISTENT // shape.block)
        return min(shape.blocks(rows), machine_of(x).multiprocessors * max(each, 1))

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
        row that registers cannot hold is kept in shared memory.
        """
        rows = contiguous(*rows)
        x, (N, D), vectors = rows[0], rows[0].shape, wide(rows[0], *vectors)
        results = [namespace(x).empty_like(x) for _ in rows]
        columns = [wide_empty(x, N, 1) for _ in range(statistics)]
        shape = teams(D, *rows, *results, *vectors)
        shared = kept_bytes(shape, D, x)
        args = *rows, *vectors, *results, *columns, N, D, *numbers, shared > 0
        self.launch(kernel, x.dtype, shape.template, shape.blocks(N), shape.block, args, shared)
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
        columns = [wide_empty(x, *x.shape[:2], *(1,) * (x.ndim - 2)) for _ in range(statistics)]
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
    ) -> tuple[Array, ...]:
        """Launch a backward pass over rows (N, D), x last; return dx and `vectors` gradients (D,).

        The kernel takes: rows, the weight (D,), statistics (N, 1), dx, one array (blocks, D) of partial sums
        for each vector, N, D and 1/D. A second kernel adds up all partial sums.
        """
        rows = contiguous(*rows)
        x, (N, D), (weight,) = rows[-1], rows[-1].shape, wide(rows[-1], weight)
        shape = teams(D, *reversed(rows), weight, shapes=BACKWARD_SHAPES)
        shared = D * numpy.dtype(accumulator(x.dtype.name)).itemsize if shape.per_block > 1 else 0
        blocks = self.persistent_blocks(kernel, x, shape, N, shared)
        dx, partials = namespace(x).empty_like(x), wide_empty(x, vectors, blocks, D)
        parts = [partials[k] for k in range(vectors)]
        args = *rows, weight, *statistics, dx, *parts, N, D, 1 / D
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


@functools.cache
def _compiled(machine: Machine, source: CudaSource, storage: str, expression: str) -> Any:
    return machine.load(source.text(storage), expression)


@functools.cache
def _resident(
    machine: Machine, source: CudaSource, kernel: str, storage: str, shape: Teams, shared_memory: int
) -> int:
    function = _compiled(machine, source, storage, name_expression(kernel, storage, shape.template))
    _ask_for(function, shared_memory)
    return machine.resident(function, shape.block, shared_memory)


def _ask_for(function: Any, shared_memory: int) -> None:
    if shared_memory > SHARED_WITHOUT_ASKING:
        function.max_dynamic_shared_size_bytes = shared_memory


# -- arguments


def _storage_name(kernel: str, storage: Any) -> str:
    try:
        name = None if storage is None else numpy.dtype(storage).name  # NumPy reads None as float64
    except TypeError:
        name = None
    if name not in STORAGE:
        stored = ", ".join(STORAGE)
        raise TypeError(f"{kernel}: no kernel stores {name or repr(storage)}; there are {stored}")
    return name


def _bind(
    kernel: str, parameters: Sequence[Parameter], args: Sequence[Any], array_type: Any
) -> tuple[Any, ...]:
    if len(args) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        received = f"{len(args)} argument{'s' * (len(args) != 1)}"
        raise TypeError(f"{kernel}: received {received}, expected {len(parameters)}: ({names})")
    return tuple(
        _bind_array(kernel, parameter, value, array_type)
        if parameter.pointer
        else _bind_number(kernel, parameter, value)
        for parameter, value in zip(parameters, args, strict=True)
    )


def _bind_array(kernel: str, parameter: Parameter, value: Any, array_type: Any) -> Any:
    if value is None:
        return NULL
    where = f"{kernel}: argument {parameter.name}"
    if not isinstance(value, array_type):
        raise TypeError(
            f"{where}: received {_described(value)}, expected {parameter}, on the device of the others"
        )
    if value.dtype.name != parameter.dtype:
        raise TypeError(f"{where}: received an array of {value.dtype}, expected {parameter}")
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{where}: received an array of shape {value.shape} with strides {value.strides}, expected its "
            "elements one after the other: pass ascontiguousarray(...) of it"
        )
    return value


def _bind_number(kernel: str, parameter: Parameter, value: Any) -> numpy.generic:
    kinds = {"int64": (int, numpy.integer), "bool": (bool, numpy.bool_)}
    expected = kinds.get(parameter.dtype, (int, float, numpy.integer, numpy.floating))
    where = f"{kernel}: argument {parameter.name}"
    if not isinstance(value, expected) or (isinstance(value, bool) and parameter.dtype != "bool"):
        raise TypeError(f"{where}: received {_described(value)}, expected a number for {parameter}")
    number: Any = value.item() if isinstance(value, numpy.generic) else value  # uint64 would wrap around
    dtype = numpy.dtype(parameter.dtype)
    try:
        with numpy.errstate(over="raise"):
            return dtype.type(number)
    except (OverflowError, FloatingPointError):
        endless = isinstance(number, int) and number.bit_length() > 128
        size = f"an integer of {number.bit_length()} bits" if endless else value
        raise ValueError(f"{where}: received {size}, which {parameter} cannot hold") from None


def _described(value: Any) -> str:
    if isinstance(value, numpy.generic) or not hasattr(value, "dtype"):
        return repr(value)
    module, name = type(value).__module__, type(value).__name__
    return f"a {module}.{name} of {value.dtype} and shape {tuple(value.shape)}"


def _check_size(kernel: str, what: str, size: Any, least: int, most: int) -> None:
    if not isinstance(size, int | numpy.integer) or isinstance(size, bool):
        raise TypeError(f"{kernel}: received {size!r} {what}, expected an integer")
    if not least <= size <= most:
        raise ValueError(f"{kernel}: received {size} {what}, possible are {least} to {most}")


# -- what twins do to their arguments


def contiguous(*arrays: Array) -> list[Array]:
    """Return the arrays with their elements one after the other: themselves, or copies."""
    return [x if x.flags.c_contiguous else namespace(x).ascontiguousarray(x) for x in arrays]


def wide(like: Array, *arrays: Array | None) -> list[Array | None]:
    """Return the arrays, or None, contiguous and in the type that kernels accumulate `like` in."""
    dtype = accumulator(like.dtype.name)
    return [None if x is None else contiguous(x.astype(dtype, copy=False))[0] for x in arrays]


def accumulator_dtype(x: Array) -> numpy.dtype:
    """Return the dtype that kernels accumulate the values of x in."""
    return numpy.dtype(accumulator(x.dtype.name))


def wide_empty(like: Array, *shape: int) -> Array:
    """Return an array that is yet to be written, in the type that kernels accumulate `like` in."""
    return namespace(like).empty(shape, accumulator(like.dtype.name))


def teams(
    D: int, *arrays: Array | None, shapes: Sequence[tuple[int, int]] = FORWARD_SHAPES, run: int = 0
) -> Teams:
    """Return how teams share rows of D values of `arrays`; the first is one that the kernel stores.

    A pack lies within one of the runs of `run` values that a row is made of, if that is given.
    """
    first: Any = arrays[0]
    address = machine_of(first).address
    at = [address(x) for x in arrays if x is not None]
    whole = run * first.dtype.itemsize % PACK == 0
    return teams_for(D, first.dtype.itemsize, whole and aligned(*at), shapes)


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
