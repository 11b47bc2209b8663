"""Check output files named on the command line, before the work starts."""

from importlib.util import find_spec
from pathlib import Path

import typer

from ..files import check_folder

PLOT_SUFFIXES = (".png", ".svg")


def new_file(path: Path | None) -> Path | None:
    """Return `path` if a file can be written there; its folder must exist.

    Raises:
        typer.BadParameter: if `path` is a folder, a device or a pipe, or its folder does not exist or is not
            writable.
    """
    if path is None:
        return None
    try:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: pass the path of a file")
        if path.exists() and not path.is_file():
            raise typer.BadParameter(f"{path} is a device or a pipe: pass the path of a file")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"{path.parent} is not a folder: create it first, or choose another")
        check_folder(path.parent)
    except OSError as error:
        raise typer.BadParameter(str(error)) from None
    return path


def new_plot(path: Path | None) -> Path | None:
    """Return `path` if a PNG or SVG can be plotted and written there.

    Raises:
        typer.BadParameter: as in `new_file`; if the suffix is another; if matplotlib is not installed.
    """
    if path is None:
        return None
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise typer.BadParameter(f"{path} must end in {' or '.join(PLOT_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise typer.BadParameter("plots need matplotlib: pip install 'tinygrad_norm[plot]'")
    return new_file(path)
