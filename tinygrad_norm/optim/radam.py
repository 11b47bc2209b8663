"""RAdam: Adam that divides by √v̂ only as far as v̂ is known, so that it needs no warm-up.

    g = dL/dθ + λ·θ                     decoupled: g = dL/dθ, and θ ← θ - lr·λ·θ separately
    m ← β₁·m + (1 - β₁)·g               m̂ = m/(1 - β₁ᵗ)
    v ← β₂·v + (1 - β₂)·g²              v̂ = v/(1 - β₂ᵗ)
    ρₜ = ρ - 2·t·β₂ᵗ/(1 - β₂ᵗ)          ρ = 2/(1 - β₂) - 1
    rₜ = √((ρₜ - 4)·(ρₜ - 2)·ρ/((ρ - 4)·(ρ - 2)·ρₜ))
    θ ← θ - lr·rₜ·m̂/(√v̂ + eps)          if ρₜ > 5, else θ ← θ - lr·m̂

v̂ is a mean of weighted squares, and is as uncertain as a plain mean of ρₜ squares. The variance of 1/√v̂
is infinite for ρₜ ≤ 4 and falls to that of ρ squares: rₜ, from 0 up to 1, keeps the variance of the step
the same. Below 5 squares a step is that of SGD with momentum.

Liu, Jiang, He, Chen, Liu, Gao, Han 2020, arXiv:1908.03265.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_betas, check_non_negative


class RAdam(Optimizer):
    """Rectified Adam: the first steps are short, as long as the mean square is uncertain.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter; in the first steps, of the parameter per gradient.
        betas: the fractions kept per step of the mean gradient and of the mean squared gradient.
        eps: added to the root of the mean square, in units of the gradient.
        weight_decay: this fraction of the parameter is added to its gradient.
        decoupled_weight_decay: shrink the parameter instead, by the fraction lr·weight_decay, as AdamW.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if betas are outside of [0, 1).
        RuntimeError: if a step is captured in a graph.

    Source: Liu et al. 2020, arXiv:1908.03265.
    """

    state_names = ("step", "exp_avg", "exp_avg_sq")
    capturable = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "eps", "weight_decay")
        check_flags(decoupled_weight_decay=options["decoupled_weight_decay"], maximize=options["maximize"])
        check_betas(options)

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp, t = namespace(param), info.number
        beta1, beta2 = map(float, options["betas"])
        eps, root = positive_eps(options, work.dtype), math.sqrt(1 - beta2**t)
        lr, rectified = info.lr / (1 - beta1**t), _rectification(beta2, t)
        kept = 1 - info.lr * float(options["weight_decay"]) if options["decoupled_weight_decay"] else 1.0
        for p, theta, g, (m, v) in gradient_blocks(options, work.dtype, param, grad, *moments):
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            step = m if rectified is None else m * (rectified * root) / (xp.sqrt(v) + eps)
            p[...] = theta * kept - lr * step


def _rectification(beta2: float, t: int) -> float | None:
    """Return rₜ, or None where the mean square is too uncertain to divide by."""
    rho = 2 / (1 - beta2) - 1
    rho_t = rho - 2 * t * beta2**t / (1 - beta2**t)
    if rho_t <= 5:
        return None
    return math.sqrt((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t))
