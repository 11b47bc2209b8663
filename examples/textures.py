"""Make a folder of images by class, to train on as on images of your own: four textures, 32×32, in color.

    python examples/textures.py textures/
    tinygrad-norm train textures/ --model cnn

Stripes, checks, dots and blotches are light on dark, in random colors, directions, sizes and places, with
noise on every pixel. So no single pixel says anything about the class, and an mlp reads only half of the
images; convolutions, which see a few pixels together wherever they are, read nearly all.
"""

import argparse
import math
from pathlib import Path

import numpy as np

SIZE = 32
TEXTURES = ("blotches", "checks", "dots", "stripes")


def texture(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return one image (H, W, 3), uint8."""
    u, v = waves(rng)
    if name == "stripes":
        pattern = np.sin(u)
    elif name == "checks":
        pattern = 2 * np.sin(u) * np.sin(v)
    elif name == "dots":
        pattern = np.sin(u) + np.sin(v) - 0.8
    else:
        pattern = blotches(rng)
    weight = 1 / (1 + np.exp(-6 * pattern))[..., None]
    light, dark = rng.uniform(0.5, 1, 3), rng.uniform(0, 0.5, 3)
    image = weight * light + (1 - weight) * dark + rng.normal(0, 0.08, (SIZE, SIZE, 3))
    return (255 * image.clip(0, 1)).round().astype(np.uint8)


def waves(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the phases of two waves at right angles, each (H, W): of random direction, length and start."""
    angle, length = rng.uniform(0, math.pi), rng.uniform(5, 10)  # in pixels
    y, x = np.mgrid[:SIZE, :SIZE] * (2 * math.pi / length)
    start = rng.uniform(0, 2 * math.pi, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y + start[0], cos * y - sin * x + start[1]


def blotches(rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise (H, W): the sum of waves of random directions."""
    return sum(np.sin(waves(rng)[0]) for _ in range(12)) / math.sqrt(6)


def main(arguments: list[str] | None = None) -> None:
    """Write the images to FOLDER/TEXTURE/NUMBER.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument("--images", type=count, default=2000, help="the number of images (default: 2000)")
    options = parser.parse_args(arguments)
    try:
        from PIL import Image
    except ImportError:
        parser.error(
            "images are written with Pillow, which is not installed: pip install 'tinygrad_norm[images]'"
        )
    rng = np.random.default_rng(0)
    for name in TEXTURES:
        (options.folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(options.images):
        name = TEXTURES[i % len(TEXTURES)]
        Image.fromarray(texture(name, rng)).save(options.folder / name / f"{i:05}.png")
    print(f"{options.images} images of {len(TEXTURES)} textures in {options.folder}")


def count(text: str) -> int:
    """Return the number of images in `text`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
