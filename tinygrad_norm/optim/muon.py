"""Muon: momentum whose update of each matrix has singular values near 1.

    for each matrix W (n, m), with G = dL/dW
    B ← μ·B + (1 - μ)·G
    U = (1 - μ)·G + μ·B with nesterov, else B
    O = Newton-Schulz of U             singular vectors of U, singular values near 1: newton_schulz.py
    W ← (1 - lr·λ)·W - lr·s·O

    s = √max(1, n/m)                   adjust_lr_fn "original", or None
    s = 0.2·√max(n, m)                 "match_rms_adamw": elements of O are about as large as Adam's steps

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025,
arXiv:2502.16982.
Arguments and results are those of torch.optim.Muon, except that PyTorch rounds the iteration to bfloat16, and
here it has the precision of the matrix: float32, also for half types, or float64.

Muon is for the matrices between layers. Embeddings, the output layer and vectors belong to AdamW:
`MuonWithAuxAdam` does both, with `split_muon`, and takes filters (out, in, H, W) as matrices (out, in·H·W).

Insight: a gradient is mostly a few directions, those of its largest singular values. Adam scales elements, so
these directions stay the largest. Muon makes all of them equally long: along the others, W learns as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..backends import Array
from ..ops.arguments import as_number, as_size, check_flags
from ..suggestions import unknown
from .newton_schulz import COEFFICIENTS, newton_schulz
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative

ADJUSTMENTS = ("original", "match_rms_adamw")


class Muon(Optimizer):
    """Muon, for matrices (n, m).

    Args:
        params: tensors of two axes, or groups.
        lr: the step's length: the largest singular value of a step is about lr·s.
        weight_decay: the matrix shrinks by the fraction lr·weight_decay of itself in each step.
        momentum: the fraction kept per step of the mean gradient.
        nesterov: update by the mean that the next gradient would find.
        ns_coefficients: a, b and c of the iteration.
        eps: the smallest length that a matrix is divided by.
        ns_steps: how often the iteration runs, below 100.
        adjust_lr_fn: how s follows from the shape, "original" (or None) or "match_rms_adamw".

    Raises:
        TypeError, ValueError: as Optimizer, if a parameter is not a matrix, or an option is out of range.

    Source: Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982.
    """

    matrix_ndims: ClassVar[range] = range(2, 3)  # tensors with so many axes are matrices
    state_names: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "weight_decay", "momentum", "eps")
        check_flags(nesterov=options["nesterov"])
        coefficients = options["ns_coefficients"]
        if not (isinstance(coefficients, tuple | list) and len(coefficients) == 3):
            raise ValueError(f"ns_coefficients must be three numbers, got {coefficients!r}")
        for coefficient in coefficients:
            as_number(coefficient, "ns_coefficients")
        if as_size(options["ns_steps"], "ns_steps", 0) >= 100:
            raise ValueError(f"ns_steps must be below 100, got {options['ns_steps']}")
        if options["adjust_lr_fn"] not in (None, *ADJUSTMENTS):
            raise ValueError(unknown("adjust_lr_fn", str(options["adjust_lr_fn"]), ADJUSTMENTS))

    def _append_group(self, param_group: dict[str, Any]) -> None:
        if isinstance(param_group, dict) and "use_muon" in param_group and "use_muon" not in self.defaults:
            raise ValueError("Muon updates all groups: optim.MuonWithAuxAdam takes groups with use_muon")
        super()._append_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"] if self._separately(group) else ():
            if parameter.ndim not in self.matrix_ndims:
                self.param_groups.pop()
                raise ValueError(
                    f"{type(self).__name__} updates matrices, got a parameter of shape {parameter.shape}: "
                    "optim.MuonWithAuxAdam with optim.split_muon(model) takes all parameters of a model"
                )

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",)

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
        size = math.prod(info.shape)
        if not size:
            return
        shape = info.shape[0], size // info.shape[0]
        W, G, B = (array[:size].reshape(shape) for array in (param, grad, *moments))
        mu, decay = float(options["momentum"]), float(options["weight_decay"])
        theta, G = W.astype(work.dtype, copy=False), G.astype(work.dtype, copy=False)
        B += (1 - mu) * (G - B)
        update = G + mu * (B - G) if options["nesterov"] else B
        a, b, c = map(float, options["ns_coefficients"])
        update = newton_schulz(update, (a, b, c), options["ns_steps"], float(options["eps"]))
        scale = step_scale(shape, options["adjust_lr_fn"])
        W[...] = theta * (1 - info.lr * decay) - (info.lr * scale) * update


def step_scale(shape: Sequence[int], adjust_lr_fn: str | None) -> float:
    """Return s, by which the step of a matrix of this shape is multiplied."""
    n, m = shape
    return 0.2 * math.sqrt(max(n, m)) if adjust_lr_fn == "match_rms_adamw" else math.sqrt(max(1, n / m))
