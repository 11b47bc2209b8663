"""A compiled module, loaded in this process: kernels, shared variables, source lines."""

import ctypes
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy

_ELF_SYMBOL = numpy.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SYMBOL_TABLE, _THREAD_LOCAL = 2, 6
_SHIM_FILES = frozenset(path.name for path in (Path(__file__).parent / "include").iterdir())


class _Parameter(ctypes.Structure):
    _fields_ = (
        ("dtype", ctypes.c_char_p),
        ("alignment", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("pointer", ctypes.c_int32),
        ("constant", ctypes.c_int32),
    )


class _Entry(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_void_p),
        ("parameters", ctypes.POINTER(_Parameter)),
        ("count", ctypes.c_int32),
    )


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as the compiler deduced it; `dtype` is the pointee's, "" for void."""

    dtype: str
    alignment: int
    size: int
    pointer: bool
    constant: bool


@dataclass(frozen=True)
class SharedVariable:
    """A `__shared__` variable: its name, its offset from the module's marker and its size, in bytes."""

    name: str
    offset: int
    size: int


class Library:
    """A module's compiled library, loaded."""

    def __init__(self, path: Path, checked: bool) -> None:
        self.path, self.checked = path, checked
        self.handle = ctypes.CDLL(str(path))
        self.marker = ctypes.cast(self.handle.emulator_module_marker, ctypes.c_void_p).value
        self.begin, self.end = (self._address(f"emulator_module_{edge}") for edge in ("begin", "end"))
        self.shared_variables = shared_variables(path)

    def _address(self, function: str) -> int:
        call = self.handle[function]
        call.restype = ctypes.c_void_p
        return call()

    def entry(self, symbol: str) -> tuple[int, tuple[Parameter, ...]]:
        """Return a kernel's address and its parameters."""
        call = self.handle[symbol]
        call.restype = ctypes.POINTER(_Entry)
        entry = call().contents
        described = (entry.parameters[i] for i in range(entry.count))
        return entry.call, tuple(
            Parameter(p.dtype.decode(), p.alignment, p.size, bool(p.pointer), bool(p.constant))
            for p in described
        )

    def line(self, pc: int) -> str | None:
        """Return "file:line" of the kernel's source for an address in its code; None if it is not known."""
        tool = shutil.which("addr2line")
        if tool is None or pc == 0:
            return None
        command = [tool, "-i", "-s", "-e", str(self.path), hex(pc - 1)]
        for place in subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace"
        ).stdout.split("\n"):
            found = re.match(r"([^:?]+):(\d+)", place)
            if found and found[1] not in _SHIM_FILES:
                return f"{found[1]}:{found[2]}"
        return None


def shared_variables(path: Path) -> list[SharedVariable]:
    """Return the `__shared__` variables of a library's kernels: its thread-local symbols.

    Returns [] if the library is not ELF (macOS): shared memory is then neither poisoned nor checked.
    """
    data = path.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return []
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry_size) for i in range(count)]
    found: list[tuple[str, int, int]] = []
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != _SYMBOL_TABLE:
            continue
        symbols = numpy.frombuffer(data, _ELF_SYMBOL, size // _ELF_SYMBOL.itemsize, offset)
        names = sections[link][4]
        for symbol in symbols[(symbols["info"] & 15 == _THREAD_LOCAL) & (symbols["section"] != 0)]:
            start = names + int(symbol["name"])
            name = data[start : data.index(b"\0", start)].decode()
            found.append((_plain_name(name), int(symbol["value"]), int(symbol["size"])))
    (marker,) = (offset for name, offset, _ in found if name == "emulator_marker")
    return [
        SharedVariable(name, offset - marker, size)
        for name, offset, size in found
        if name != "emulator_marker"
    ]


def _plain_name(mangled: str) -> str:
    """Return `red` for `_ZZ10layer_normPKfE3red`: the variable's name without the function's."""
    if not mangled.startswith("_Z"):
        return mangled
    names = [mangled[found.end() : found.end() + int(found[0])] for found in re.finditer(r"\d+", mangled)]
    return next((name for name in reversed(names) if name.isidentifier()), mangled)
