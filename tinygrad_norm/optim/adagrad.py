"""Adagrad: every element is divided by the root of the sum of all its squared gradients.

    g = dL/dθ + λ·θ
    s ← s + g²                          s begins at initial_accumulator_value
    θ ← θ - lr_t·g/(√s + eps)           lr_t = lr/(1 + (t - 1)·lr_decay), t = 1, 2, …

Elements that rarely have a gradient, such as the embeddings of rare words, keep long steps. As s only grows,
all steps get shorter, like 1/√t for gradients of one size.

Duchi, Hazan, Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative


class Adagrad(Optimizer):
    """Adagrad: steps that get shorter with the sum of the squared gradients.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter.
        lr_decay: the learning rate is divided by 1 + this, times the number of steps before.
        weight_decay: this fraction of the parameter is added to its gradient.
        initial_accumulator_value: what the sum of squares begins at, in units of the gradient squared.
        eps: added to the root of the sum, in units of the gradient.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer.

    Source: Duchi, Hazan, Singer 2011.
    """

    state_names = ("step", "sum")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        check_flags(maximize=options["maximize"])

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("sum",)

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
        eps = positive_eps(options, work.dtype)
        lr = info.lr / (1 + (info.number - 1) * float(options["lr_decay"]))
        for p, theta, g, (s,) in gradient_blocks(options, work.dtype, param, grad, moments[0]):
            if info.first:
                s[...] = float(options["initial_accumulator_value"])
            s += g * g
            p[...] = theta - lr * (g / (xp.sqrt(s) + eps))
