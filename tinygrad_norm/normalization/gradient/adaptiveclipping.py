"""Adaptive gradient clipping: the gradient of a unit is at most a fraction of the unit's weights.

    W, G (K, ...)   unit k: the weights W_k of one output and their gradient G_k, or a whole vector

    G_k ← G_k·min(1, λ·max(‖W_k‖, eps)/‖G_k‖)

λ is clip_factor. A linear layer has one unit per row, a convolution one per filter (out, in, H, W); a bias or
a gain, (K,) or (K, 1, 1, 1), is one unit. eps lets weights of zero grow: a unit with ‖W_k‖ < eps counts as
eps long. A gradient of zero stays zero.

Brock, De, Smith, Simonyan 2021, arXiv:2102.06171.

Derivation: plain gradient descent moves a unit by ΔW_k = -lr·G_k, so its relative change is

    ‖ΔW_k‖/‖W_k‖ = lr·‖G_k‖/‖W_k‖

and the step is reckless where this is near 1, whatever ‖G_k‖ is. ‖G_k‖/‖W_k‖ ≤ λ therefore bounds the
relative change of every unit by lr·λ. In the code, both lengths come from L2 normalization (normalize.py),
which returns rnorm = 1/max(‖x‖, eps) of each row x:

    λ·max(‖W_k‖, eps)/max(‖G_k‖, 1e-6) = λ·rnorm(G_k)/rnorm(W_k)

The authors do not clip the last linear layer: its outputs are the logits, and nothing normalizes them.

Insight: behind a normalization, a longer W_k has a shorter gradient: there the ratio ‖G_k‖/‖W_k‖ falls as
1/‖W_k‖², and large steps tame themselves. Without normalization nothing does that, so the optimizer has to.
"""

from ...backends import Array, namespace
from ...backends.cpu.silence import silent
from ...ops.arguments import as_number
from ..vector.normalize import normalize_forward
from .units import Tensors, as_units, with_gradients

LEAST_GRADIENT = 1e-6  # in units of the gradient: a shorter one counts as this long


def adaptive_clip_grad_(parameters: Tensors, clip_factor: float = 0.01, eps: float = 1e-3) -> None:
    """Scale each unit's gradient, in place, to at most `clip_factor` times the norm of its weights.

    A unit is one output: a row of a weight (out, in, ...), or a whole vector (a bias, a gain). The paper
    does not clip the last linear layer: do not pass its parameters. Call it between `loss.backward()` and
    `optimizer.step()`.

    Args:
        parameters: a parameter without a gradient is skipped.
        clip_factor: the λ of the paper, a fraction per step at learning rate 1.
        eps: the smallest norm of weights to compare with, in their units, so that zeros can grow.

    As for a norm in PyTorch's clip_grad_norm_, an infinite entry leaves NaN there and 0 in the rest of its
    unit, and a NaN leaves NaN in its whole unit. Other units do not change.

    Raises:
        TypeError: if `parameters` are not tensors, or clip_factor or eps is not a number.
        ValueError: if clip_factor or eps is not positive.

    Source: Brock, De, Smith, Simonyan 2021, arXiv:2102.06171.
    """
    if not (as_number(clip_factor, "clip_factor") > 0 and as_number(eps, "eps") > 0):
        raise ValueError(f"clip_factor and eps must be positive, got {clip_factor} and {eps}")
    for parameter, grad in with_gradients(parameters):
        with silent():
            factor = clip_factor * _rnorm(grad.array, LEAST_GRADIENT) / _rnorm(parameter.array, eps)
            clipped = as_units(grad.array) * namespace(factor).minimum(factor, 1)
        grad.copy_(clipped.reshape(grad.shape))


def _rnorm(x: Array, eps: float) -> Array:
    """Return 1/max(‖x‖, eps) of each unit, as a column (K, 1)."""
    rnorm: Array = normalize_forward(as_units(x), 2.0, eps)[1]
    return rnorm
