"""Gradient clipping and unit normalization: limit or fix the length of the gradient.

    by norm    g ← g·min(1, max_norm/(‖g‖ + 1e-6))       ‖g‖ over all parameters together
    by value   g ← min(max(g, -clip_value), clip_value)   elementwise: this changes the direction
    unit       g ← g/max(‖g‖, eps)                        always, not only if ‖g‖ is large

Pascanu, Mikolov, Bengio 2012, arXiv:1211.5063 (by norm); Hazan, Levy, Shalev-Shwartz 2015, arXiv:1507.02030
(unit). Clipping by the norm of the weights is in adaptiveclipping.py.

Insight: clipping trusts the length of the gradient up to a limit, unit normalization not at all: every step
of plain gradient descent is lr long. It crosses a plateau as fast as a cliff, but near a minimum it cannot
slow down, so its learning rate has to fall.
"""

import math

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, asarray, namespace
from ...backends.cpu.half import upcast
from ...backends.cpu.silence import silent
from ...backends.cpu.sums import row_sum_products, total
from ...ops.arguments import as_number, check_flags
from .units import Tensors, listed, with_gradients


def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Return the norm of all tensors together, as if they were one vector; 0 if there are none.

    Args:
        tensors: one tensor, or several.
        norm_type: the p of the norm (Σ|g|ᵖ)^(1/p), positive; infinity for the largest |g|.
        error_if_nonfinite: whether to raise an error if the norm is NaN or infinite.

    Raises:
        TypeError: if `tensors` are not tensors, or norm_type is not a number.
        ValueError: if norm_type is not positive.
        RuntimeError: if the norm is not finite and error_if_nonfinite is True.
    """
    if not as_number(norm_type, "norm_type") > 0:
        raise ValueError(f"norm_type must be positive, got {norm_type}")
    check_flags(error_if_nonfinite=error_if_nonfinite)
    arrays = [upcast(x.array) for x in listed(tensors) if x.array.size]
    with silent():
        total = _norm(arrays, norm_type) if arrays else asarray(numpy.zeros((), numpy.float32))
    if error_if_nonfinite and not numpy.isfinite(float(total)):
        raise RuntimeError(
            f"the total norm of the gradients is {float(total)}: look for the first layer whose output is "
            "not finite, or pass error_if_nonfinite=False to continue anyway"
        )
    return Tensor._wrap(total)


def _norm(arrays: list[Array], p: float) -> Array:
    xp = namespace(arrays[0])
    largest = xp.stack([abs(x).max() for x in arrays]).max()
    if p == math.inf:
        return largest
    # No power of a finite gradient overflows or vanishes. The scale is not ∞, since ∞/∞ would be NaN.
    scale = xp.where((largest > 0) & (largest < math.inf), largest, 1)
    if p == 2:
        rows = ((x / scale).reshape(1, -1) for x in arrays)
        powers = [row_sum_products(row, row)[0, 0] for row in rows]
    else:
        powers = [total(abs(x / scale) ** p, tuple(range(x.ndim))) for x in arrays]
    return xp.stack(powers).sum() ** (1 / p) * scale


def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients, in place, so that their total norm is at most `max_norm`; return the norm before.

    Args:
        parameters: a parameter without a gradient is skipped.
        max_norm: in units of the gradients.
        norm_type: see get_total_norm.
        error_if_nonfinite: see get_total_norm.

    As in PyTorch, an infinite norm leaves NaN where a gradient is infinite and 0 elsewhere, and a NaN
    norm leaves NaN everywhere.

    Raises:
        TypeError: if `parameters` are not tensors (a module, for example), or max_norm is not a number.
        ValueError: if max_norm is negative, or norm_type is not positive.
        RuntimeError: if the norm is not finite and error_if_nonfinite is True.

    Source: Pascanu, Mikolov, Bengio 2012, arXiv:1211.5063.
    """
    if not as_number(max_norm, "max_norm") >= 0:
        raise ValueError(f"max_norm must not be negative, got {max_norm}")
    grads = [grad for _, grad in with_gradients(parameters)]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    with silent():
        factor = namespace(total.array).minimum(max_norm / (total.array + 1e-6), 1)
        for grad in grads:
            grad.copy_(grad.array * factor)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Clip every element of every gradient, in place, to between -clip_value and clip_value.

    Raises:
        TypeError, ValueError: as clip_grad_norm_.
    """
    if not as_number(clip_value, "clip_value") >= 0:
        raise ValueError(f"clip_value must not be negative, got {clip_value}")
    for _, grad in with_gradients(parameters):
        grad.copy_(grad.array.clip(-clip_value, clip_value))


def normalize_grad_(
    parameters: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, eps: float = 1e-12
) -> Tensor:
    """Scale all gradients, in place, so that their total norm is 1; return the norm before.

    The direction stays. Gradients that are all zero stay zero.

    Args:
        parameters: a parameter without a gradient is skipped.
        norm_type: see get_total_norm.
        error_if_nonfinite: see get_total_norm.
        eps: the smallest norm to divide by, in units of the gradients.

    Raises:
        TypeError: if `parameters` are not tensors, or norm_type or eps is not a number.
        ValueError: if norm_type or eps is not positive.
        RuntimeError: if the norm is not finite and error_if_nonfinite is True.

    Source: Hazan, Levy, Shalev-Shwartz 2015, arXiv:1507.02030.
    """
    if not as_number(eps, "eps") > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    grads = [grad for _, grad in with_gradients(parameters)]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    with silent():
        n = namespace(total.array).maximum(total.array, eps)
        for grad in grads:
            grad.copy_(grad.array / n)
    return total
