"""Reads a kernel's parameters from the text of a .cu file.

CuPy passes whatever it is given as so many bytes. A launch is therefore checked against the kernel's own
declaration, which may use these types: the template's storage type, Accumulator<T>, float, double,
long long, bool, and pointers to them.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SCALARS = {"float": "float32", "double": "float64", "long long": "int64", "bool": "bool"}

STORAGE = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}
"""The C++ type of each dtype that kernels store."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an instance of a kernel: `dtype` of the value, or of what the pointer points to."""

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
        ValueError: for a kernel that is not there, or a parameter of another type than those above.
    """
    bare = _COMMENT.sub(" ", code)
    found = re.search(rf"__global__[^;{{}}]*?\b{re.escape(kernel)}\s*\(([^()]*)\)\s*{{", bare)
    if not found:
        raise ValueError(
            f"no kernel {kernel} in this text: it must be declared `__global__ void {kernel}(...)`"
        )
    types = {**_SCALARS, "T": storage, "Accumulator<T>": accumulator(storage)}
    declared = found[1].strip()
    return tuple(_parameter(kernel, part, types) for part in declared.split(",")) if declared else ()


def accumulator(storage: str) -> str:
    """Return the dtype in which kernels sum up values of the dtype `storage`."""
    return "float64" if storage == "float64" else "float32"


def name_expression(kernel: str, storage: str, numbers: Sequence[int]) -> str:
    """Return the name of an instance: `layer_norm_forward<float, 4, 32, 8>`."""
    return f"{kernel}<{', '.join([STORAGE[storage], *map(str, numbers)])}>"


def _parameter(kernel: str, text: str, types: Mapping[str, str]) -> Parameter:
    words = re.sub(r"\b__restrict__\b", " ", text).replace("*", " * ").split()
    constant, pointer, name = "const" in words, "*" in words, words[-1]
    type_name = " ".join(word for word in words[:-1] if word not in ("const", "*"))
    if type_name not in types:
        raise ValueError(
            f"{kernel}: parameter {name} is of type {type_name}, expected one of {', '.join(types)}"
        )
    return Parameter(name, types[type_name], pointer, constant)
