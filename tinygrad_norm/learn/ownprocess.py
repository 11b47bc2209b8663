"""Run a function in a process of its own, which is ended when its time is over, whatever it is doing."""

import faulthandler
import math
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LONGEST = 86_400.0
"""The longest time that a process may be given, in seconds: a day."""

_LATER = 10.0
"""How many seconds after its own end a process is ended from outside."""


def in_own_process(
    function: Callable[..., Any], *arguments: Any, seconds: float, file: str | Path | None = None
) -> Any:
    """Return what a function of a module returns; it and its arguments must be such that pickle takes them.

    A loop that never ends is stopped also where it runs in compiled code, which no signal interrupts. Except
    on Windows, the processes that it started are ended with it.

    Args:
        function: called with `arguments`, in a new process.
        seconds: the time that it has, from when the process has started and imported what it needs.
        file: a Python file; the error says in which line of it the process was, or that it was not there.

    Raises:
        ValueError: if `seconds` is not above 0, or above `LONGEST`.
        TimeoutError: if the time is over.
        RuntimeError: if the process ended without a result: it crashed, or called `os._exit`.
    """
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"the time must be above 0 seconds, at most {LONGEST:.0f}, got {seconds:g}")
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder, receiver:
        where = Path(folder) / "where.txt"
        where.touch()
        process = spawn.Process(target=_work, args=(sender, str(where), seconds, function, arguments))
        sys.stdout.flush()
        process.start()
        sender.close()
        try:
            if _answers(receiver, process, math.inf):
                receiver.recv()  # it has begun
                if _answers(receiver, process, seconds + _LATER):
                    return receiver.recv()
        except (EOFError, BrokenPipeError):
            pass
        finally:
            process.join(1.0)
            ended = not process.is_alive()
            _end(process)
        stack = where.read_text(encoding="utf-8", errors="replace")
        if stack or not ended:
            place = _place(stack, file)
            why = "does a loop never end?" if place or file is None else f"it was not in {Path(file).name}"
            raise TimeoutError(f"stopped after {seconds:g} seconds{place}: {why}")
        raise RuntimeError(f"the process that ran it ended without a result ({_ending(process.exitcode)})")


def _answers(receiver: Connection, process: BaseProcess, seconds: float) -> bool:
    """Return whether there is something to receive before the process or the time ends."""
    end = time.monotonic() + seconds
    while process.is_alive() and (left := end - time.monotonic()) > 0:
        # A process that it forked keeps both open when it has ended, so is_alive is asked again.
        if receiver in wait([receiver, process.sentinel], min(left, 0.5)):
            return True
    return receiver.poll()


def _end(process: BaseProcess) -> None:
    """End a process and those that it started, which are in its group."""
    if sys.platform != "win32" and process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):  # there is no such group, or it has ended
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _work(
    sender: Connection, where: str, seconds: float, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if sys.platform != "win32":
        os.setsid()
    sender.send("begun")
    with open(where, "w", encoding="utf-8") as stacks:
        faulthandler.dump_traceback_later(seconds, exit=True, file=stacks)
        result = function(*arguments)
        faulthandler.cancel_dump_traceback_later()
    sys.stdout.flush()
    sender.send(result)


def _place(stacks: str, file: str | Path | None) -> str:
    """Return the function and line in which the process was; those in `file`, or "" if it was not there."""
    frames = re.findall(r'File "(.*)", line (\d+) in (.*)', stacks)
    frames = [frame for frame in frames if file is None or Path(frame[0]).name == Path(file).name]
    if not frames:
        return ""
    name, line, function = frames[0]
    within = "" if function == "<module>" else f" in {function}"
    return f"{within} ({Path(name).name}, line {line})"


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"status {status}"
