"""Which scaling makes photos in another light look alike? Nearest neighbours, without any training.

Each test image of scikit-learn's digits is taken for the digit of its nearest training image. The test images
are darker, each by a factor of its own. Scaling per feature (min-max, standardization) is fitted on the
training images, so it cannot know the factor; scaling per image removes it, and so does dividing each image,
as one vector, by its length. Standardization makes rarely used pixels loud, which hurts in any light. Prints
a table of accuracies, scalings by lengths. About a second.

    python examples/nearest_digits.py [--darkest 0.2]

With --darkest 1 no image is darker, and the image as it is is almost as good as any.
"""

import argparse
from dataclasses import replace

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data
from tinygrad_norm.nn import functional as F

SCALERS = {
    "none": lambda: None,
    "min-max": data.MinMaxScaler,
    "standard": data.StandardScaler,
    "global contrast": data.GlobalContrastScaler,
    "local contrast": lambda: data.LocalContrastScaler(sigma=3.0),
}
LENGTHS = {
    "as it is": lambda x: x,
    "L1": lambda x: F.normalize(x, 1.0),
    "L2": F.normalize,
    "L∞": lambda x: F.normalize(x, float("inf")),
}


def darker(digits, darkest):
    """Return digits whose test images are darker, by factors between `darkest` and 1."""
    factors = np.random.default_rng(0).uniform(darkest, 1.0, (len(digits.test), 1, 1, 1))
    images = (digits.test.images * factors).astype("float32")
    return replace(digits, test=data.Split(images, digits.test.labels))


def accuracy(digits, length):
    """Return the share of test images that have the digit of their nearest training image."""
    points, others = (
        length(tn.tensor(part.images.astype("float64")).flatten(1)).numpy()
        for part in (digits.test, digits.train)
    )
    squares = (others**2).sum(1) - 2 * points @ others.T
    return float((digits.train.labels[squares.argmin(1)] == digits.test.labels).mean())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--darkest", type=float, default=0.2, help="smallest factor (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not 0 < options.darkest <= 1:
        parser.error(f"argument --darkest: must be above 0 and at most 1, got {options.darkest}")
    try:
        digits = darker(data.load("digits"), options.darkest)
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    print(f"{'scaling':16}" + "".join(f"{name:>10}" for name in LENGTHS))
    found = {}
    for name, make_scaler in SCALERS.items():
        scaled = digits if name == "none" else digits.scaled(make_scaler())
        found[name] = [accuracy(scaled, length) for length in LENGTHS.values()]
        print(f"{name:16}" + "".join(f"{share:10.1%}" for share in found[name]))
    return found


if __name__ == "__main__":
    main()
