"""Read a derivation: what a module's docstring says of its symbols and of the paths of its gradient.

"In the code: m mean, r rstd" gives the symbols of names in the code. The lines "straight …" and "through m …"
are the paths, each with its contribution in the last column. A file of several ops says which contribution is
whose: "y·dy in softmax, dy in log_softmax".
"""

import re
import sys

_PATH = re.compile(r"^ +(straight|through (?:every )?[^\s,]+) {2,}(\S.*)$", re.MULTILINE)
_PAIR = re.compile(r"\s*(\S+)\s+(\w+)\s*")
_OF_OP = re.compile(r"(\S[^,]*?) in ([a-z]\w*)(?:, |$)")


def symbols_of(module: str) -> dict[str, str]:
    """Return the symbols of the derivation in a module, by the names that the code gives them."""
    found = re.search(r"In the code: (.*?)(?:\.\s|\.?\n\n|\Z)", _docstring(module), re.DOTALL)
    parts = re.split(r"[,;]\s", found[1]) if found else []
    pairs = [_PAIR.fullmatch(part.removesuffix(".")) for part in parts]
    return {pair[2]: pair[1] for pair in pairs if pair}


def paths_of(module: str, op: str) -> dict[str, str]:
    """Return the paths that the derivation in a module names, each with its contribution for the op."""
    paths = {label: re.split(r" {2,}", rest)[-1] for label, rest in _PATH.findall(_docstring(module))}
    return {label: _of_op(text, op) for label, text in paths.items()}


def _of_op(text: str, op: str) -> str:
    return next((formula for formula, name in _OF_OP.findall(text) if name == op), text)


def _docstring(module: str) -> str:
    return getattr(sys.modules.get(module), "__doc__", None) or ""
