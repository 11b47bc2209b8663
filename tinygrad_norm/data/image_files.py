"""Read PNG, JPEG and other image files with Pillow, as bytes.

The orientation that a camera notes (EXIF) is applied. Transparent pixels are laid on white. 16 bits per pixel
become 8. Of an animation, the first image counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from ..ops.arguments import as_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def load_image(path: str | Path, *, channels: int | None = None, size: int | None = None) -> numpy.ndarray:
    """Return the image in a file, (C, H, W), uint8.

    Args:
        path: a file that Pillow can read.
        channels: 1 for grey, 3 for RGB. By default 1 for an image stored in grey, else 3.
        size: the height and width to which it is scaled; what does not fit a square is cut off on both sides.

    Raises:
        TypeError: if size is not an int.
        ValueError: if the file is missing or damaged, or is not an image.
        RuntimeError: if Pillow is not installed.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    if size is not None:
        as_size(size, "size")
    path, modules = Path(path).expanduser(), _pillow()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with modules[0].open(path) as image:
            return _as_array(image, modules, channels, size)
    except modules[0].UnidentifiedImageError:
        raise ValueError(
            f"{path} is not an image, or is damaged: remove the file, or save it again"
        ) from None
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise ValueError(f"{path} is a damaged image ({error}): remove the file, or save it again") from None


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise RuntimeError(
            "images are read with Pillow, which is not installed: pip install 'tinygrad_norm[images]'"
        ) from error
    return Image, ImageOps


def _as_array(image: Any, modules: Any, channels: int | None, size: int | None) -> numpy.ndarray:
    Image, ImageOps = modules
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, or 32 of which 16 are used
        image = Image.fromarray((numpy.asarray(image) >> 8).clip(0, 255).astype(numpy.uint8))
    grey = image.mode in ("1", "L", "LA", "F")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 or (channels is None and grey) else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size))
    pixels = numpy.asarray(image)
    return numpy.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))
