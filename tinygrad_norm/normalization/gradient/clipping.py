"""Gradient clipping: limit the length of a step, and keep the direction of the gradient.

    by norm    g ← g·min(1, max_norm/(‖g‖ + 1e-6))       ‖g‖ over all parameters together
    by value   g ← min(max(g, -clip_value), clip_value)   elementwise: this changes the direction
    adaptive   G_i ← G_i·min(1, λ·max(‖W_i‖, eps)/‖G_i‖)  for every unit i, a row of the weight

Pascanu, Mikolov, Bengio 2012, arXiv:1211.5063 (norm); Brock, De, Smith, Simonyan 2021, arXiv:2102.06171
(adaptive).

Insight: a step is large or small only compared with the weight it changes. ‖G_i‖/‖W_i‖ bounds the
relative change of a unit, whatever the scale of the loss; normalization layers give that bound for free.
"""

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, asarray, namespace
from ...backends.cpu.half import upcast
from ...backends.cpu.silence import silent
from ...backends.cpu.sums import row_sum_products, total
from ...module import Module
from ...ops.arguments import as_number, check_flags
from ...ops.reduction import largest_or_0

Tensors = Tensor | Iterable[Tensor]


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
    arrays = [upcast(x.array) for x in _listed(tensors) if x.array.size]
    with silent():
        total = _norm(arrays, norm_type) if arrays else asarray(numpy.zeros((), numpy.float32))
    if error_if_nonfinite and not numpy.isfinite(float(total)):
        raise RuntimeError(
            f"the total norm of the gradients is {float(total)}: look for the first layer whose output is "
            "not finite, or pass error_if_nonfinite=False to continue anyway"
        )
    return Tensor._wrap(total)


def _listed(tensors: Tensors) -> list[Tensor]:
    if isinstance(tensors, Module):
        raise TypeError(f"expected tensors, got the module {type(tensors).__name__}: pass its parameters()")
    if not isinstance(tensors, Iterable):
        raise TypeError(f"expected a tensor or several, got {type(tensors).__name__}")
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not listed and isinstance(tensors, Iterator):
        warnings.warn(
            "the generator of tensors is empty, so no gradient is clipped: it was used before; call "
            "parameters() again",
            stacklevel=4,
        )
    for i, tensor in enumerate(listed):
        if not isinstance(tensor, Tensor):
            advice = ": pass parameters(), not named_parameters()" if isinstance(tensor, tuple) else ""
            raise TypeError(f"expected tensors, entry {i} is a {type(tensor).__name__}{advice}")
    return listed


def _norm(arrays: list[Array], p: float) -> Array:
    xp = namespace(arrays[0])
    largest = xp.stack([abs(x).max() for x in arrays]).max()
    if p == math.inf:
        return largest
    # No power of a finite gradient overflows. If one is infinite, the scale is 1, since ∞/∞ would be NaN.
    scale = xp.where(largest < math.inf, xp.maximum(largest, 1), 1)
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
    grads = _gradients(parameters)
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    with silent():
        factor = _at_most_1(max_norm, total.array + 1e-6)
        for grad in grads:
            _scale(grad, factor)
    return total


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [parameter.grad for parameter in _listed(parameters) if parameter.grad is not None]


def _at_most_1(limit: Array | float, norm: Array) -> Array:
    return namespace(norm).minimum(limit / norm, 1)


def _scale(grad: Tensor, factor: Array) -> None:
    grad.array[...] = grad.array * factor
    grad.mark_written()


def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Clip every element of every gradient, in place, to between -clip_value and clip_value.

    Raises:
        TypeError, ValueError: as clip_grad_norm_.
    """
    if not as_number(clip_value, "clip_value") >= 0:
        raise ValueError(f"clip_value must not be negative, got {clip_value}")
    for grad in _gradients(parameters):
        grad.copy_(grad.array.clip(-clip_value, clip_value))


def adaptive_clip_grad_(parameters: Tensors, clip_factor: float = 0.01, eps: float = 1e-3) -> None:
    """Scale each unit's gradient, in place, to at most `clip_factor` times the norm of its weights.

    A unit is one output: a row of a weight (out, in, ...), or a whole vector (a bias, a gain). The paper
    does not clip the last linear layer: do not pass its parameters.

    Args:
        parameters: a parameter without a gradient is skipped.
        clip_factor: the λ of the paper, a fraction per step at learning rate 1.
        eps: the smallest norm of weights to compare with, in their units, so that zeros can grow.

    Raises:
        TypeError: if `parameters` are not tensors, or clip_factor or eps is not a number.
        ValueError: if clip_factor or eps is not positive.

    Source: Brock, De, Smith, Simonyan 2021, arXiv:2102.06171.
    """
    if not (as_number(clip_factor, "clip_factor") > 0 and as_number(eps, "eps") > 0):
        raise ValueError(f"clip_factor and eps must be positive, got {clip_factor} and {eps}")
    with silent():
        for parameter in _listed(parameters):
            if parameter.grad is not None:
                _scale(parameter.grad, _unit_factor(parameter, parameter.grad, clip_factor, eps))


def _unit_factor(weight: Tensor, grad: Tensor, clip_factor: float, eps: float) -> Array:
    xp = namespace(weight.array)
    limit = clip_factor * xp.maximum(_unit_norms(weight.array), eps)
    return _at_most_1(limit, xp.maximum(_unit_norms(grad.array), 1e-6))


def _unit_norms(x: Array) -> Array:
    """Return one norm per row, or of the whole vector; all axes are kept."""
    xp = namespace(x)
    axes = tuple(range(1 if x.ndim > 1 else 0, x.ndim))
    x = upcast(x)
    scale = xp.maximum(largest_or_0(abs(x), axes, True), 1)
    return scale * xp.sqrt(total(xp.square(x / scale), axes, True))
