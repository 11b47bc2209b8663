"""When arrays count as the same."""

import numpy


def same(a: numpy.ndarray, b: numpy.ndarray, tolerance: float) -> bool:
    """Say whether two arrays are the same, NaN in the same places, up to an absolute tolerance."""
    if tolerance == 0 or a.dtype.kind not in "f" or a.shape != b.shape:
        return numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return numpy.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)
