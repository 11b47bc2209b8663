"""Processes that `mpiexec` starts, where this machine has it, and mpi4py."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

_beside = Path(sys.executable).with_name("mpiexec")
_MPIEXEC = str(_beside) if _beside.exists() else shutil.which("mpiexec")
MISSING = (
    None
    if _MPIEXEC and find_spec("mpi4py")
    else "several processes need MPI: pip install 'tinygrad_norm[test]'"
)
SECONDS = 240


@contextmanager
def started(size, *command):
    """The running `mpiexec -n size command`, in a process group of its own; it ends with the body.

    It is killed after SECONDS, so that nobody waits forever for what it prints.
    """
    process = subprocess.Popen(
        [_MPIEXEC, "-n", str(size), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    watchdog = threading.Timer(SECONDS, process.kill)  # its processes end when they notice
    watchdog.start()
    with process:
        try:
            yield process
        finally:
            watchdog.cancel()
            if process.poll() is None:
                process.terminate()  # mpiexec ends its processes then
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def mpiexec(size, *command):
    """What `mpiexec -n size command` returns, with its stdout and stderr."""
    with started(size, *command) as process:
        return finished(process)


def finished(process):
    """What `process`, which `started` yields, returns when it ends."""
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
