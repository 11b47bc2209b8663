"""The machine that runs kernels on exact numbers: the emulator, with residues in the place of double.

An array of exact numbers is launched as one of float64 would be. Its entries are references of 8 bytes in
Python, and in a kernel places of 8 bytes in a table, which include/residue.h describes. So a launch has the
shape, shared memory and template arguments that it has for float64, and the compiler reads the kernel's own
text.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy

from ..backends.cuda.compiler import STANDARD
from ..backends.cuda.machine import Machine, set_machine
from .errors import NoRoot, NotAlgebraic, NotExact
from .field import Powers
from .numberarray import NumberArray
from .residues import Residue, lift

MOST_NUMBERS = 1 << 22
"""How many numbers a launch may compute, of 16 bytes each; memory is taken only for those that it does."""

_HEADER = 3  # rows of 16 bytes before the numbers: count, most, error, place, roots, unused
_NUMBER, _REASON, _TAG, _UNWRITTEN = 0x7FFC << 48, 0x7FFD << 48, 0xFFFF << 48, (1 << 64) - 1


@functools.cache
def exact_machine() -> Machine:
    """Return the emulator, with residues in the place of double; each of its arrays counts as aligned."""
    from ..backends.emulator import RawModule
    from ..backends.emulator.kernel_arguments import MOST_DYNAMIC_SHARED

    def compiled(text: str, expression: str) -> ExactKernel:
        module = RawModule(code=text, options=(STANDARD,), name_expressions=(expression,))
        return ExactKernel(module.get_function(expression))

    resident = 2, lambda kernel, threads, shared: 8  # as on the emulator
    return Machine(compiled, lambda x: 0, *resident, MOST_DYNAMIC_SHARED, numpy.ndarray)


set_machine(NumberArray, exact_machine)


class ExactKernel:
    """A kernel of the emulator that takes arrays of exact numbers in the place of float64."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The most dynamic shared memory of a launch, in bytes."""
        return self.kernel.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self.kernel.max_dynamic_shared_size_bytes = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0
    ) -> None:
        """Launch the kernel, and put what it wrote into the arrays.

        Raises:
            NoRoot: if a number has no root at this point.
            NotExact: if the kernel does what no exact number can do; the message says where.
        """
        from ..backends.emulator import KernelError

        numbers = _Numbers(self.kernel.module.library(False))
        given = [numbers.there(value) for value in args]
        try:
            self.kernel(grid, block, given, shared_mem=shared_mem)
        except KernelError as error:
            raise numbers.explained(error) from None
        finally:
            Powers.roots += numbers.roots
        for value, there in zip(args, given, strict=True):
            if isinstance(value, numpy.ndarray):
                numbers.read_back(value, there)


class _Numbers:
    """The table of a launch: the numbers that it is given, and those that it computes."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._table = numpy.empty((_HEADER + MOST_NUMBERS, 2), numpy.uint64)
        self._table[:_HEADER] = (0, MOST_NUMBERS), (0, 0), (0, 0)
        self._values = self._table.view(numpy.float64)
        library.handle.emulator_use_table(ctypes.c_void_p(self._table.ctypes.data))

    @property
    def roots(self) -> int:
        """How many roots the launch took."""
        return int(self._table[2, 0])

    def there(self, value: Any) -> Any:
        """Return an argument as the emulator takes it."""
        from ..backends import emulator

        if not isinstance(value, numpy.ndarray):
            # Integers that a kernel declares as such are NumPy's.
            return numpy.uint64(self._place(value)) if isinstance(value, int | float | Residue) else value
        if value.dtype != object:
            return emulator.asarray(numpy.array(value, subok=False))
        places = [self._place(number) for number in value.ravel()]
        return emulator.asarray(numpy.array(places, numpy.uint64).reshape(value.shape))

    def _place(self, number: Any) -> int:
        if number is None:  # of an array that is yet to be written
            return _UNWRITTEN
        if isinstance(number, float) and not math.isfinite(number):
            return int(numpy.float64(number).view(numpy.uint64))
        exact, count = lift(number), int(self._table[0, 0])
        self._table[_HEADER + count, 0], self._values[_HEADER + count, 1] = exact.n, exact.v
        self._table[0, 0] = count + 1
        return _NUMBER | count

    def read_back(self, array: numpy.ndarray, there: Any) -> None:
        """Put what is `there` into `array`."""
        result = numpy.asarray(there).reshape(array.shape)
        if array.dtype == object and array.flags.writeable:
            result = numpy.array([self._number(int(place)) for place in result.ravel()], object)
            result = result.reshape(array.shape)
        if array.flags.writeable:
            array[...] = result

    def _number(self, place: int) -> Residue | float | None:
        if place == _UNWRITTEN:
            return None
        if place & _TAG == _NUMBER:
            row = _HEADER + (place & ~_TAG)
            return Residue(int(self._table[row, 0]), float(self._values[row, 1]))
        if place & _TAG == _REASON:
            raise self._error(place & ~_TAG)
        constant = float(numpy.uint64(place).view(numpy.float64))
        return lift(constant) if math.isfinite(constant) else constant

    def explained(self, error: Exception) -> Exception:
        """Return why a launch ended, if an operation on exact numbers ended it."""
        reason, place = map(int, self._table[1])
        return self._error(reason, place) if reason else error

    def _error(self, address: int, place: int = 0) -> Exception:
        reason = ctypes.string_at(address).decode()
        if reason == "no root":
            return NoRoot()
        name, _, rest = reason.partition(" ")
        if rest == "is not algebraic":
            return NotAlgebraic(name)
        line = self._library.line(place - self._library.begin)
        return NotExact(f"{reason}, at {line}" if line else reason)
