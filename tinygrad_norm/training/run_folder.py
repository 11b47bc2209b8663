"""The folder of a run: one process at a time writes to it, and what a killed one left is removed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..files import locked, remove_partial

RUN_FILES = (
    "config.json",
    "checkpoint.safetensors",
    "metrics.csv",
    "model.safetensors",
    "scaler.safetensors",
    "curves.png",
    "results.json",
    "stats.csv",
    "stats.png",
)
"""The files in the folder of a run."""
GRID_FILES = ("grid.json", "results.csv", "curves.png")
"""The files in the folder of several runs."""


@contextmanager
def own_folder(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Make `folder`, lock it, and remove the temporary files that a killed process left for `names`.

    Raises:
        FolderInUse: if another process writes to the folder; a ValueError.
        OSError: if the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot create the folder {folder}: {error.strerror}") from None
    with locked(folder):
        remove_partial(folder, names)
        yield


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make `folder`, or folder-2, folder-3, … if it exists, and yield it; an error in the body removes it.

    No other process gets the same folder.

    Raises:
        OSError: if the folder cannot be created.
    """
    for number in count(1):
        made = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            made.mkdir(parents=True)
            break
        except FileExistsError:
            if not made.exists():  # a file is in the way further up
                raise OSError(f"cannot create the folder {made}: {made.parent} is a file") from None
        except OSError as error:
            raise OSError(f"cannot create the folder {made}: {error.strerror}") from None
    try:
        yield made
    except BaseException:
        with suppress(OSError):  # it has files already
            made.rmdir()
            made.parent.rmdir()
        raise


def remedy(folder: Path) -> str:
    """Return what can be done about a file of the run in `folder` that is missing or damaged."""
    if (folder / "checkpoint.safetensors").is_file():
        return f"tinygrad-norm train --resume {folder} writes it again"
    return f"{folder} has no checkpoint to write it from: train a new run in another folder"


def has_only_begun(folder: Path) -> bool:
    """Return whether a run in `folder` was killed before its first checkpoint."""
    return (folder / "config.json").exists() and not (folder / "model.safetensors").exists()
