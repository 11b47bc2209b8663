"""Leaks: entries of a Jacobian that must be 0 and are not prove that statistics are taken over too much."""

import numpy

from ...gradient_check.jacobian import JacobianPair

_ZERO = 1e-9


def leak(pair: JacobianPair) -> str:
    """Return along which axes backward connects entries that forward does not, or "".

    Only gradients in the shape of y are examined, and only where whole blocks are 0: entries that differ in
    their index along an axis.
    """
    if pair.input_shape != pair.output_shape or not pair.input_shape or pair.fast_mode:
        return ""
    scale = abs(pair.n).max(initial=0.0)
    apart = abs(pair.n) <= numpy.maximum(_ZERO * scale, pair.numeric.floor)
    leaking = (abs(pair.analytic) > 1e-6 * scale) & apart
    if not leaking.any():
        return ""
    places = numpy.array(numpy.unravel_index(numpy.arange(len(pair.n)), pair.input_shape))
    for axis in range(len(pair.input_shape)):
        across = places[axis][:, None] != places[axis][None, :]
        if across.any() and apart[across].all() and leaking[across].any():
            row, column = map(int, numpy.argwhere(leaking & across)[0])
            kind = {0: "across samples", 1: "across channels"}.get(axis, f"along axis {axis}")
            if len(pair.input_shape) <= 2 and axis == 1:
                kind = "across features"
            return (
                f"gradients leak {kind}: y{_at(row, pair)} does not depend on x{_at(column, pair)}, which "
                f"has another index along axis {axis}, but backward gives that pair "
                f"{pair.analytic[row, column]:.4g} instead of 0"
            )
    row, column = map(int, numpy.argwhere(leaking)[0])
    return (
        f"backward connects entries that forward does not: y{_at(row, pair)} does not depend on "
        f"x{_at(column, pair)}, but that pair has {pair.analytic[row, column]:.4g} instead of 0"
    )


def _at(flat: int, pair: JacobianPair) -> str:
    return str([int(i) for i in numpy.unravel_index(flat, pair.input_shape)])
