"""Adadelta: every element moves by the usual length of its past steps, so that no learning rate is needed.

    g = dL/dθ + λ·θ
    v ← ρ·v + (1 - ρ)·g²                a mean of g² over about 1/(1 - ρ) steps
    Δ = g·√(u + eps)/√(v + eps)
    u ← ρ·u + (1 - ρ)·Δ²                the same of the steps themselves
    θ ← θ - lr·Δ

g/√v has no unit; the factor √u gives the step the unit of θ, as Newton's method has it. Both means begin at
0, so the first step is about √(eps/(1 - ρ)) long: eps decides how soon the steps become long.

Zeiler 2012, arXiv:1212.5701.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative


class Adadelta(Optimizer):
    """Adadelta: steps as long as the steps before, in relation to the gradients before.

    Args:
        params: tensors, or groups.
        lr: what the step is multiplied by; it has no unit.
        rho: the fraction kept per step of the mean squared gradient and of the mean squared step.
        eps: added to both means, in units of the gradient squared and of the parameter squared.
        weight_decay: this fraction of the parameter is added to its gradient.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if rho is outside of [0, 1].

    Source: Zeiler 2012, arXiv:1212.5701.
    """

    state_names = ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "rho", "eps", "weight_decay")
        check_flags(maximize=options["maximize"])
        if options["rho"] > 1:
            raise ValueError(f"rho must be at most 1, got {options['rho']}")

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp, rho = namespace(param), float(options["rho"])
        eps = positive_eps(options, work.dtype)
        for p, theta, g, (v, u) in gradient_blocks(options, work.dtype, param, grad, *moments):
            v *= rho
            v += (1 - rho) * g * g
            delta = g * (xp.sqrt(u + eps) / xp.sqrt(v + eps))
            u *= rho
            u += (1 - rho) * delta * delta
            p[...] = theta - delta * info.lr
