"""Local contrast on scikit-learn's two sample images, with and without a shadow over their left half.

Subtractive normalization takes off the brightness of each neighbourhood, divisive normalization its strength;
local contrast is both. A shadow divides brightness and contrast by 5, so only its edge is left. That is, if
the least divisor is small: with the mean deviation as floor, as in the paper, what is flat stays so, smooth
sky and shadow alike. Prints how far the shadow moves each picture, away from its edge, in deviations of the
picture; draws all to local_contrast.png. A few seconds on one core.

    python examples/local_contrast.py [--out local_contrast.png]
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.files import replacing

WINDOW, EDGE, SHADOW = 15, 14, 0.2
LAYERS = {
    "as it is": nn.Identity(),
    "subtractive": nn.SubtractiveNorm2d(3, WINDOW),
    "divisive": nn.DivisiveNorm2d(3, WINDOW, eps=0.01, mean_floor=False),
    "local contrast": nn.LocalContrastNorm2d(3, WINDOW, eps=0.01, mean_floor=False),
    "local contrast,\nfloor at the mean": nn.LocalContrastNorm2d(3, WINDOW),
}


def load_images():
    from sklearn.datasets import load_sample_image

    pictures = (load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    halves = (p[:416].reshape(208, 2, 320, 2, 3).mean((1, 3)) / 255.0 for p in pictures)
    return [tn.tensor(half.transpose(2, 0, 1)[None].astype("float32")) for half in halves]


def distance(shaded, plain):
    """Return the root mean square of the difference, away from the edge of the shadow, in deviations."""
    far = abs(np.arange(plain.shape[3]) - plain.shape[3] / 2 + 0.5) > EDGE
    a, b = (y.numpy()[..., far] for y in (shaded, plain))
    return np.sqrt(((a - b) ** 2).mean() / ((b - b.mean()) ** 2).mean())


def draw(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained", dpi=100)
    grid = figure.subplots(len(rows), len(LAYERS))
    for axes, title in zip(grid[0], LAYERS, strict=True):
        axes.set_title(title)
    for pictures, line in zip(rows, grid, strict=True):
        for y, axes in zip(pictures.values(), line, strict=True):
            picture = y.numpy()[0].transpose(1, 2, 0)
            low, high = np.quantile(picture, [0.01, 0.99])
            axes.imshow(((picture - low) / (high - low)).clip(0, 1))
            axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("local_contrast.png"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    for package, extra in (("matplotlib", "plot"), ("sklearn", "data"), ("PIL", "images")):
        if find_spec(package) is None:
            parser.error(f"this needs {package}: pip install 'tinygrad_norm[{extra}]'")
    rows, found = [], {}
    for name, image in zip(("temple", "flower"), load_images(), strict=True):
        shadow = np.where(np.arange(image.shape[3]) < image.shape[3] // 2, SHADOW, 1).astype("float32")
        shaded = image * tn.tensor(shadow)
        rows += [{title: layer(x) for title, layer in LAYERS.items()} for x in (image, shaded)]
        for title in LAYERS:
            found[name, title] = distance(rows[-1][title], rows[-2][title])
            print(f"{name}, {' '.join(title.split())}: the shadow moves it by {found[name, title]:.2f}")
    draw(rows, options.out)
    print(f"picture in {options.out}")
    return found


if __name__ == "__main__":
    main()
