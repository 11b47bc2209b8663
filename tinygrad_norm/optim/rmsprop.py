"""RMSprop: every element is divided by the usual size of its gradient.

    g = dL/dθ + λ·θ
    v ← α·v + (1 - α)·g²                a mean of g² over about 1/(1 - α) steps
    m ← α·m + (1 - α)·g                 centered only: then the variance v - m² takes the place of v
    b ← μ·b + g/(√v + eps)              with momentum; else b = g/(√v + eps)
    θ ← θ - lr·b

v begins at 0, and unlike in Adam that is not corrected: with α = 0.99 the first step is 1/√0.01 = 10 times as
long as lr.

Hinton 2012, "Neural networks for machine learning", lecture 6e. Centered: Graves 2013, arXiv:1308.0850.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import check_flags
from .flat_buffers import gradient_blocks, positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative


class RMSprop(Optimizer):
    """RMSprop, with momentum, centering and weight decay.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter.
        alpha: the fraction kept per step of the mean squared gradient.
        eps: added to the root of the mean square, in units of the gradient.
        weight_decay: this fraction of the parameter is added to its gradient.
        momentum: the fraction of the last step that is taken again.
        centered: divide by the standard deviation of the gradient, not by its root mean square.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if alpha is outside of [0, 1].

    Source: Hinton 2012.
    """

    state_names = ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "alpha", "eps", "weight_decay", "momentum")
        check_flags(centered=options["centered"], maximize=options["maximize"])
        if options["alpha"] > 1:
            raise ValueError(f"alpha must be at most 1, got {options['alpha']}")

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if options["momentum"] else ()
        return ("square_avg", *momentum, *(("grad_avg",) if options["centered"] else ()))

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp, names = namespace(param), self._moments(options)
        alpha, momentum = float(options["alpha"]), float(options["momentum"])
        eps = positive_eps(options, work.dtype)
        for p, theta, g, arrays in gradient_blocks(options, work.dtype, param, grad, *moments):
            used = dict(zip(names, arrays, strict=True))
            v = used["square_avg"]
            v *= alpha
            v += (1 - alpha) * g * g
            spread = v
            if options["centered"]:
                m = used["grad_avg"]
                m += (1 - alpha) * (g - m)
                spread = v - m * m
            step = g / (xp.sqrt(spread) + eps)
            if momentum:
                b = used["momentum_buffer"]
                b *= momentum
                b += step
                step = b
            p[...] = theta - step * info.lr
