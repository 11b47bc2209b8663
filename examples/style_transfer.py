"""AdaIN moves the style of one picture to another: scikit-learn's two sample images, a temple and a flower.

The features are fixed: the frequencies of patches, of 8×8, then 4×4 pixels, and then the colours of single
pixels. Adaptive instance normalization gives every channel of the content the mean and deviation that it has
in the style, and the same cosines lead back to pixels. Nothing is trained, so it moves colours, contrast and
the strength of textures, not brush strokes. Prints how far the statistics of the channels are from those of
the style, before and after; draws both directions to style_transfer.png. A few seconds on one core.

    python examples/style_transfer.py [--out style_transfer.png]
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.files import replacing
from tinygrad_norm.nn import functional as F

SIZES = (8, 4, 1)


class Frequencies(nn.Module):
    """The cosines of size×size patches in three colours: an orthogonal basis, so `back` inverts `forward`."""

    def __init__(self, size):
        super().__init__()
        k = np.arange(size)
        waves = (
            np.cos(np.pi / size * (k + 0.5) * k[:, None]) * np.sqrt(np.where(k == 0, 1, 2) / size)[:, None]
        )
        colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
        basis = np.einsum("oc,yi,xj->oyxcij", colours, waves, waves).reshape(-1, 3, size, size)
        self.size, self.basis = size, tn.tensor(basis.astype("float32"))

    def forward(self, images):
        return F.conv2d(images, self.basis, stride=self.size)

    def back(self, features):
        return F.conv_transpose2d(features, self.basis, stride=self.size)


@tn.no_grad()
def stylize(content, style):
    """Return the content (1, 3, H, W) with the statistics of the style."""
    normalize = nn.AdaIN()
    for size in SIZES:
        features = Frequencies(size)
        content = features.back(normalize(features(content), features(style)))
    return content


@tn.no_grad()
def distance(image, style):
    """Return the mean difference of the channels' means and deviations, in units of the style's deviation."""
    found = []
    for size in SIZES:
        a, b = (Frequencies(size)(picture).numpy()[0] for picture in (image, style))
        std = b.std((1, 2))
        found += [abs(a.mean((1, 2)) - b.mean((1, 2))) / std, abs(a.std((1, 2)) - std) / std]
    return np.mean([part.mean() for part in found])


def load_images():
    from sklearn.datasets import load_sample_image

    pictures = (load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    halves = (p[:416].reshape(208, 2, 320, 2, 3).mean((1, 3)) / 255.0 for p in pictures)
    return [tn.tensor(half.transpose(2, 0, 1)[None].astype("float32")) for half in halves]


def draw(images, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), layout="constrained", dpi=120)
    for (title, image), axes in zip(images.items(), figure.subplots(2, 2).flat, strict=True):
        axes.imshow(image.numpy()[0].transpose(1, 2, 0).clip(0, 1))
        axes.set_title(title)
        axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("style_transfer.png"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    for package, extra in (("matplotlib", "plot"), ("sklearn", "data"), ("PIL", "images")):
        if find_spec(package) is None:
            parser.error(f"this needs {package}: pip install 'tinygrad_norm[{extra}]'")
    temple, flower = load_images()
    images = {"temple": temple, "flower": flower}
    found = {}
    for content, style in (("temple", "flower"), ("flower", "temple")):
        title = f"{content} in the style of the {style}"
        images[title] = stylize(images[content], images[style])
        found[title] = [distance(images[name], images[style]) for name in (content, title)]
        print(
            f"{title}: statistics {found[title][0]:.2f} deviations away before, {found[title][1]:.2f} after"
        )
    draw(images, options.out)
    print(f"picture in {options.out}")
    return found


if __name__ == "__main__":
    main()
