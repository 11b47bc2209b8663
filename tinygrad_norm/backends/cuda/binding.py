"""Checks the arguments of a launch against the kernel's declaration, and casts numbers.

A launch should take a few microseconds. Therefore arrays are recognized by comparing objects, and the casts
of recent numbers are remembered. Any other argument gets a full check, which accepts it or raises an error.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .signature import Parameter

NULL = numpy.uint64(0)  # CuPy would pass None as 0xffffffff
_ACCEPTED = {"int64": (int, numpy.integer), "bool": (bool, numpy.bool_)}
_MOST: dict[str, float] = {name: float(numpy.finfo(name).max) for name in ("float32", "float64")}
_FLOAT = float, int, numpy.floating, numpy.integer  # for every other dtype


class Binding:
    """The parameters of one kernel instance, ready to receive arguments.

    Args:
        kernel: its name, for messages.
        parameters: as the kernel declares them.
        storage: the dtype of the arrays that it stores.
    """

    def __init__(self, kernel: str, parameters: Sequence[Parameter], storage: numpy.dtype) -> None:
        self.kernel, self.parameters = kernel, parameters
        self._expected = [self._prepared(parameter, storage) for parameter in parameters]

    def __call__(self, args: Sequence[Any], array_type: Any) -> tuple[Any, ...]:
        """Return the arguments as CuPy passes them: arrays of `array_type`, null pointers, NumPy's scalars.

        Raises:
            TypeError: if an argument is not what the kernel declares.
            ValueError: if the elements of an array do not lie one after the other, or a number is too large.
        """
        if len(args) != len(self._expected):
            names = ", ".join(parameter.name for parameter in self.parameters)
            received = f"{len(args)} argument{'s' * (len(args) != 1)}"
            raise TypeError(f"{self.kernel}: received {received}, expected {len(self.parameters)}: ({names})")
        values = []
        for value, (parameter, dtype, number_type, cast) in zip(args, self._expected, strict=True):
            if cast is None:
                if value is None:
                    value = NULL
                elif type(value) is not array_type or value.dtype is not dtype or not is_contiguous(value):
                    self._check_array(parameter, dtype, value, array_type)
            elif type(value) is number_type and (value or number_type is not float):
                value = cast(value)
            else:
                value = self._number(parameter, dtype, value)
            values.append(value)
        return tuple(values)

    def _prepared(
        self, parameter: Parameter, storage: numpy.dtype
    ) -> tuple[Parameter, numpy.dtype, type, Callable[[Any], Any] | None]:
        """Return what an argument is compared with, and the cast of a Python number of the usual type.

        0.0 is cast anew: it would be found in the place of -0.0, which is equal.
        """
        dtype = storage if parameter.dtype == storage.name else numpy.dtype(parameter.dtype)
        cast = functools.lru_cache(256)(functools.partial(self._number, parameter, dtype))
        return parameter, dtype, _accepted(parameter)[0], None if parameter.pointer else cast

    def _check_array(self, parameter: Parameter, dtype: numpy.dtype, value: Any, array_type: Any) -> None:
        where = f"{self.kernel}: argument {parameter.name}"
        if not isinstance(value, array_type):
            raise TypeError(
                f"{where}: received {_described(value)}, expected {parameter}, on the device of the others"
            )
        if value.dtype != dtype:
            raise TypeError(f"{where}: received an array of {value.dtype}, expected {parameter}")
        if not is_contiguous(value):
            raise ValueError(
                f"{where}: received an array of shape {value.shape} with strides {value.strides}, expected "
                "its elements one after the other: pass ascontiguousarray(...) of it"
            )

    def _number(self, parameter: Parameter, dtype: numpy.dtype, value: Any) -> numpy.generic:
        where = f"{self.kernel}: argument {parameter.name}"
        if not isinstance(value, _accepted(parameter)) or (
            isinstance(value, bool) and parameter.dtype != "bool"
        ):
            raise TypeError(f"{where}: received {_described(value)}, expected a number for {parameter}")
        number: Any = value.item() if isinstance(value, numpy.generic) else value  # uint64 would wrap around
        if abs(number) <= _MOST.get(parameter.dtype, 0):
            return dtype.type(number)
        try:
            with numpy.errstate(over="raise"):
                return dtype.type(number)
        except (OverflowError, FloatingPointError):
            endless = isinstance(number, int) and number.bit_length() > 128
            size = f"an integer of {number.bit_length()} bits" if endless else value
            raise ValueError(f"{where}: received {size}, which {parameter} cannot hold") from None


def _accepted(parameter: Parameter) -> tuple[type, ...]:
    """Return the types of numbers that a parameter accepts, the usual one first."""
    return _ACCEPTED.get(parameter.dtype, _FLOAT)


def is_contiguous(x: Any) -> bool:
    """Return whether the elements of the array `x` lie one after the other, in C order."""
    known = getattr(
        x, "_c_contiguous", None
    )  # CuPy's; its `flags` makes an object and takes 30 times as long
    return x.flags.c_contiguous if known is None else known


def _described(value: Any) -> str:
    if isinstance(value, numpy.generic) or not hasattr(value, "dtype"):
        return repr(value)
    module, name = type(value).__module__, type(value).__name__
    return f"a {module}.{name} of {value.dtype} and shape {tuple(value.shape)}"
