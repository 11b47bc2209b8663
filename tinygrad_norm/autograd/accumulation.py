"""Accumulation: a gradient becomes a leaf's `.grad`, or is added to it, without a copy if that is safe."""

import sys
from collections.abc import Iterable

import numpy

from ..backends import Array, namespace
from ..backends.cpu.silence import silent
from .tensor import Tensor


def accumulate(leaves: Iterable[tuple[Tensor, Array]]) -> None:
    """Add to the `.grad` of each leaf its gradient."""
    with silent():
        for leaf, dx in leaves:
            _accumulate(leaf, dx)


def _accumulate(leaf: Tensor, dx: Array) -> None:
    slot = leaf.grad_slot
    if leaf._grad is not None:
        namespace(dx).add(leaf._grad.array, dx, out=leaf._grad.array)
        leaf._grad.mark_written()
    elif slot is not None:
        leaf._grad = slot.receive(dx)
    else:
        # An array that is referenced elsewhere (the caller's dy, another leaf's gradient) is copied, so
        # that changing one .grad in place never changes another. References: leaves, dx, getrefcount.
        owned = sys.getrefcount(dx) <= _OWN_REFERENCES and isinstance(dx, numpy.ndarray) and _is_alone(dx)
        leaf._grad = Tensor._wrap(dx if owned else dx.copy())


def _is_alone(dx: numpy.ndarray) -> bool:
    """Return whether `dx` owns its memory, or is a view of all of an array that has no other reference."""
    if dx.base is None:
        return True
    whole = isinstance(dx.base, numpy.ndarray) and dx.base.flags.owndata and dx.base.size == dx.size
    return whole and sys.getrefcount(dx.base) == _VIEWS_REFERENCES


def _own_references() -> int:
    """Count the references that `accumulate` itself holds to a gradient, as `_accumulate` sees them."""

    def inner(leaf: object, dx: Array) -> int:
        return sys.getrefcount(dx)

    leaves = {0: (None, numpy.zeros(1))}
    for leaf, dx in leaves.values():
        return inner(leaf, dx)
    raise AssertionError


_OWN_REFERENCES = _own_references()
_VIEW = numpy.zeros(2).reshape(2, 1)
_VIEWS_REFERENCES = sys.getrefcount(_VIEW.base)
