"""`tinygrad-norm predict`: the predictions of a finished run for files."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy
import typer
from rich.console import Console
from rich.table import Table

from ..backends.cpu.threads import use_threads
from ..data import load_inputs
from ..training import FinishedRun, load_run
from .errors import errors_printed


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Images, folders of images, arrays (.npy, .npz) or tables (.csv) of inputs.",
        ),
    ],
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: for classes, with the probability of each.")
    ] = False,
) -> None:
    """Print what the model of RUN predicts for every image, array row or table row in FILES."""
    with errors_printed(), use_threads(1):
        finished = load_run(run)
        rows = list(_rows(finished, files))
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(_header(finished))
            writer.writerows(
                [name, *map(_number, values), *map(_number, rest)] for name, values, rest in rows
            )
            return
        table = Table("input", "prediction", *(["probability"] if finished.classes else []))
        for name, values, rest in rows:
            share = [f"{max(rest):.1%}"] if finished.classes else []
            table.add_row(
                name, "  ".join(str(v) if isinstance(v, str) else f"{v:.6g}" for v in values), *share
            )
        Console().print(table)


def _rows(run: FinishedRun, files: list[Path]) -> Iterator[tuple[str, list[str | float], list[float]]]:
    """Yield the name of every input, its prediction, and the probabilities of the classes."""
    if run.input_shape is None:
        raise ValueError(
            f"{run.folder} is a run on text: continue one with tn.training.load_run(...).generate"
        )
    for file in files:
        names, inputs = load_inputs(file, run.input_shape, size=run.config.size, features=run.features)
        if run.classes is None:
            for name, values in zip(names, run.predict(inputs).reshape(len(names), -1).tolist(), strict=True):
                yield name, values, []
        else:
            shares = run.predict_proba(inputs)
            for name, row, best in zip(names, shares.tolist(), shares.argmax(1), strict=True):
                yield name, [run.classes[best]], row


def _header(run: FinishedRun) -> list[str]:
    if run.classes is not None:
        return ["input", "prediction", *(f"probability {name}" for name in run.classes)]
    count = int(numpy.prod(run.target_shape))
    return ["input", *(["prediction"] if count == 1 else [f"prediction {k + 1}" for k in range(count)])]


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.9g}"
