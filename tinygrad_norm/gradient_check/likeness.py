"""Likeness: when numbers count as the same, and which count a factor is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from .jacobian import Block

ALIKE = 1e-8  # relative errors up to which numbers are alike
TINY = 1e-7  # the same for sums over a pool


def same(a: numpy.ndarray, b: numpy.ndarray, tolerance: float) -> bool:
    """Say whether two arrays are the same, NaN in the same places, up to an absolute tolerance."""
    if tolerance == 0 or a.dtype.kind not in "f" or a.shape != b.shape:
        return numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return numpy.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)


def alike(block: Block, a: numpy.ndarray, b: numpy.ndarray) -> bool:
    """Say whether two Jacobians of `block` are alike at every entry."""
    return bool((abs(a - b) <= ALIKE * block.largest).all())


def count_name(factor: float, sizes: set[int]) -> str:
    """Return how a factor is made from one of the sizes: n, 1/n, n/(n - 1), (n - 1)/n, or ""."""
    for n in sorted(sizes):
        ways = {"n": n, "1/n": 1 / n, "n/(n - 1)": n / (n - 1), "(n - 1)/n": (n - 1) / n}
        for name, value in ways.items():
            if abs(factor - value) <= TINY * value:
                return f"{name} for n = {n}"
    return ""
