"""Load a dataset by name."""

from pathlib import Path

from ..suggestions import unknown
from .dataset import Dataset
from .digits import load_digits
from .idx import load_idx

SOURCES = ("digits", "idx")


def load(name: str, folder: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Return the dataset called `name`: "digits", or "idx" for the IDX files in `folder`.

    Pixels are not scaled: scale them with `Dataset.scaled`. `seed` determines the split.

    Raises:
        ValueError: if the name is unknown, a folder is missing or not needed, or the folder has no data.
        RuntimeError: if a package is not installed; the message says what to install.
    """
    if name not in SOURCES:
        raise ValueError(unknown("dataset", str(name), SOURCES))
    if name == "idx":
        if folder is None:
            raise ValueError("the dataset 'idx' is read from a folder of IDX files: pass it as folder=...")
        return load_idx(folder, seed)
    if folder is not None:
        raise ValueError(
            f"the digits are part of scikit-learn, not read from a folder: to read {folder}, use 'idx'"
        )
    return load_digits(seed)
