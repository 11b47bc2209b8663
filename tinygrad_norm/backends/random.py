"""One seeded stream of random numbers, the same on every backend.

Numbers are drawn by NumPy on the CPU and moved to the device, so a seed gives the same weights,
batches and dropout masks wherever the arrays live.
"""

import numpy

_generator = numpy.random.default_rng(0)


def manual_seed(seed: int) -> numpy.random.Generator:
    """Restart the stream from `seed` and return its generator.

    Raises:
        TypeError: for anything but an int; a bool is none.
        ValueError: for a negative one.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | numpy.integer):
        raise TypeError(f"a seed must be an int, got {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    global _generator
    _generator = numpy.random.default_rng(seed)
    return _generator


def generator() -> numpy.random.Generator:
    """Return the generator that `tn.rand`, initializers, loaders and dropout draw from."""
    return _generator
