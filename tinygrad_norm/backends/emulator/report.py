"""Describes how a launch failed: what happened, in which thread, where, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from .library import Library
from .runner import KINDS, SPACES, Place, Report

BETWEEN_BLOCKS = (
    "the blocks of a launch are not ordered: give each its own elements, and combine them in a second kernel"
)


class KernelError(RuntimeError):
    """A kernel did something that is undefined on a GPU, or did not end."""


@dataclass(frozen=True)
class Explanation:
    """The message for one report; `arguments` are the names of the parameters."""

    report: Report
    library: Library
    arguments: Sequence[str]
    block: tuple[int, int, int]
    timeout: float

    def __str__(self) -> str:
        report, here, other = self.report, self.report.here, self.report.other
        who, line = self._who(here), self._line(here)
        match KINDS[report.kind]:
            case "race":
                verbs = ["writes" if place.writes else "reads" for place in (here, other)]
                return (
                    f"race on {self._target()}, byte {report.offset}: {who} {verbs[0]}{line} what "
                    f"{self._who(other)} {verbs[1]}{self._line(other)}; {self._order()}"
                )
            case "out of bounds" if report.text:
                return f"index {report.offset} out of the bounds of {report.text.decode()}: {who}{line}"
            case "out of bounds":
                verb = "write" if here.writes else "read"
                return f"out of bounds: {who} {verb}s {self._position()}{line}"
            case "misaligned":
                return (
                    f"misaligned access: {who} accesses {report.size} bytes at {report.address:#x}, "
                    f"which is not a multiple of {report.size}{line}"
                )
            case "read only":
                return f"{who} writes to {self._target()}, which the kernel declares const{line}"
            case "undefined":
                return f"{who} does {report.text.decode()}{line}"
            case "divergent barrier":
                return f"divergent barrier: {self._waits(here)}, but {self._waits(other)}"
            case "divergent warp":
                return f"lanes of one warp diverge: {self._waits(here)}, but {self._waits(other)}"
            case "deadlock":
                rest = f", {self._waits(other)}" if other.known else ""
                return f"deadlock: {self._waits(here)}{rest}, and no other thread can arrive"
            case "exited lane":
                return (
                    f"{self._waits(here)}, but lane {report.lane} of its warp has returned or does not "
                    "exist: keep every lane of the mask running, or remove it from the mask"
                )
            case "caller not in mask":
                return f"{self._waits(here)}, which does not include the calling lane"
            case "source not in mask":
                return f"{self._waits(here)} and reads lane {report.lane}, which is not in the mask"
            case "width":
                return f"{self._waits(here)}: width {report.lane} is not a power of two from 1 to 32"
            case "stack overflow":
                return f"{who} needs more than 64 KiB of stack{line}: put large arrays in shared memory"
            case "timeout":
                return f"still running after {self.timeout:g} s, last in {who}{line}: an endless loop?"
            case "trap":
                return f"{who} stops in {here.what.decode()}{line}"
            case _:
                return f"{who} accesses memory that does not exist, at address {report.address:#x}{line}"

    def _who(self, place: Place) -> str:
        block, thread = (f"({', '.join(map(str, index))})" for index in (place.block, place.thread))
        return f"thread {thread} of block {block}" if place.known > 0 else f"a thread of block {block}"

    def _line(self, place: Place) -> str:
        line = self.library.line(place.pc)
        if line is None and place.file:
            line = f"{place.file.decode().rsplit('/', 1)[-1]}:{place.line}"
        if line is None:  # interrupted within the runtime, or on the way into it
            line = self.library.line(self.report.last_access)
        return f" at {line}" if line else ""

    def _waits(self, place: Place) -> str:
        mask = f" with mask {place.mask:#010x}" if place.mask else ""
        return f"{self._who(place)} waits in {place.what.decode()}{mask}{self._line(place)}"

    def _order(self) -> str:
        here, other = self.report.here, self.report.other
        if tuple(here.block) != tuple(other.block):
            return BETWEEN_BLOCKS
        if here.writes and other.writes:
            return "let one thread write it, or add __syncthreads() between the two writes"
        within = self._warp(here) == self._warp(other)
        barrier = "__syncthreads(), or __syncwarp() if only lanes of one warp exchange values here"
        return f"there is no barrier between them: add {barrier if within else '__syncthreads()'}"

    def _warp(self, place: Place) -> int:
        x, y, z = place.thread
        return (x + self.block[0] * (y + self.block[1] * z)) // 32

    def _target(self) -> str:
        index = self.report.index
        match SPACES[self.report.space]:
            case "global":
                return f"argument {index} ({self.arguments[index]})"
            case "static shared":
                return f"__shared__ {self.library.shared_variables[index].name}"
            case "dynamic shared":
                return "dynamic shared memory"
            case _:
                return "memory"

    def _position(self) -> str:
        report = self.report
        if SPACES[report.space] == "nowhere":
            return f"{_bytes(report.size)} at {report.address:#x}, far from every array of this launch"
        if report.offset < 0:
            return f"{_bytes(report.size)}, {_bytes(-report.offset)} before the start of {self._target()}"
        past = report.offset + report.size - report.extent
        of = f"{self._target()}, which has {_bytes(report.extent)}"
        return f"{_bytes(report.size)}, the last of them {_bytes(past)} past the end of {of}"


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"
