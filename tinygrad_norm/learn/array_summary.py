"""Summarize an array in one line or a few, short enough for a picture.

Small arrays are printed in rows along their last axis; for large ones, mean ± standard deviation and range.
"""

import itertools
import math
import unicodedata
from collections.abc import Sequence

import numpy

from ..backends import Array, to_numpy

_MAX_ROWS, _MAX_COLUMNS = 4, 5


def summarize(x: Array) -> list[str]:
    """Return the values of `x` as lines of text: all of them if they are few, else their statistics."""
    return summarize_all([x])[0]


def summarize_all(arrays: Sequence[Array]) -> list[list[str]]:
    """Summarize arrays of one shape; if they are small, their columns are as wide as each other's."""
    tables = [_rows_of(to_numpy(x)) for x in arrays]
    if _fits(tables[0]):
        return _in_columns([_cells(rows) for rows in tables])
    return [[_statistics(rows) if rows.size else "empty"] for rows in tables]


def table_of(arrays: Sequence[Array]) -> list[list[str]] | None:
    """Return the rows of several arrays of one shape, with as many decimals; None if they are too large."""
    tables = [_rows_of(to_numpy(x)) for x in arrays]
    if not tables or not _fits(tables[0]):
        return None
    cells = _cells(numpy.concatenate(tables))
    count = len(tables[0])
    return _in_columns([cells[i : i + count] for i in range(0, len(cells), count)])


def _rows_of(values: numpy.ndarray) -> numpy.ndarray:
    return values.reshape(-1, values.shape[-1] if values.ndim and values.size else 1)


def _fits(rows: numpy.ndarray) -> bool:
    return rows.size > 0 and rows.shape[0] <= _MAX_ROWS and rows.shape[1] <= _MAX_COLUMNS


def columns(text: str) -> int:
    """Return how many columns a text takes: the circumflex of x̂ takes none."""
    return sum(not unicodedata.combining(character) for character in text)


def aligned(texts: Sequence[str]) -> list[str]:
    """Return the texts with spaces behind, so that all are as wide as the widest."""
    widest = max(map(columns, texts))
    return [text + " " * (widest - columns(text)) for text in texts]


def format_number(value: float) -> str:
    """Return a number with three significant digits: 0.5, 12, 1e-05."""
    return str(value) if isinstance(value, bool | int) else f"{value:.3g}"


def _in_columns(tables: Sequence[list[list[str]]]) -> list[list[str]]:
    columns_of_all = zip(*itertools.chain.from_iterable(tables), strict=True)
    widths = [max(map(len, column)) for column in columns_of_all]
    return [
        ["  ".join(text.rjust(n) for text, n in zip(row, widths, strict=True)) for row in rows]
        for rows in tables
    ]


def _cells(rows: numpy.ndarray) -> list[list[str]]:
    if rows.dtype.kind != "f":
        return [[str(value) for value in row] for row in rows.tolist()]
    finite = numpy.abs(rows[numpy.isfinite(rows)].astype(numpy.float64))
    largest = finite.max(initial=0.0)
    fixed = 1e-3 <= largest < 1e5
    decimals = max(0, min(3, 3 - math.floor(math.log10(largest)))) if fixed else 0
    return [[_cell(value, fixed, decimals) for value in row] for row in rows.tolist()]


def _cell(value: float, fixed: bool, decimals: int) -> str:
    if value == 0:
        return "0"
    if not fixed or not math.isfinite(value):
        return f"{value:.2e}" if math.isfinite(value) else str(value)
    text = f"{value:.{decimals}f}"
    return text if float(text) != 0 else f"{value:.1g}"  # a nonzero value is never shown as zero


def _statistics(values: numpy.ndarray) -> str:
    if values.dtype.kind == "b":
        return f"{int(values.sum())} of {values.size} True"
    if values.dtype.kind != "f":
        return f"{values.min()} … {values.max()}"
    finite = values[numpy.isfinite(values)]
    parts = []
    if finite.size:
        mean, std, low, high = _cells(_moments(finite))[0]
        place = "everywhere" if finite.size == values.size else "elsewhere"
        parts.append(f"{low} {place}" if low == high else f"{mean} ± {std}  {low} … {high}")
    counts = {"NaN": numpy.isnan(values).sum(), "inf": numpy.isinf(values).sum()}
    return "  ".join(parts + [f"{count} {name}" for name, count in counts.items() if count])


def _moments(finite: numpy.ndarray) -> numpy.ndarray:
    low, high = float(finite.min()), float(finite.max())
    largest = max(-low, high, 0.0)
    scaled = finite.astype(numpy.float64) / (largest or 1.0)  # so that no square overflows
    mean, std = scaled.mean(), scaled.std()
    if abs(mean) < 8 * numpy.finfo(finite.dtype).eps:  # nonzero only through rounding
        mean = 0.0
    return numpy.array([[mean * largest, std * largest, low, high]])
