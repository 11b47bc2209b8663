"""One seeded stream of random numbers, the same on every backend.

Numbers are drawn by NumPy on the CPU and moved to the device, so a seed gives the same weights,
batches and dropout masks wherever the arrays live.
"""

import numpy

_generator = numpy.random.default_rng(0)


def manual_seed(seed: int) -> numpy.random.Generator:
    """Restart the stream from `seed` and return its generator."""
    global _generator
    _generator = numpy.random.default_rng(seed)
    return _generator


def generator() -> numpy.random.Generator:
    """Return the generator that `tn.rand`, initializers, loaders and dropout draw from."""
    return _generator
