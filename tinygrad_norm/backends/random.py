"""One seeded stream of random numbers, the same on every backend.

NumPy draws the numbers on the CPU, and they are moved to the device. So a seed gives the same weights,
batches and dropout masks on every backend.
"""

import numpy

_generator = numpy.random.default_rng(0)


def manual_seed(seed: int) -> numpy.random.Generator:
    """Restart the stream from `seed` and return its generator.

    Raises:
        TypeError: if the seed is not an int, or is a bool.
        ValueError: if it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | numpy.integer):
        raise TypeError(f"a seed must be an int, got {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    global _generator
    _generator = numpy.random.default_rng(seed)
    return _generator


def generator() -> numpy.random.Generator:
    """Return the generator of the numbers for `tn.rand`, initializers, loaders and dropout."""
    return _generator
