"""Closeness: up to which error numbers count as equal, and which count a factor equals."""

import numpy

CLOSE = 1e-8  # the relative error up to which two entries count as equal
CLOSE_SUM = 1e-7  # the same for sums over a pool


def same(a: numpy.ndarray, b: numpy.ndarray, tolerance: float) -> bool:
    """Return whether two arrays are equal, NaN in the same places, up to an absolute tolerance."""
    if tolerance == 0 or a.dtype.kind not in "f" or a.shape != b.shape:
        return numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return numpy.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)


def count_name(factor: float, sizes: set[int]) -> str:
    """Return how a factor is made from one of the sizes: n, 1/n, n/(n - 1), (n - 1)/n, or ""."""
    for n in sorted(sizes):
        ways = {"n": n, "1/n": 1 / n, "n/(n - 1)": n / (n - 1), "(n - 1)/n": (n - 1) / n}
        for name, value in ways.items():
            if abs(factor - value) <= CLOSE_SUM * value:
                return f"{name} for n = {n}"
    return ""
