"""Packs: neighbouring numbers of an array that a loop works on at once, and keeps in registers.

The compiler vectorizes an inner loop by itself, but writes its sums to memory after each turn of the loop
around it. A loop that names its sums as packs keeps them in registers to the end, as BLAS does: it then reads
two numbers for several products.

    width(x, r)             how many numbers of x a pack has
    fill(a, r)              a pack of the number a
    load(x, i, r)           x[i], x[i + 1], ... of x (·,), contiguous
    store(x, i, pack)       write them
    add_product(p, a, q)    p + a·q, for packs p and q, and a pack or a number a
    total(p)                the sum of the numbers of a pack

A pack is r registers of 512 bits on processors that have them, 32 of them, else one of 256 bits. r is 1 or 2,
and written as such. As plain Python, a pack is an array of 16·r numbers. x must have as many from i on.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy

from .. import Array
from .loop_helpers import REORDER, helper

PLAIN_WIDTH = 16


def _of_packs(write: Callable[..., Any]) -> Callable[[Callable[..., Any]], helper]:
    """Make a function of packs a helper that `write`, called at its first use, translates for Numba."""

    def attach(function: Callable[..., Any]) -> helper:
        return _PackHelper(function, write)

    return attach


class _PackHelper(helper):
    def __init__(self, function: Callable[..., Any], write: Callable[..., Any]) -> None:
        super().__init__(function)
        self.write = write

    def __call__(self, *args: Any) -> Any:
        return self.double(*args)

    @functools.cached_property
    def compiled(self) -> Any:
        from numba.extending import intrinsic

        return intrinsic(prefer_literal=True)(self.write)


def _pack_of(dtype: Any, r: Any) -> Any:
    """Return the type of packs of Numba's float32 or float64, for a literal r."""
    from llvmlite import binding

    bits = 512 * r.literal_value if binding.get_host_cpu_features().get("avx512f") else 256
    return _pack_type()(dtype, bits // dtype.bitwidth)


@functools.cache
def _pack_type() -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import models, register_model

    class Pack(types.Type):
        def __init__(self, dtype: Any, width: int) -> None:
            self.dtype, self.width = dtype, width
            super().__init__(f"Pack({dtype}, {width})")

    @register_model(Pack)
    class PackModel(models.PrimitiveModel):
        def __init__(self, manager: Any, pack: Any) -> None:
            number = manager.lookup(pack.dtype).get_data_type()
            model: Any = super()
            model.__init__(manager, pack, ir.VectorType(number, pack.width))

    return Pack


def _pointer(context: Any, builder: Any, array: Any, values: Any, pack: Any) -> Any:
    x = context.make_array(array)(context, builder, values[0])
    return builder.bitcast(builder.gep(x.data, [values[1]]), context.get_value_type(pack).as_pointer())


def _filled(builder: Any, number: Any, vector: Any) -> Any:
    from llvmlite import ir

    index, empty = ir.IntType(32), ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, number, index(0))
    zeros = ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, empty, zeros)


def _write_width(typing: Any, x: Any, r: Any) -> Any:
    from numba import types

    pack = _pack_of(x.dtype, r)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, pack.width)

    return types.intp(x, r), write


def _write_fill(typing: Any, a: Any, r: Any) -> Any:
    pack = _pack_of(a, r)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _filled(builder, values[0], context.get_value_type(pack))

    return pack(a, r), write


def _write_load(typing: Any, x: Any, i: Any, r: Any) -> Any:
    pack = _pack_of(x.dtype, r)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, x, values, pack), align=x.dtype.bitwidth // 8)

    return pack(x, i, r), write


def _write_store(typing: Any, x: Any, i: Any, pack: Any) -> Any:
    from numba import types

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = _pointer(context, builder, x, values, pack)
        builder.store(values[2], where, align=x.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, i, pack), write


def _write_add_product(typing: Any, p: Any, a: Any, q: Any) -> Any:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        total, factor, pack = values
        if a != q:
            factor = _filled(builder, factor, context.get_value_type(q))
        product = builder.fmul(factor, pack, flags=("contract",))
        return builder.fadd(total, product, flags=("contract",))

    return p(p, a, q), write


def _write_total(typing: Any, p: Any) -> Any:
    from llvmlite import ir

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number, vector = context.get_value_type(p.dtype), context.get_value_type(p)
        name = f"llvm.vector.reduce.fadd.v{p.width}f{p.dtype.bitwidth}"
        function = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(number, [number, vector]), name
        )
        return builder.call(function, [number(-0.0), values[0]], fastmath=tuple(REORDER))

    return p.dtype(p), write


@_of_packs(_write_width)
def width(x: Array, r: int) -> int:
    """How many numbers of x a pack has."""
    return PLAIN_WIDTH * r


@_of_packs(_write_fill)
def fill(a: Any, r: int) -> Array:
    """A pack of the number a."""
    return numpy.full(PLAIN_WIDTH * r, a, a.dtype)


@_of_packs(_write_load)
def load(x: Array, i: int, r: int) -> Array:
    """x[i], x[i + 1], ... of x (·,)"""
    return x[i : i + PLAIN_WIDTH * r].copy()


@_of_packs(_write_store)
def store(x: Array, i: int, pack: Array) -> None:
    """Write a pack to x[i], x[i + 1], ... of x (·,)."""
    x[i : i + len(pack)] = pack


@_of_packs(_write_add_product)
def add_product(p: Array, a: Any, q: Array) -> Array:
    """p + a·q"""
    return p + a * q


@_of_packs(_write_total)
def total(p: Array) -> Any:
    """The sum of the numbers of a pack."""
    return p.sum()
