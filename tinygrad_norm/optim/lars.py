"""LARS: SGD whose steps are, for each parameter, a fixed fraction of its length.

    for each parameter θ, with g = dL/dθ
    ratio = η·‖θ‖/(‖g‖ + λ·‖θ‖ + eps)      1 if ‖θ‖ or ‖g‖ is 0
    u = ratio·(g + λ·θ)
    b ← μ·b + (1 - d)·u                    b = u in the first step; nesterov: u ← u + μ·b, else u ← b
    θ ← θ - lr·u

Without momentum and decay, ‖Δθ‖ = lr·η·‖θ‖ at any length of the gradient. Parameters without weight decay are
not adapted, unless always_adapt is set: they take SGD's step. With trust_clip, ratio ← min(ratio/lr, 1), so
that lr is the longest step (LARC).

You, Gitman, Ginsburg 2017, arXiv:1708.03888. Arguments and results are those of timm's Lars.

Insight: in a network with normalization a weight W and 10·W compute the same, but the gradient of the second
is a tenth. A step relative to ‖W‖ turns both by the same angle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..ops.arguments import as_number, check_flags
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_no_decay_target, check_non_negative
from .trust_ratio import length, ratio_or_one


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling: SGD with a step length for each parameter.

    Args:
        params: tensors, or groups.
        lr: the step's length; a parameter's step is about lr·trust_coeff of its own length.
        momentum: the fraction of the last step that is taken again.
        dampening: the fraction of the update that momentum leaves out, except in the first step.
        weight_decay: this fraction of the parameter is added to its gradient.
        nesterov: take the step that momentum leads to; needs momentum and no dampening.
        trust_coeff: η, the length of a step as a fraction of the parameter's.
        eps: added to the lengths that are divided by, in units of the gradient.
        trust_clip: let no step be longer than SGD's with lr.
        always_adapt: adapt parameters without weight decay too.

    Raises:
        TypeError, ValueError: as Optimizer, if nesterov is used without momentum or with dampening, or if a
            group has a decay_target: lengths are from 0.

    Source: You, Gitman, Ginsburg 2017, arXiv:1708.03888.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        trust_coeff: float = 0.001,
        eps: float = 1e-8,
        trust_clip: bool = False,
        always_adapt: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "trust_coeff": trust_coeff,
            "eps": eps,
            "trust_clip": trust_clip,
            "always_adapt": always_adapt,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "momentum", "weight_decay", "trust_coeff", "eps")
        as_number(options["dampening"], "dampening")
        check_flags(**{name: options[name] for name in ("nesterov", "trust_clip", "always_adapt")})
        check_no_decay_target(options, "LARS")
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                f"nesterov needs momentum above 0 and dampening 0, got momentum={options['momentum']}, "
                f"dampening={options['dampening']}"
            )

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if options["momentum"] else ()

    def _separately(self, options: Mapping[str, Any]) -> bool:
        return True

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        theta, u = param.astype(work.dtype, copy=False), grad.astype(work.dtype, copy=False)
        decay, momentum = float(options["weight_decay"]), float(options["momentum"])
        if decay or options["always_adapt"]:
            w, g = length(theta), length(u)
            eta, eps = float(options["trust_coeff"]), float(options["eps"])
            ratio = ratio_or_one(eta * w, g + decay * w + eps, w, g)
            if options["trust_clip"]:
                ratio = namespace(param).minimum(ratio / info.lr, 1)
            u = ratio * (u + decay * theta)
        if momentum:
            (b,) = moments
            if info.first:
                b[...] = u
            else:
                b *= momentum
                b += (1 - float(options["dampening"])) * u
            u = u + momentum * b if options["nesterov"] else b
        param[...] = theta - info.lr * u
