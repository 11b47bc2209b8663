"""NAdam: Adam whose step already contains the momentum of the next step, as Nesterov's does.

    g = dL/dθ + λ·θ                     decoupled: g = dL/dθ, and θ ← θ - lr·λ·θ separately
    m ← β₁·m + (1 - β₁)·g
    v ← β₂·v + (1 - β₂)·g²
    μₜ = β₁·(1 - 0.96^(ψ·t)/2)          the momentum of step t: from β₁/2 up to β₁
    Mₜ = μ₁·μ₂·…·μₜ
    θ ← θ - lr·(μₜ₊₁·m/(1 - Mₜ₊₁) + (1 - μₜ)·g/(1 - Mₜ))/(√v̂ + eps)        v̂ = v/(1 - β₂ᵗ)

Adam's step is m̂ = (β₁·m_before + (1 - β₁)·g)/(1 - β₁ᵗ). Here m itself takes the place of m_before, with
the momentum of the next step; each of the two terms has the correction of its own step. M is part of
PyTorch's state as `mu_product`; here it is computed from t, as if β₁ and ψ had never changed.

Dozat 2016, "Incorporating Nesterov momentum into Adam".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_betas, check_non_negative


class NAdam(Optimizer):
    """Adam with Nesterov's momentum.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter.
        betas: the fractions kept per step of the mean gradient and of the mean squared gradient.
        eps: added to the root of the mean square, in units of the gradient.
        weight_decay: this fraction of the parameter is added to its gradient.
        momentum_decay: ψ, how fast the momentum grows from half of betas[0] to betas[0].
        decoupled_weight_decay: shrink the parameter instead, by the fraction lr·weight_decay, as AdamW.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if betas are outside of [0, 1).
        RuntimeError: if a step is captured in a graph.

    Source: Dozat 2016.
    """

    state_names = ("step", "exp_avg", "exp_avg_sq")
    number_names = ("mu_product",)
    capturable = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "eps", "weight_decay", "momentum_decay")
        check_flags(decoupled_weight_decay=options["decoupled_weight_decay"], maximize=options["maximize"])
        check_betas(options)

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _numbers(self, options: Mapping[str, Any], step: int) -> tuple[float, ...]:
        return (_momentum_product(float(options["betas"][0]), float(options["momentum_decay"]), step),)

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp, t, lr = namespace(param), info.number, info.lr
        beta1, beta2 = map(float, options["betas"])
        psi, eps = float(options["momentum_decay"]), positive_eps(options, work.dtype)
        now, following = _momentum_product(beta1, psi, t), _momentum_product(beta1, psi, t + 1)
        of_g = lr * (1 - _momentum(beta1, psi, t)) / (1 - now)
        of_m = lr * _momentum(beta1, psi, t + 1) / (1 - following)
        root = math.sqrt(1 - beta2**t)
        kept = 1 - lr * float(options["weight_decay"]) if options["decoupled_weight_decay"] else 1.0
        for p, theta, g, (m, v) in gradient_blocks(options, work.dtype, param, grad, *moments):
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            p[...] = theta * kept - (of_m * m + of_g * g) / (xp.sqrt(v) / root + eps)


def _momentum(beta1: float, psi: float, t: int) -> float:
    return beta1 * (1 - 0.96 ** (t * psi) / 2)


@functools.cache
def _momentum_products(beta1: float, psi: float) -> list[float]:
    return [1.0]  # of no step; those of more steps are appended when they are needed


def _momentum_product(beta1: float, psi: float, t: int) -> float:
    products = _momentum_products(beta1, psi)
    while len(products) <= t:
        products.append(products[-1] * _momentum(beta1, psi, len(products)))
    return products[t]
