"""General hints: what the difference between the two Jacobians says about the mistake in a backward.

Every hint is measured, and given only if every entry agrees with it.
"""

from collections.abc import Sequence

import numpy

from ..closeness import CLOSE, count_name
from ..jacobian import JacobianPair
from ..probing import label
from .normalization import factor_outside, row_factors, wrong_paths


@numpy.errstate(all="ignore")  # squares of the largest gradients overflow: then there is no hint
def hint(pair: JacobianPair, wrong: numpy.ndarray, unsure: bool) -> str:
    """Return what is known about the cause of the wrong entries, or ""."""
    a, n = pair.analytic, pair.n
    if not pair.known.all():
        return "func is NaN or infinite around this input: check it where it is smooth"
    kinked = wrong & pair.kinked
    if kinked.any():
        return _kink(pair, kinked, every=bool((kinked == wrong).all()))
    if unsure:
        return "finite differences are inaccurate here: is there a kink, a jump or noise near this input?"
    if not a.any():
        return "the analytic gradient is 0 everywhere: was the input detached, or its gradient left out?"
    if pair.close(a, -n):
        return "the sign is flipped"
    factor = float((a * n).sum() / max((n * n).sum(), numpy.finfo(float).tiny))
    if factor != 0 and wrong.sum() > 1 and pair.close(a, factor * n):
        sizes = {*pair.input_shape, *pair.output_shape, n.shape[0], n.shape[1], n.shape[0] // n.shape[1]}
        name = count_name(factor, {size for size in sizes if size > 3})
        example = f", such as {name}?" if name else "?"
        return (
            f"the analytic gradient is {factor:.8g} × the numeric one: a factor too many or too few{example}"
        )
    if pair.fast_mode:
        return ""
    patterns = (
        factor_outside,
        _transposed,
        _same_for_every_output,
        _one_of_a_broadcast,
        _only_the_diagonal,
        wrong_paths,
        row_factors,
        _misplaced,
    )
    return next(filter(None, (pattern(pair) for pattern in patterns)), "")


@numpy.errstate(all="ignore")
def swapped(pair: JacobianPair, pairs: Sequence[JacobianPair]) -> str:
    """Return which other input's gradient this input was given, and gave its own to, or ""."""
    for other in pairs:
        if (
            other.output == pair.output
            and other.input_shape == pair.input_shape
            and not pair.fast_mode  # the random directions differ from input to input
            and pair.known.all()
            and other.known.all()
            and pair.close(pair.analytic, other.n)
            and other.close(other.analytic, pair.n)
            and not pair.close(pair.analytic, pair.n)
            and not pair.close(pair.analytic, -pair.n)
        ):
            first, second = (label(b.input) for b in pairs if b is pair or b is other)
            return f"the gradients of {first} and {second} are swapped: each is the other's"
    return ""


def _kink(pair: JacobianPair, kinked: numpy.ndarray, every: bool) -> str:
    if not every:
        return (
            f"func has a kink at {kinked.sum()} of the wrong entries, not at this one: check it where it is "
            "smooth, so that only the other wrong entries remain"
        )
    place = int(numpy.where(kinked, abs(pair.numeric.bend), -1.0).argmax())
    middle, bend = pair.n.flat[place], pair.numeric.bend.flat[place]
    left, right = (
        f"{0.0 if abs(slope) < 1e-4 * abs(bend) else slope:.4g}"
        for slope in (middle - bend / 2, middle + bend / 2)
    )
    return (
        f"func has a kink at this input, where its slope is {left} on one side and {right} on the other: "
        "check it where it is smooth"
    )


def nonlinear_hint(pair: JacobianPair) -> str:
    """Return how a backward that is not linear in dy depends on it."""
    a, (_, mixed, weights) = pair.analytic, pair.backward
    scale = CLOSE * (abs(weights) @ pair.largest)

    def is_mixture(weights: numpy.ndarray) -> bool:
        return bool((abs(mixed - weights @ a) <= scale).all())

    if (abs(a - mixed) <= scale).all():
        return "the gradient is the same whatever dy is: multiply by dy"
    if is_mixture(weights**2):
        return "the gradient grows with the square of dy: dy is multiplied twice"
    if is_mixture(abs(weights)):
        return "the sign of dy makes no difference: dy enters by its absolute value"
    return "dy must enter every term of a backward once, as a factor"


def _transposed(pair: JacobianPair) -> str:
    a, n = pair.analytic, pair.n
    shape = pair.input_shape
    if len(shape) > 1 and shape[-1] == shape[-2]:
        turned = n.reshape(-1, *shape).swapaxes(-1, -2).reshape(n.shape)
        if pair.close(a, turned):
            return "the analytic gradient is the transpose of the numeric one over the last two axes"
    shape = pair.output_shape
    if len(shape) > 1 and shape[-1] == shape[-2]:
        turned = n.reshape(*shape, -1).swapaxes(-2, -3).reshape(n.shape)
        if pair.close(a, turned):
            return "the analytic gradient is the numeric one for a dy transposed over its last two axes"
    if n.shape[0] == n.shape[1] and pair.close(a, n.T):
        return (
            "the analytic Jacobian is the transpose of the numeric one: is a factor of a product, "
            "such as w in dy @ w.T, transposed once too many or too few?"
        )
    return ""


def _same_for_every_output(pair: JacobianPair) -> str:
    a = pair.analytic
    if len(a) > 1 and pair.close(a, numpy.broadcast_to(a[:1], a.shape)):
        return (
            "the analytic gradient is the same for every output entry: is dy summed or averaged before use?"
        )
    return ""


def _one_of_a_broadcast(pair: JacobianPair) -> str:
    """Return the axis along which the input is broadcast and only one index of dy is used, or ""."""
    inner, outer = pair.input_shape, pair.output_shape
    padded = (1,) * (len(outer) - len(inner)) + inner
    if len(padded) != len(outer) or any(i not in (1, o) for i, o in zip(padded, outer, strict=True)):
        return ""
    counts = numpy.asarray(pair.analytic.any(axis=1))
    if not pair.close(pair.analytic, numpy.where(counts[:, None], pair.n, 0.0)):
        return ""
    for axis, (i, o) in enumerate(zip(padded, outer, strict=True)):
        if i == 1 and o > 1:
            others = tuple(k for k in range(len(outer)) if k != axis)
            there = numpy.asarray(counts.reshape(outer).any(axis=others))
            if there.sum() == 1:
                return (
                    f"the analytic gradient is right at index {int(there.argmax())} of the output's axis "
                    f"{axis} and 0 at the others: the input is broadcast along it, so sum dy over it"
                )
    return ""


def _only_the_diagonal(pair: JacobianPair) -> str:
    size = len(pair.n)
    if pair.input_shape == pair.output_shape and pair.close(pair.analytic, pair.n * numpy.eye(size)):
        return (
            "only the diagonal is right, all other entries are 0: the paths from an input entry to the other "
            "output entries are missing"
        )
    return ""


def _misplaced(pair: JacobianPair) -> str:
    a, n = numpy.sort(pair.analytic), numpy.sort(pair.n)
    if n.shape[1] > 1 and (abs(a - n) <= CLOSE * pair.largest.max(1, keepdims=True)).all():
        return (
            "for every output entry the analytic gradient has the right numbers in the wrong places: "
            "is an axis, an index or an order wrong?"
        )
    return ""
