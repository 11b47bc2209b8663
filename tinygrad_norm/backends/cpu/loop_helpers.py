"""Helpers: functions of scalars that loops call, such as exp, compiled into the loops.

A helper keeps the order of its operations, but may fuse a product with a sum.
"""

import dis
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy

REORDER = frozenset({"reassoc", "arcp", "nsz"})
"""What the compiler may do with sums: add several numbers at once. NaN and infinity come through."""

_INLINED: Any = {"error_model": "numpy", "forceinline": True}


class helper:
    """A function of scalars that loops call; it is compiled into them.

    If its first argument is float32, so are the floats written in it, as in NumPy. `single` attaches another
    version for that case.
    """

    fastmath = frozenset({"contract"})

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.double = self.float32 = function

    def single(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Attach the version for float32."""
        self.float32 = function
        return function

    def __call__(self, *args: Any) -> Any:
        return (self._plain_single if type(args[0]) is numpy.float32 else self.double)(*args)

    @functools.cached_property
    def _plain_single(self) -> Any:
        return in_precision(self.float32, {}, numpy.float32)

    @functools.cached_property
    def compiled(self) -> Any:
        """A function that Numba replaces by the version for its arguments."""
        from numba import float32
        from numba.extending import overload

        double = in_precision(self.double, compiled_helpers(self.double), float)
        single = in_precision(self.float32, compiled_helpers(self.float32), numpy.float32)

        def chosen(*args: Any) -> Any:
            raise NotImplementedError

        options: Any = {"fastmath": set(self.fastmath), **_INLINED}

        @overload(chosen, jit_options=options, strict=False)
        def choose(*types: Any) -> Any:
            return single if types[0] == float32 else double

        return chosen


class sum_helper(helper):
    """A helper whose sums may be reordered, too."""

    fastmath = frozenset({"contract", *REORDER})


def instruction(name: str) -> Callable[[Callable[..., Any]], helper]:
    """Make a function of numbers of one type a helper that is one instruction, called `name` in LLVM."""
    return lambda function: _Instruction(function, name)


class _Instruction(helper):
    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__(function)
        self.instruction = name

    @functools.cached_property
    def compiled(self) -> Any:
        from llvmlite import ir
        from numba.extending import intrinsic

        def write(context: Any, builder: Any, types: Any, args: Any) -> Any:
            number = args[0].type
            of_numbers = ir.FunctionType(number, [number] * len(args))
            return builder.call(
                builder.module.declare_intrinsic(self.instruction, [number], of_numbers), args
            )

        @intrinsic
        def chosen(typing: Any, a: Any, b: Any) -> Any:
            return a(a, b), write

        return chosen


def in_precision(function: Any, scope: dict[str, Any], real: type) -> Any:
    """Return a copy of `function` with other globals, and all its floats in the precision `real`."""

    def convert(value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(convert, value))
        return real(value) if type(value) is float else value

    used = {name: convert(function.__globals__[name]) for name in _globals_of(function)}
    scope = function.__globals__ | used | scope
    code = function.__code__.replace(co_consts=convert(function.__code__.co_consts))
    copy = types.FunctionType(code, scope, function.__name__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def compiled_helpers(function: Any) -> dict[str, Any]:
    """Return the compiled helpers that `function` calls, by name."""
    return {name: value.compiled for name, value in helpers_of(function).items()}


def helpers_of(function: Any) -> dict[str, helper]:
    """Return the helpers that `function` calls, by name."""
    used = {name: function.__globals__[name] for name in _globals_of(function)}
    return {name: value for name, value in used.items() if isinstance(value, helper)}


def _globals_of(function: Any) -> list[str]:
    names = [step.argval for step in dis.get_instructions(function) if step.opname == "LOAD_GLOBAL"]
    return [name for name in names if name in function.__globals__]
