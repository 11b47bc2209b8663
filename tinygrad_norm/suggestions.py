"""What to answer to a name that is not known."""

from collections.abc import Collection
from difflib import get_close_matches


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Return a message that lists what is known, and says which of it looks like `name`."""
    return f"unknown {what} {name!r}: choose one of {', '.join(known)}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a question after the name in `known` that looks like `name`, in brackets; or nothing."""
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
