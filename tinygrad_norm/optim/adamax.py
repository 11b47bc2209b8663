"""Adamax: Adam with the largest gradient of late in place of the root of the mean square.

    g = dL/dθ + λ·θ
    m ← β₁·m + (1 - β₁)·g
    u ← max(β₂·u, |g| + eps)
    θ ← θ - lr·m̂/u                      m̂ = m/(1 - β₁ᵗ), t = 1, 2, …

Adam's v is a mean of |g|²; with |g|ᵖ in its place and the p-th root, p → ∞ leaves the maximum. It begins at
0 without bias, as the first |g| is larger: only m needs a correction, and no step is longer than
lr·|m̂|/|g| allows.

Kingma, Ba 2015, arXiv:1412.6980, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_betas, check_non_negative


class Adamax(Optimizer):
    """Adamax: Adam with the largest of the latest gradients as the size of a gradient.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter.
        betas: the fractions kept per step of the mean gradient and of the largest gradient.
        eps: added to the size of the gradient, in its units.
        weight_decay: this fraction of the parameter is added to its gradient.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if betas are outside of [0, 1).

    Source: Kingma, Ba 2015, arXiv:1412.6980.
    """

    state_names = ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "eps", "weight_decay")
        check_flags(maximize=options["maximize"])
        check_betas(options)

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp = namespace(param)
        beta1, beta2 = map(float, options["betas"])
        eps = positive_eps(options, work.dtype)
        lr = info.lr / (1 - beta1**info.number)
        for p, theta, g, (m, u) in gradient_blocks(options, work.dtype, param, grad, *moments):
            m += (1 - beta1) * (g - m)
            xp.maximum(beta2 * u, xp.abs(g) + eps, out=u)
            p[...] = theta - lr * (m / u)
