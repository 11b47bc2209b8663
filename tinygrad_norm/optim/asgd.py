"""ASGD: stochastic gradient descent with falling steps, and the average of the parameters beside it.

    g = dL/dθ + λ·θ
    ηₜ = lr/(1 + lambd·lr·(t - 1))^alpha        t = 1, 2, …
    θ ← θ - ηₜ·(g + lambd·θ)
    a ← a + μₜ·(θ - a)                          μₜ = 1/max(1, t - 1 - t0)

a is θ itself until step t0 + 2, then the plain mean of all θ from there on. Its noise is averaged away, so
steps may fall more slowly than 1/t (alpha < 1) and the mean still reaches the best rate. The average is in
the state, as `ax`; `lambd` is a second weight decay, with the same effect as λ.

Polyak, Juditsky 1992, "Acceleration of stochastic approximation by averaging". Bottou 2010, "Large-scale
machine learning with stochastic gradient descent".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative


class ASGD(Optimizer):
    """Averaged stochastic gradient descent: the averages are `optimizer.state[parameter]["ax"]`.

    A learning rate that a schedule sets counts at once; in PyTorch it does from the next step on.

    Args:
        params: tensors, or groups.
        lr: the first rate, in units of the parameter per gradient.
        lambd: how fast the rate falls, and a weight decay.
        alpha: the power by which the rate falls.
        t0: the number of steps before the averages begin.
        weight_decay: this fraction of the parameter is added to its gradient.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer.
        RuntimeError: if a step is captured in a graph.

    Source: Polyak, Juditsky 1992.
    """

    state_names = ("step", "ax")
    number_names = ("eta", "mu")
    capturable = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "lambd", "alpha", "t0", "weight_decay")
        check_flags(maximize=options["maximize"])
        if options.get("decay_target"):
            raise ValueError("ASGD has no decay_target: its averages would be relative to it")

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _numbers(self, options: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """Return η and μ of the next step."""
        lr, lambd = float(options["lr"]), float(options["lambd"])
        eta = lr / (1 + lambd * lr * step) ** float(options["alpha"])
        return eta, 1 / max(1.0, step - float(options["t0"]))

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        eta, mu = self._numbers(options, info.number - 1)
        kept = 1 - float(options["lambd"]) * eta
        for p, theta, g, (a,) in gradient_blocks(options, work.dtype, param, grad, *moments):
            theta = theta * kept - eta * g
            p[...] = theta
            if mu == 1:
                a[...] = theta
            else:
                a += mu * (theta - a)
