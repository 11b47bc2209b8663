"""The files that a benchmark writes: its figures as JSON, and a plot."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from ..files import replacing


def save(path: Path | None, facts: Mapping[str, str], rows: Sequence[Any], **more: Any) -> None:
    """Write the rows, the environment and `more` to `path`, if it is given."""
    if path is not None:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        saved = {"date": date, "environment": facts, "rows": [plain(row) for row in rows], **more}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")


def write(path: Path | None, facts: Mapping[str, str], rows: Sequence[Any], **more: Any) -> None:
    """Write them, and print where they are."""
    if path is not None:
        save(path, facts, rows, **more)
        typer.echo(f"figures in {path}")


def plain(row: Any) -> dict[str, Any]:
    """Return the fields and the properties of a dataclass."""
    derived = [name for name, value in vars(type(row)).items() if isinstance(value, property)]
    return {**dataclasses.asdict(row), **{name: getattr(row, name) for name in derived}}


def draw(path: Path | None, draw_to: Callable[[Path], None]) -> None:
    """Draw the plot, if `path` is given, and print where it is."""
    if path is not None:
        draw_to(path)
        typer.echo(f"plot in {path}")
