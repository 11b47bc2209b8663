"""The file of a watched training: CSV with one value per line, as step, layer, quantity, value."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from ..files import replacing

Row = tuple[int, str, str, float]
"""The step, from 1; the name of the layer or parameter; the quantity; its value."""

COLUMNS = ["step", "layer", "quantity", "value"]
QUANTITIES = (
    "activation_mean",
    "activation_std",
    "unit_std",
    "dead",
    "mean_distance",
    "var_ratio",
    "activation_grad",
    "grad",
    "update_ratio",
)


def save_stats(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, with six digits for each value."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((step, layer, quantity, f"{value:.6g}") for step, layer, quantity, value in rows)


def read_stats(path: Path) -> list[Row]:
    """Return the rows that `save_stats` wrote; [] if there is no file.

    Raises:
        ValueError: if it is another file.
        OSError: if it cannot be read.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            if next(lines, None) != COLUMNS:
                raise ValueError("its first line is another one")
            return [
                (int(step), sys.intern(layer), sys.intern(quantity), float(value))
                for step, layer, quantity, value in lines
            ]
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a file of watched layers, with the columns {', '.join(COLUMNS)} ({error}): "
            "move it away, or choose another folder"
        ) from None
