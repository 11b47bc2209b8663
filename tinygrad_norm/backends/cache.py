"""The directory in which compiled kernels are kept between runs."""

import os
import sys
from pathlib import Path


def cache_directory(part: str) -> Path:
    """Return the directory `part` in TINYGRAD_NORM_CACHE, or else in the user's cache directory."""
    chosen = os.environ.get("TINYGRAD_NORM_CACHE")
    if chosen:
        return Path(chosen) / part
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/tinygrad_norm" / part
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_norm" / part
