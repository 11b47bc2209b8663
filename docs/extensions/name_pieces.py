"""Where a long name, such as FilterResponseNorm, may go on in the next line."""

import re

_LONG = re.compile(r"[A-Za-z]{15,}")
_BEFORE_A_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def pieces(words: str) -> list[str]:
    """Return a text in pieces between which a line may end, besides at spaces."""
    marked = _LONG.sub(lambda name: _BEFORE_A_CAPITAL.sub("\0", name[0]), words)
    return marked.split("\0")
