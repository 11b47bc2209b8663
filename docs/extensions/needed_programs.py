"""The programs that the build needs: if one of them is missing, it ends with one line before it begins."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_NODE = "Node.js 18 or newer with npm (`apt install nodejs npm`, `brew install node`)"
PROGRAMS = {
    "node": ("it makes the formulas", _NODE),
    "npm": ("it fetches the fonts of the formulas", _NODE),
    "g++": ("course/8-cuda.md compiles a kernel", "it (`apt install g++`, `xcode-select --install`)"),
}
"""By program: why it is needed, and what to install."""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def setup(_app: Sphinx) -> dict[str, bool]:
    """Register the extension; the build ends here if a program is missing.

    Raises:
        SystemExit: Sphinx passes it on, where for other errors it asks for a report to its developers.
    """
    for program in missing():
        reason, remedy = PROGRAMS[program]
        sys.exit(f"the site needs {program}, which is not installed ({reason}): install {remedy}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
