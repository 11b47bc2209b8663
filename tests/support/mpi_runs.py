"""Processes that `mpiexec` starts, where this machine has it, and mpi4py."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_beside = Path(sys.executable).with_name("mpiexec")
_MPIEXEC = str(_beside) if _beside.exists() else shutil.which("mpiexec")
MISSING = (
    None
    if _MPIEXEC and find_spec("mpi4py")
    else "several processes need MPI: pip install 'tinygrad_norm[test]'"
)
SECONDS = 120


def mpiexec(size, *command):
    """What `mpiexec -n size command` returns, with its stdout and stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [_MPIEXEC, "-n", str(size), *command],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment,
    )
