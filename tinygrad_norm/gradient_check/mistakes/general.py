"""Hints: what the difference between the two Jacobians says about the mistake in a backward.

Every hint is measured, and given only where every entry bears it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from ..likeness import ALIKE, alike, count_name
from ..probing import label
from .normalization import row_factors, wrong_paths

if TYPE_CHECKING:
    from ..jacobian import Block


@numpy.errstate(all="ignore")  # squares of the largest gradients overflow: then there is nothing to say
def hint(block: Block, wrong: numpy.ndarray, unsure: bool) -> str:
    """Return what is known about the cause of the wrong entries, or ""."""
    a, n = block.analytic, block.n
    if not block.known.all():
        return "func is NaN or infinite around this input: check it where it is smooth"
    kinked = wrong & block.kinked
    if kinked.any():
        return _kink(block, kinked, every=bool((kinked == wrong).all()))
    if unsure:
        return "finite differences are unsure here: a kink, a jump or noise near this input?"
    if not a.any():
        return "the analytic gradient is 0 everywhere: was the input detached, or its gradient left out?"
    if alike(block, a, -n):
        return "the sign is flipped"
    factor = float((a * n).sum() / max((n * n).sum(), numpy.finfo(float).tiny))
    if factor != 0 and wrong.sum() > 1 and alike(block, a, factor * n):
        sizes = {*block.input_shape, *block.output_shape, n.shape[0], n.shape[1], n.shape[0] // n.shape[1]}
        name = count_name(factor, {size for size in sizes if size > 3})
        such = f", such as {name}?" if name else "?"
        return f"the analytic gradient is {factor:.8g} × the numeric one: a factor too many or too few{such}"
    if block.fast_mode:
        return ""
    looks = (
        _transposed,
        _same_for_every_output,
        _one_of_a_broadcast,
        _only_the_diagonal,
        wrong_paths,
        row_factors,
        _misplaced,
    )
    return next(filter(None, (look(block) for look in looks)), "")


@numpy.errstate(all="ignore")
def swapped(block: Block, blocks: Sequence[Block]) -> str:
    """Say where each of two inputs was given the gradient of the other, or ""."""
    for other in blocks:
        if (
            other.output == block.output
            and other.input_shape == block.input_shape
            and not block.fast_mode  # whose random directions differ from input to input
            and block.known.all()
            and other.known.all()
            and alike(block, block.analytic, other.n)
            and alike(other, other.analytic, block.n)
            and not alike(block, block.analytic, block.n)
            and not alike(block, block.analytic, -block.n)
        ):
            first, second = (label(b.input) for b in blocks if b is block or b is other)
            return f"the gradients of {first} and {second} are swapped: each is the other's"
    return ""


def _kink(block: Block, kinked: numpy.ndarray, every: bool) -> str:
    if not every:
        return (
            f"func has a kink at {kinked.sum()} of the wrong entries, not at this one: check it where it is "
            "smooth, to see what the others have in common"
        )
    place = int(numpy.where(kinked, abs(block.numeric.bend), -1.0).argmax())
    middle, bend = block.n.flat[place], block.numeric.bend.flat[place]
    left, right = (
        f"{0.0 if abs(slope) < 1e-4 * abs(bend) else slope:.4g}"
        for slope in (middle - bend / 2, middle + bend / 2)
    )
    return (
        f"func has a kink at this input, where its slope is {left} on one side and {right} on the other: "
        "check it where it is smooth"
    )


def nonlinear_hint(block: Block) -> str:
    """Return in what way a backward that is not linear in dy depends on it, or ""."""
    a, (_, mixed, weights) = block.analytic, block.backward
    scale = ALIKE * (abs(weights) @ block.largest)

    def gives(weights: numpy.ndarray) -> bool:
        return bool((abs(mixed - weights @ a) <= scale).all())

    if (abs(a - mixed) <= scale).all():
        return "the gradient is the same whatever dy is: multiply by dy"
    if gives(weights**2):
        return "the gradient grows with the square of dy: dy is multiplied twice"
    if gives(abs(weights)):
        return "the sign of dy makes no difference: dy enters by its absolute value"
    return "dy must enter every term of a backward once, as a factor"


def _transposed(block: Block) -> str:
    a, n = block.analytic, block.n
    shape = block.input_shape
    if len(shape) > 1 and shape[-1] == shape[-2]:
        turned = n.reshape(-1, *shape).swapaxes(-1, -2).reshape(n.shape)
        if alike(block, a, turned):
            return "the analytic gradient is the transpose of the numeric one over the last two axes"
    shape = block.output_shape
    if len(shape) > 1 and shape[-1] == shape[-2]:
        turned = n.reshape(*shape, -1).swapaxes(-2, -3).reshape(n.shape)
        if alike(block, a, turned):
            return "the analytic gradient is the numeric one for a dy transposed over its last two axes"
    if n.shape[0] == n.shape[1] and alike(block, a, n.T):
        return (
            "the analytic Jacobian is the transpose of the numeric one: is a factor of a product, "
            "such as w in dy @ w.T, transposed once too many or too few?"
        )
    return ""


def _same_for_every_output(block: Block) -> str:
    a = block.analytic
    if len(a) > 1 and alike(block, a, numpy.broadcast_to(a[:1], a.shape)):
        return (
            "the analytic gradient is the same for every output entry: is dy summed or averaged before use?"
        )
    return ""


def _one_of_a_broadcast(block: Block) -> str:
    """Say where only one index of an axis counts along which the input was stretched."""
    inner, outer = block.input_shape, block.output_shape
    padded = (1,) * (len(outer) - len(inner)) + inner
    if len(padded) != len(outer) or any(i not in (1, o) for i, o in zip(padded, outer, strict=True)):
        return ""
    counts = numpy.asarray(block.analytic.any(axis=1))
    if not alike(block, block.analytic, numpy.where(counts[:, None], block.n, 0.0)):
        return ""
    for axis, (i, o) in enumerate(zip(padded, outer, strict=True)):
        if i == 1 and o > 1:
            others = tuple(k for k in range(len(outer)) if k != axis)
            there = numpy.asarray(counts.reshape(outer).any(axis=others))
            if there.sum() == 1:
                return (
                    f"the analytic gradient is right at index {int(there.argmax())} of the output's axis "
                    f"{axis} and 0 at the others: the input is stretched along it, so sum dy over it"
                )
    return ""


def _only_the_diagonal(block: Block) -> str:
    size = len(block.n)
    if block.input_shape == block.output_shape and alike(block, block.analytic, block.n * numpy.eye(size)):
        return (
            "only the diagonal is right, all else is 0: the paths from an input entry to the output entries "
            "at other places are missing"
        )
    return ""


def _misplaced(block: Block) -> str:
    a, n = numpy.sort(block.analytic), numpy.sort(block.n)
    if n.shape[1] > 1 and (abs(a - n) <= ALIKE * block.largest.max(1, keepdims=True)).all():
        return (
            "for every output entry the analytic gradient has the right numbers, at wrong places: "
            "a wrong axis, index or order?"
        )
    return ""
