"""Progress: on a terminal, a long check says on stderr how far it is."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

QUIET, PAUSE = 5.0, 2.0  # seconds until the first line, and between two


def reporting(entries: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yield `entries`, of which there are `count`; the line on stderr says how many are done.

    It is written if the loop takes longer than `QUIET` seconds and stderr is a terminal.
    """
    start = time.monotonic()
    due = start + QUIET if sys.stderr.isatty() else float("inf")
    written = False
    try:
        for done, entry in enumerate(entries):
            now = time.monotonic()
            if now >= due:
                left = (now - start) / done * (count - done) if done else 0.0
                line = f"gradcheck: {what}: {done:,} of {count:,} entries, {left:,.0f} s to go; "
                print(f"\r{line}fast_mode=True takes one", end="", file=sys.stderr, flush=True)
                due, written = now + PAUSE, True
            yield entry
    finally:
        if written:
            print(file=sys.stderr)
