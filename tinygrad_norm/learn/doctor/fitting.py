"""Find the derivation of a forward: the one whose formula gives y."""

from collections.abc import Callable, Iterator

import numpy

from .catalogue import Derivation
from .poolfit import fit_pool
from .roles import roles_of

Fit = Callable[[dict[str, numpy.ndarray], numpy.ndarray, dict[str, str]], Iterator[Derivation]]

FITS: tuple[Fit, ...] = (fit_pool,)


def fits(arguments: dict[str, numpy.ndarray], y: numpy.ndarray) -> list[Derivation]:
    """Return the derivations that give `y` for these arguments; the simplest first."""
    roles = roles_of(arguments)
    with numpy.errstate(all="ignore"):
        return [derivation for fit in FITS for derivation in fit(arguments, y, roles)]
