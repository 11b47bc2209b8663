"""scikit-learn's digits: 1797 handwritten digits of 8×8 pixels, included in scikit-learn.

They are the test set of E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits"
(UCI). The same writers appear in all three parts, so the test accuracy does not measure how well a
model reads new handwriting.
"""

import numpy

from .dataset import Dataset, Split
from .shuffle import stratified_permutation

VALIDATION_SIZE = TEST_SIZE = 270


def load_digits(seed: int = 0) -> Dataset:
    """Return the digits: 1257 for training, 270 for validation, 270 for testing; each part has every class.

    Images are (N, 1, 8, 8), float32, with values 0 … 16; labels are (N,), int64. The split depends only
    on `seed`.

    Raises:
        RuntimeError: if scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise RuntimeError(
            "the digits are part of scikit-learn, which is not installed: pip install 'tinygrad_norm[data]'"
        ) from error
    digits = datasets.load_digits()
    images = digits.images.astype(numpy.float32)[:, None]
    labels = digits.target.astype(numpy.int64)
    order = stratified_permutation(labels, seed)
    test, validation, train = numpy.split(order, [TEST_SIZE, TEST_SIZE + VALIDATION_SIZE])
    return Dataset(
        name="digits",
        train=Split(images[train], labels[train]),
        validation=Split(images[validation], labels[validation]),
        test=Split(images[test], labels[test]),
        classes=tuple(map(str, range(10))),
        max_value=16,
    )
