"""Runs the parts of a script, each in a process of its own: a crash or a hang does not stop the rest.

A part is a generator function of a machine, and runs within `machine.in_use()`. It yields a `Check`
for everything that it finds out. These are written to a file as they come: those before a crash are kept.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygrad_norm.cli.tables import print_line, wide_console, words_table


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what was expected; `right` is None if nothing was expected."""

    what: str
    found: str
    expected: str = ""
    right: bool | None = None


def at_most(what: str, found: float, limit: float) -> Check:
    """A number that must not be larger than `limit`, nor NaN."""
    return Check(what, f"{found:.3g}", f"at most {limit:g}", bool(found <= limit))


def equal(what: str, found: Any, expected: Any) -> Check:
    """A value that must be equal to another one."""
    return Check(what, str(found), str(expected), bool(found == expected))


Part = Callable[[Any], Iterable[Check]]


def checks_of(part: Part, machine: Any) -> Iterator[Check]:
    """Yield the checks of a part; one that raises ends with a check that failed."""
    try:
        with machine.in_use():
            yield from part(machine)
    except Exception as error:
        traceback.print_exc()
        yield Check("the part itself", f"{type(error).__name__}: {error}"[:600], "no error", False)


def run_here(part: Part, machine: Any, path: Path) -> None:
    """Run a part in this process, and write each check to `path` when it is made."""
    with open(path, "a", encoding="utf-8") as file:
        for check in checks_of(part, machine):
            file.write(json.dumps(asdict(check)) + "\n")
            file.flush()


def run_apart(command: Sequence[str], name: str, seconds: float) -> list[Check]:
    """Run `command NAME PATH`, which calls `run_here`, in a process of its own; return the part's checks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checks"
        path.touch()
        why = None
        try:
            ended = subprocess.run([*command, name, str(path)], timeout=seconds, stdout=sys.stderr).returncode
            if ended:
                why = f"the process ended with {ended}"
        except subprocess.TimeoutExpired:
            why = f"the process was still running after {seconds:g} s"
        checks = [Check(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return checks if why is None else [*checks, Check("the part itself", why, "to end by itself", False)]


def run_all(
    parts: Iterable[str], command: Sequence[str], path: Path | None, facts: Mapping[str, Any], seconds: float
) -> int:
    """Run the named parts; print one table; return how many checks failed.

    After every part, the checks so far are printed to stderr and written to `path`.
    """
    found: dict[str, list[Check]] = {}
    for name in parts:
        start = time.monotonic()
        found[name] = run_apart(command, name, seconds)
        took = f"{time.monotonic() - start:.1f} s"
        print(f"{name}: {_summary(found[name])}, {took}", file=sys.stderr, flush=True)
        if path is not None:
            _write(path, {**facts, "parts": {n: [asdict(check) for check in c] for n, c in found.items()}})
    console = wide_console()
    rows = [
        (name, check.what, check.found, check.expected, _mark(check))
        for name, checks in found.items()
        for check in checks
    ]
    console.print(words_table(console, ("part", "what", "found", "expected", ""), rows))
    failed = sum(check.right is False for checks in found.values() for check in checks)
    print_line(console, f"{failed} of {len(rows)} checks failed" if failed else "no check failed")
    return failed


def _summary(checks: Sequence[Check]) -> str:
    failed = [check for check in checks if check.right is False]
    return f"{len(failed)} of {len(checks)} failed, {failed[0].what}" if failed else f"{len(checks)} checks"


def _mark(check: Check) -> str:
    return "" if check.right is None else "ok" if check.right else "FAILED"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(scratch, path)
