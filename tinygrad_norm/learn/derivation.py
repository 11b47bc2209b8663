"""Read a derivation: what a module's docstring says of its symbols and of the paths of its gradient.

"In the code: m mean, r rstd" gives the symbols of names in the code. The lines "straight …" and "through m …"
are the paths, each with its contribution in the last column.
"""

import re
import sys

_PATH = re.compile(r"^ +(straight|through (?:every )?[^\s,]+) {2,}(\S.*)$", re.MULTILINE)
_PAIR = re.compile(r"\s*(\S+)\s+(\w+)\s*")


def symbols_of(module: str) -> dict[str, str]:
    """Return the symbols of the derivation in a module, by the names that the code gives them."""
    found = re.search(r"In the code: (.*?)(?:\.\s|\.?\n\n|\Z)", _docstring(module), re.DOTALL)
    parts = re.split(r"[,;]\s", found[1]) if found else []
    pairs = [_PAIR.fullmatch(part.removesuffix(".")) for part in parts]
    return {pair[2]: pair[1] for pair in pairs if pair}


def paths_of(module: str) -> dict[str, str]:
    """Return the paths that the derivation in a module names, each with its contribution."""
    return {label: re.split(r" {2,}", rest)[-1] for label, rest in _PATH.findall(_docstring(module))}


def _docstring(module: str) -> str:
    return getattr(sys.modules.get(module), "__doc__", None) or ""
