"""What made a figure: the version of this package, its commit and the libraries that compute."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..backends.cpu.loops import version_on_cpu


@cache
def own_version() -> str:
    """Return the version of the installed package, "unknown" if it runs without an installation."""
    try:
        return version("tinygrad_norm")
    except PackageNotFoundError:
        return "unknown"


@cache
def own_commit() -> str | None:
    """Return the commit of the checkout that runs, with "-dirty" if files are changed; None if unknown."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def made_by() -> dict[str, str | None]:
    """Return what computes here: figures agree to the last digit only if all of it does."""
    return {
        "version": own_version(),
        "commit": own_commit(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "kernels": version_on_cpu(),
        "machine": platform.machine(),
    }
