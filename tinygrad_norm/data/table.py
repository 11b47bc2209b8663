"""A dataset from a table in a text file: CSV, with a header."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy

from ..suggestions import unknown
from .arrays import from_arrays
from .dataset import Dataset

LABEL_NAMES, TARGET_NAMES = ("label", "class"), ("target", "y")
DELIMITERS = ",;\t"


def load_csv(
    path: str | Path, *, label: str | None = None, target: str | None = None, seed: int = 0
) -> Dataset:
    """Return the dataset in a CSV file: a header, then one sample per line, every feature a number.

    The column `label` holds the classes (text or numbers, which are numbered in order), or the column
    `target` the values to predict (regression). If neither is given, a column called label or class, or
    target or y, is used. All other columns are features. Columns are separated by commas, semicolons or
    tabs, whichever the header has most of. Empty lines are skipped.

    Raises:
        ValueError: if the file is missing or is not a table, a column is missing or occurs twice, a line
            has too few or too many cells, a cell is empty or not a number, or a class has too few samples.
    """
    path = Path(path).expanduser()
    header, rows, lines = _read(path)
    column, is_label = _choose(path, header, label, target)
    place = header.index(column)
    features = [i for i in range(len(header)) if i != place]
    cells = list(zip(*rows, strict=True))
    x = numpy.column_stack([_numbers(path, header[i], cells[i], lines) for i in features])
    y, names = None, None
    if is_label:
        y, names = _classes(path, column, cells[place], lines)
    else:
        hint = f"for classes, pass the column as label (--label {shlex.quote(column)})"
        y = _numbers(path, column, cells[place], lines, hint)
    try:
        dataset = from_arrays(x, y, classes=names, name=str(path), seed=seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return replace(dataset, features=tuple(header[i] for i in features))


def read_features(path: str | Path, features: Sequence[str]) -> numpy.ndarray:
    """Return the numbers (N, D) in the columns `features` of a CSV file, in this order; others are ignored.

    Raises:
        ValueError: if a column is missing; otherwise as in `load_csv`.
    """
    path = Path(path).expanduser()
    header, rows, lines = _read(path)
    if missing := [name for name in features if name not in header]:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}, a feature in the training: its columns "
            f"are {', '.join(header)}"
        )
    cells = list(zip(*rows, strict=True))
    places = [header.index(name) for name in features]
    return numpy.column_stack([_numbers(path, header[i], cells[i], lines) for i in places])


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the names of the columns, the rows, and the line on which each row ends."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            for row in reader:
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{path} has {len(row)} cells in line {reader.line_num}, but the header has "
                        f"{len(header)} columns"
                    )
                rows.append(row)
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable table: line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path} has a header but no samples")
    return header, rows, lines


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise ValueError(
            f"{path} is empty, or its first line is: a header with the names of the columns is required"
        )
    for i, name in enumerate(header):
        if not name:
            raise ValueError(f"{path} has no name for column {i + 1} in the header")
        if (first := header.index(name)) < i:
            raise ValueError(f"{path} has two columns called {name!r}: columns {first + 1} and {i + 1}")
    if len(header) == 1:
        raise ValueError(
            f"{path} has one column, {header[0]!r}: features and a column to predict are needed, separated "
            "by commas, semicolons or tabs"
        )
    if all(map(_is_number, header)):
        raise ValueError(
            f"{path} has no header: its first line holds only numbers. Add a line with the names of the "
            "columns"
        )


def _choose(path: Path, header: list[str], label: str | None, target: str | None) -> tuple[str, bool]:
    """Return the column to predict, and whether it holds classes."""
    if label is not None and target is not None:
        raise ValueError(
            f"label {label!r} and target {target!r}: give one, for classification or for regression"
        )
    given = label if target is None else target
    if given is not None:
        if given not in header:
            raise ValueError(f"{path}: {unknown('column', given, header)}")
        return given, target is None
    found = [name for name in header if name.lower() in (*LABEL_NAMES, *TARGET_NAMES)]
    if len(found) == 1:
        return found[0], found[0].lower() in LABEL_NAMES
    problem = (
        f"the columns {' and '.join(found)} could each be"
        if found
        else f"no column is called {' or '.join(LABEL_NAMES)} (classes), or {' or '.join(TARGET_NAMES)} "
        "(values), as"
    )
    raise ValueError(
        f"{path}: {problem} what is to be predicted. Name it: label (--label) for classes, target "
        f"(--target) for regression. The columns are {', '.join(header)}"
    )


def _numbers(
    path: Path,
    column: str,
    cells: Sequence[str],
    lines: list[int],
    if_words: str = "convert categories to numbers, or leave the column out",
) -> numpy.ndarray:
    """Return the numbers in a column (N,), float64; the error of a cell with a word advises `if_words`."""
    try:
        if any("_" in cell for cell in cells):
            raise ValueError("an underscore, which float() would skip")
        values = numpy.array(cells, numpy.float64)
    except ValueError:
        i = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        cell = cells[i].strip()
        what = f"{cell!r}, which is not a number" if cell else "an empty cell"
        hint = f": {if_words}" if cell else ""
        if _is_number(cell.replace(",", ".", 1)):
            hint = ": write a decimal point, not a comma"
        raise ValueError(f"{path} has {what}, in line {lines[i]}, column {column!r}{hint}") from None
    finite = numpy.isfinite(values)
    if not finite.all():
        i = int(numpy.flatnonzero(~finite)[0])
        raise ValueError(
            f"{path} has {cells[i].strip()} in line {lines[i]}, column {column!r}: replace or drop such "
            "samples first"
        )
    return values


def _classes(
    path: Path, column: str, cells: Sequence[str], lines: list[int]
) -> tuple[numpy.ndarray, tuple[str, ...]]:
    """Return the index of the class of each sample (N,), and the names of the classes, in order."""
    texts = [cell.strip() for cell in cells]
    for i, text in enumerate(texts):
        if text.lower() in ("", "nan"):
            what = "nan" if text else "an empty cell"
            raise ValueError(
                f"{path} has {what}, in line {lines[i]}, column {column!r}: each sample needs a class"
            )
    names = set(texts)
    numeric = all(map(_is_number, names))
    if numeric and len(names) > len(texts) / 3:
        raise ValueError(
            f"{path} has {len(names)} different values in {len(texts)} samples in column {column!r}: too "
            "many for "
            "classes, which need at least 3 samples each. For regression, name it as target (--target)"
        )
    order = sorted(names, key=lambda name: (float(name), name)) if numeric else sorted(names)
    index = {name: i for i, name in enumerate(order)}
    return numpy.array([index[text] for text in texts]), tuple(order)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which float() would skip: 1_0 would be 10
