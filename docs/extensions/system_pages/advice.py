"""When to use a system, and what catches people out: `docs/advice.toml`."""

import functools
import tomllib
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parents[2] / "advice.toml"


class Advice(NamedTuple):
    """Some sentences for each of the two questions."""

    when: str
    traps: str


@functools.cache
def advice() -> dict[str, Advice]:
    """Return all advice, by the name of the op.

    Raises:
        ValueError: if an entry has other keys than `when` and `traps`.
    """
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for name, entry in entries.items():
        if set(entry) != set(Advice._fields) or not all(isinstance(words, str) for words in entry.values()):
            raise ValueError(
                f"advice.toml: {name} needs the texts `when` and `traps`, got {', '.join(entry)}"
            )
    return {name: Advice(**entry) for name, entry in entries.items()}
