"""Accumulation: a gradient becomes a leaf's `.grad`, or is added to it, without a copy if that is safe."""

import sys
from collections.abc import Iterable
from typing import Any

import numpy

from ..backends import Array, namespace
from ..backends.cpu.silence import enter_silence, leave_silence
from .tensor import Tensor


def accumulate(leaves: Iterable[tuple[Tensor, Array]]) -> None:
    """Add to the `.grad` of each leaf its gradient."""
    token = enter_silence()
    try:
        for leaf, dx in leaves:
            if not leaf._requires_grad:
                continue  # frozen after the forward
            grad, slot = leaf._grad, leaf.grad_slot
            if grad is not None:
                namespace(dx).add(grad.array, dx, out=grad.array)
                grad.mark_written()
            elif slot is not None:
                leaf._grad = slot.receive(dx)
            else:
                # An array that is referenced elsewhere (the caller's dy, another leaf's gradient) is copied,
                # so that changing one .grad in place never changes another.
                alone = isinstance(dx, numpy.ndarray) and dx.flags.writeable
                alone = alone and sys.getrefcount(dx) <= _OWN_REFERENCES
                base: Any = getattr(dx, "base", None)
                if alone and base is not None:  # unless it is all of an array that nothing else refers to
                    alone = isinstance(base, numpy.ndarray) and base.flags.owndata and base.size == dx.size
                    alone = alone and sys.getrefcount(base) == _BASE_REFERENCES
                leaf._grad = Tensor._wrap(dx if alone else dx.copy())
    finally:
        leave_silence(token)


def accumulate_recorded(leaf: Tensor, dx: Tensor) -> None:
    """Add to the `.grad` of a leaf its gradient, which has a graph; then the sum has one."""
    if leaf._requires_grad:
        leaf._grad = dx if leaf._grad is None else leaf._grad + dx


def _own_references() -> tuple[int, int]:
    """Count the references that `accumulate` itself holds to a gradient, and to the base of a view."""
    leaves = {0: (None, numpy.zeros(2).reshape(2, 1))}
    for _, dx in leaves.values():
        base = dx.base
        return sys.getrefcount(dx), sys.getrefcount(base)
    raise AssertionError


_OWN_REFERENCES, _BASE_REFERENCES = _own_references()
