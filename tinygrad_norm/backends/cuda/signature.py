"""Reads a kernel's parameters from the text of a .cu file.

CuPy passes the bytes of its arguments without checking them. Therefore a launch is checked against the
kernel's own declaration, which may use these types: the template's storage type, Accumulator<T>, Mean<T>,
float, double, long long, bool, and pointers to them.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SCALARS = {"float": "float32", "double": "float64", "long long": "int64", "bool": "bool"}

STORAGE = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}
"""The C++ type of each dtype that kernels store."""

EXACT = "object"
"""The dtype of exact numbers, on which instances for double run on a machine for them: proof/launches.py."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel instance; for a pointer, `dtype` is the type that it points to."""

    name: str
    dtype: str
    pointer: bool
    constant: bool

    def __str__(self) -> str:
        return f"an array of {self.dtype}, or None" if self.pointer else self.dtype


@functools.cache
def parameters_of(code: str, kernel: str, storage: str) -> tuple[Parameter, ...]:
    """Return the parameters of `kernel` in the text `code`, compiled for the dtype `storage`.

    Raises:
        ValueError: if there is no such kernel, or a parameter has a type that is not in the list above.
    """
    bare = _COMMENT.sub(" ", code)
    found = re.search(rf"__global__[^;{{}}]*?\b{re.escape(kernel)}\s*\(([^()]*)\)\s*{{", bare)
    if not found:
        raise ValueError(
            f"no kernel {kernel} in this text: it must be declared `__global__ void {kernel}(...)`"
        )
    scalars = {**_SCALARS, "double": EXACT} if storage == EXACT else _SCALARS
    types = {**scalars, "T": storage, "Accumulator<T>": accumulator(storage), "Mean<T>": mean_type(storage)}
    declared = found[1].strip()
    return tuple(_parameter(kernel, part, types) for part in declared.split(",")) if declared else ()


def accumulator(storage: str) -> str:
    """Return the dtype in which kernels accumulate values of the dtype `storage`."""
    return storage if storage in ("float64", EXACT) else "float32"


def mean_type(storage: str) -> str:
    """Return the dtype in which kernels write the means of values of the dtype `storage`: Mean<T>."""
    return {"float16": "float32", "bfloat16": "float32", EXACT: EXACT}.get(storage, "float64")


def name_expression(kernel: str, storage: str, numbers: Sequence[int]) -> str:
    """Return the name of a kernel instance, such as `layer_norm_forward<float, 4, 32, 8>`."""
    stored = STORAGE["float64" if storage == EXACT else storage]
    return f"{kernel}<{', '.join([stored, *map(str, numbers)])}>"


def _parameter(kernel: str, text: str, types: Mapping[str, str]) -> Parameter:
    words = re.sub(r"\b__restrict__\b", " ", text).replace("*", " * ").split()
    constant, pointer, name = "const" in words, "*" in words, words[-1]
    type_name = " ".join(word for word in words[:-1] if word not in ("const", "*"))
    if type_name not in types:
        raise ValueError(
            f"{kernel}: parameter {name} is of type {type_name}, expected one of {', '.join(types)}"
        )
    return Parameter(name, types[type_name], pointer, constant)
