"""Where datasets come from, by name."""

from pathlib import Path

from ..suggestions import unknown
from .dataset import Dataset
from .digits import load_digits
from .idx import load_idx

SOURCES = ("digits", "idx")


def load(name: str, folder: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Return the dataset called `name`: "digits", or "idx" for the IDX files in `folder`.

    Pixels have the values recorded: scale them with `Dataset.scaled`. `seed` decides the split.

    Raises:
        ValueError: for an unknown name, a folder not given or not wanted, or one without data.
        RuntimeError: where a package is missing, saying what to install.
    """
    if name not in SOURCES:
        raise ValueError(unknown("dataset", str(name), SOURCES))
    if name == "idx":
        if folder is None:
            raise ValueError("the dataset 'idx' is read from a folder of IDX files: name it with folder=...")
        return load_idx(folder, seed)
    if folder is not None:
        raise ValueError(f"the digits come with scikit-learn, not from a folder: for {folder} use 'idx'")
    return load_digits(seed)
