"""Rprop: the sign of the gradient gives the direction, and every element has its own step length Δ.

    g = dL/dθ
    g·g_before > 0:     Δ ← η⁺·Δ            the same direction again: longer
    g·g_before < 0:     Δ ← η⁻·Δ, g ← 0     a minimum was passed: shorter, and wait for one step
    θ ← θ - sign(g)·Δ                       Δ begins at lr and stays within step_sizes

The size of the gradient plays no role, only its sign. So the gradient must be that of all data: if batches
differ, the sign of a small gradient is that of the noise.

Riedmiller, Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative, check_pair


class Rprop(Optimizer):
    """Rprop: steps that depend on the signs of the gradients, for gradients of all data.

    Args:
        params: tensors, or groups.
        lr: the first step's length, in units of the parameter.
        etas: the factors (η⁻, η⁺) of the length after a change of sign, and without.
        step_sizes: the smallest and the largest length.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and unless 0 < η⁻ < 1 < η⁺ and step_sizes are in order.

    Source: Riedmiller, Braun 1993.
    """

    state_names = ("step", "prev", "step_size")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr")
        check_flags(maximize=options["maximize"])
        check_pair(options, "etas")
        check_pair(options, "step_sizes")
        if not 0 < options["etas"][0] < 1 < options["etas"][1]:
            raise ValueError(f"etas must be below and above 1, and not 0, got {tuple(options['etas'])}")
        if options["step_sizes"][0] > options["step_sizes"][1]:
            raise ValueError(
                f"step_sizes must be the smallest and the largest, got {tuple(options['step_sizes'])}"
            )

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

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
        shorter, longer = map(float, options["etas"])
        least, most = map(float, options["step_sizes"])
        for p, theta, g, (before, size) in gradient_blocks(options, work.dtype, param, grad, *moments):
            if info.first:
                size[...] = info.lr
            same = g * before
            size *= xp.where(same > 0, longer, xp.where(same < 0, shorter, 1.0))
            xp.clip(size, least, most, out=size)
            g = xp.where(same < 0, 0.0, g)
            p[...] = theta - xp.sign(g) * size
            before[...] = g
