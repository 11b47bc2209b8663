"""What machine code tells without a GPU: how many warps are resident, and how many loads are in flight.

nvdisasm prints the machine code. It comes with the CUDA toolkit and with the wheels of Triton.
"""

import functools
import importlib.util
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# The limits of a multiprocessor of sm_90 (H100, H200), from the CUDA programming guide.
WARPS, BLOCKS, REGISTERS, SHARED = 64, 32, 65536, 228 * 1024
REGISTERS_AT_ONCE = 256  # a warp gets them in such units
RESERVED = 1024  # bytes of shared memory that the system takes from each block

_FUNCTION = re.compile(r"^\s*\.section\s+\.text\.([\w$]+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")
_REGISTER = re.compile(r"\bR(\d+)\b")
_LEAVES = ("BRA", "EXIT", "RET", "BRX", "JMP")


def resident_warps(registers, threads, shared):
    """The warps of such blocks that a multiprocessor of sm_90 holds at once."""
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
    by_registers = REGISTERS // of_warp // warps
    return warps * min(WARPS // warps, BLOCKS, by_registers, SHARED // (shared + RESERVED))


@functools.cache
def nvdisasm():
    """The path of nvdisasm, or None: on the PATH, or in a wheel of Triton or CUDA."""
    found = shutil.which("nvdisasm")
    if found:
        return found
    for package, inside in (("triton", "backends/nvidia/bin"), ("nvidia", "cu13/bin")):
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / inside / "nvdisasm").exists():
                return str(Path(place) / inside / "nvdisasm")
    return None


def disassemble(cubin):
    """The machine code of every kernel: symbol → list of (predicate, opcode, operands)."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [nvdisasm(), "-c", file.name], check=True, capture_output=True, text=True
        ).stdout
    _, *parts = _FUNCTION.split(text)
    return {
        symbol: [(a or "", b, c) for a, b, c in _INSTRUCTION.findall(code)]
        for symbol, code in zip(parts[::2], parts[1::2], strict=True)
    }


def _size(opcode):
    parts = opcode.split(".")
    sizes = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((size for part, size in sizes.items() if part in parts), 4)


def loads_in_flight(code):
    """The most loads from global memory whose results are still unused, as a list of sizes in bytes.

    A thread waits for a load where its result is used; loads issued before arrive before.
    """
    pending, most = [], []
    for predicate, opcode, operands in code:
        registers = set(map(int, _REGISTER.findall(operands)))
        load = opcode.startswith("LDG")
        if load:  # what it overwrites is no result of a load that is waited for
            target = int(_REGISTER.search(operands)[1])
            registers -= {target}
        used = [k for k, (_, of_load) in enumerate(pending) if registers & of_load]
        if used:
            pending = pending[max(used) + 1 :]
        if load:
            size = _size(opcode)
            pending.append((size, set(range(target, target + max(size // 4, 1)))))
            most = max(most, [size for size, _ in pending], key=sum)
        elif not predicate and opcode.split(".")[0] in _LEAVES:
            pending = []
    return most


def accesses(code):
    """Loads and stores of global memory in their order, as "L128×8 S128×8": width in bits, how often."""
    runs = []
    for _, opcode, _ in code:
        if opcode.startswith(("LDG", "STG")):
            kind = f"{opcode[0]}{8 * _size(opcode)}"
            if runs and runs[-1][0] == kind:
                runs[-1][1] += 1
            else:
                runs.append([kind, 1])
    return " ".join(f"{kind}×{count}" if count > 1 else kind for kind, count in runs)
