"""LAMB: Adam whose steps are, for each parameter, of the parameter's own length.

    all gradients together are clipped to max_grad_norm: g ← g/max(‖all g‖/max_grad_norm, 1)
    m ← β₁·m + (1 - β₁)·g
    v ← β₂·v + (1 - β₂)·g²
    u = m̂/(√v̂ + eps) + λ·θ       m̂ = m/(1 - β₁ᵗ), v̂ = v/(1 - β₂ᵗ)
    ratio = ‖θ‖/‖u‖                for each parameter; 1 if ‖θ‖ or ‖u‖ is 0
    θ ← θ - lr·ratio·u

So ‖Δθ‖ = lr·‖θ‖. Parameters without weight decay are not adapted, unless always_adapt is set: they take
Adam's step. With trust_clip, ratio ← min(ratio, 1).

You et al. 2019, arXiv:1904.00962. Results are those of timm's Lamb, clipping included, and so are the
arguments that LAMB has.

Insight: Adam makes the steps of all elements about equal, LAMB also those of all parameters, beside their
lengths. What the gradient still says is the direction, and which elements agree from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, namespace
from ..normalization.gradient.clipping import get_total_norm
from ..ops.arguments import check_flags
from .flat_buffers import positive_eps
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_betas, check_no_decay_target, check_non_negative
from .trust_ratio import length, ratio_or_one


class LAMB(Optimizer):
    """Layer-wise adaptive moments for large batches: Adam with a step length for each parameter.

    Args:
        params: tensors, or groups.
        lr: the length of a step, as a fraction of the parameter's.
        bias_correction: divide the means by 1 - βᵗ.
        betas: the fractions kept per step of the mean gradient and of the mean squared gradient.
        eps: added to the root of the mean square, in units of the gradient.
        weight_decay: this fraction of the parameter is added to Adam's step.
        grad_averaging: multiply the gradient by 1 - β₁ before it is added to its mean.
        max_grad_norm: the largest length of all gradients together, the same in all groups; None does not
            clip.
        trust_clip: let no step be longer than Adam's.
        always_adapt: adapt parameters without weight decay too.

    timm's `caution`, `decoupled_decay` and `corrected_weight_decay` are left out.

    Raises:
        TypeError, ValueError: as Optimizer, if betas are outside of [0, 1), max_grad_norm is not positive or
            differs between groups, or a group has a decay_target: lengths are from 0.

    Source: You et al. 2019, arXiv:1904.00962.
    """

    state_names = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        grad_averaging: bool = True,
        max_grad_norm: float | None = 1.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "grad_averaging": grad_averaging,
            "max_grad_norm": max_grad_norm,
            "trust_clip": trust_clip,
            "always_adapt": always_adapt,
        }
        self._too_long: Array | None = None
        super().__init__(params, defaults)
        self._limit()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and the options of the new group; all have the same max_grad_norm.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        super().add_param_group(param_group)
        try:
            self._limit()
        except ValueError:
            self.param_groups.pop()
            raise

    def _limit(self) -> float | None:
        """Return the groups' max_grad_norm; raise ValueError if they have several."""
        limits: list[float | None] = [group["max_grad_norm"] for group in self.param_groups]
        if any(limit != limits[0] for limit in limits):
            raise ValueError(
                "max_grad_norm limits the length of all gradients together, so it must be the same in all "
                f"groups, got {limits}: pass it to LAMB, not in a group"
            )
        return limits[0]

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "eps", "weight_decay")
        check_betas(options)
        flags = "bias_correction", "grad_averaging", "trust_clip", "always_adapt"
        check_flags(**{name: options[name] for name in flags})
        check_no_decay_target(options, "LAMB")
        if options["max_grad_norm"] is not None:
            check_non_negative(options, "max_grad_norm")
            if not options["max_grad_norm"]:
                raise ValueError(
                    "max_grad_norm must be positive, or None to leave gradients as they are, got 0"
                )

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _separately(self, options: Mapping[str, Any]) -> bool:
        return True

    def _begin_step(self) -> None:
        """Compute by how much all gradients together are too long, at least 1."""
        limit = self._limit()
        self._too_long = None
        if limit is None:
            return
        gradients = [p.grad for p in self._parameters() if p.grad is not None and p.requires_grad]
        if gradients:
            total = get_total_norm(gradients).array
            self._too_long = namespace(total).maximum(total / float(limit), 1)

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        xp, (m, v), t = namespace(param), moments, info.number
        theta, g = param.astype(work.dtype, copy=False), grad.astype(work.dtype, copy=False)
        if self._too_long is not None:
            g = (g / self._too_long).astype(work.dtype, copy=False)
        beta1, beta2 = map(float, options["betas"])
        decay = float(options["weight_decay"])
        m *= beta1
        m += (1 - beta1 if options["grad_averaging"] else 1.0) * g
        v *= beta2
        v += (1 - beta2) * g * g
        of_m, of_v = (1 - beta1**t, (1 - beta2**t) ** 0.5) if options["bias_correction"] else (1.0, 1.0)
        u = (m / of_m) / (xp.sqrt(v) / of_v + positive_eps(options, work.dtype))
        if decay:
            u = u + decay * theta
        if decay or options["always_adapt"]:
            w, n = length(theta), length(u)
            ratio = ratio_or_one(w, n, w, n)
            u = u * (xp.minimum(ratio, 1) if options["trust_clip"] else ratio)
        param[...] = theta - info.lr * u
