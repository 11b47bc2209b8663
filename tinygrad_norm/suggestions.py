"""Error messages for an unknown name."""

from collections.abc import Collection
from difflib import get_close_matches


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Return a message that lists the known names and suggests the one closest to `name`."""
    return f"unknown {what} {name!r}: choose one of {', '.join(known)}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return " (did you mean …?)" with the name in `known` closest to `name`, or "" if none is close."""
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
