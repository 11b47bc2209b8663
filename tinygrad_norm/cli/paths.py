"""Files named on the command line: what cannot be written is refused before the work, not behind it."""

from importlib.util import find_spec
from pathlib import Path

import typer

from ..files import check_folder

PICTURES = (".png", ".svg")


def new_file(path: Path | None) -> Path | None:
    """Return `path` if a file can be written there; its folder must exist.

    Raises:
        typer.BadParameter: for a folder, and for a file in a folder that is missing or takes none.
    """
    if path is None:
        return None
    try:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: name a file")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"{path} is in no folder: make {path.parent} first, or name another")
        check_folder(path.parent)
    except OSError as error:
        raise typer.BadParameter(str(error)) from None
    return path


def new_picture(path: Path | None) -> Path | None:
    """Return `path` if a PNG or SVG can be written there, and drawn.

    Raises:
        typer.BadParameter: as `new_file`, for another suffix, and without matplotlib.
    """
    if path is None:
        return None
    if path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"{path} must end in {' or '.join(PICTURES)}")
    if find_spec("matplotlib") is None:
        raise typer.BadParameter("pictures need matplotlib: pip install 'tinygrad_norm[plot]'")
    return new_file(path)
