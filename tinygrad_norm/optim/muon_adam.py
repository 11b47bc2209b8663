"""Muon for the matrices between layers and AdamW for the rest, in one optimizer: one schedule, one state.

Which is which is said by `use_muon` in each parameter group; `split_muon` makes the groups. With
adjust_lr_fn="match_rms_adamw", the default here, steps of both have elements of about 0.2·lr to lr, so that
one learning rate serves both: Liu et al. 2025, arXiv:2502.16982.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array
from ..module import Module
from ..nn.attention.position import LearnedPositions
from ..nn.embedding import Embedding
from ..nn.embedding_bag import EmbeddingBag
from ..nn.linear import Linear
from ..ops.arguments import check_flags
from .adam import adam_step
from .muon import Muon
from .optimizer import StepInfo
from .parameter_groups import Parameters, check_betas, check_non_negative
from .weight_decay import split_decay

_MUON_ALONE = {
    "momentum": "betas[0]",
    "nesterov": "",
    "ns_coefficients": "",
    "eps": "adam_eps",
    "ns_steps": "",
    "adjust_lr_fn": "",
}
_ADAM_ALONE = {"betas": "momentum", "adam_eps": "eps"}
"""Options of one method alone, each with the option of the other that has its place."""


class MuonWithAuxAdam(Muon):
    """Muon for groups with `use_muon`, AdamW for the others. Make the groups with `optim.split_muon`.

    Muon takes filters of convolutions, and other tensors of more axes, as matrices (out, everything else).

    Args:
        params: groups. A group without "use_muon" is Muon's: it is True by default.
        lr, weight_decay: of both.
        momentum, ns_steps, adjust_lr_fn: of Muon. Its groups may also set nesterov, ns_coefficients and eps.
        betas, adam_eps: of AdamW, whose eps is adam_eps here, because eps is Muon's.

    Raises:
        TypeError, ValueError: as Muon and AdamW; ValueError if a group sets an option of the other method.

    Source: Liu et al. 2025, arXiv:2502.16982.
    """

    matrix_ndims = range(2, 100)
    state_names = ("step", "momentum_buffer", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.999),
        adam_eps: float = 1e-8,
    ) -> None:
        self._of_adam = {"betas": betas, "adam_eps": adam_eps, "use_muon": True}
        super().__init__(params, lr, weight_decay, momentum, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn)

    def _check(self, options: Mapping[str, Any]) -> None:
        if options is self.defaults:
            self.defaults.update(self._of_adam)
        super()._check(options)
        check_betas(options)
        check_non_negative(options, "adam_eps")
        check_flags(use_muon=options["use_muon"])

    def _append_group(self, param_group: dict[str, Any]) -> None:
        if isinstance(param_group, dict):
            _check_kind(param_group)
        super()._append_group(param_group)

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return super()._moments(options) if options["use_muon"] else ("exp_avg", "exp_avg_sq")

    def _separately(self, options: Mapping[str, Any]) -> bool:
        return bool(options["use_muon"])

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        if options["use_muon"]:
            super()._update(options, info, param, grad, moments, work)
            return
        beta1, beta2 = options["betas"]
        adam_step(
            param,
            grad,
            *moments,
            None,
            work,
            step=info.step,
            lr=info.lr,
            betas=(float(beta1), float(beta2)),
            eps=float(options["adam_eps"]),
            weight_decay=float(options["weight_decay"]),
            decoupled=True,
            maximize=False,
        )


def _check_kind(group: Mapping[str, Any]) -> None:
    """Raise ValueError if a group sets an option that its method does not read."""
    use_muon = group.get("use_muon", True)
    this, other = ("Muon", "AdamW") if use_muon else ("AdamW", "Muon")
    for name, instead in (_ADAM_ALONE if use_muon else _MUON_ALONE).items():
        if name in group:
            default = "" if "use_muon" in group else " (by default)"
            advice = f"{this} has {instead} in its place" if instead else f"{this} has nothing like it"
            raise ValueError(
                f"a group with use_muon={use_muon}{default} is {this}'s, and {name!r} is an option of "
                f"{other}: {advice}"
            )


def split_muon(module: Module, weight_decay: float = 0.1) -> list[dict[str, Any]]:
    """Return groups for `MuonWithAuxAdam`: the matrices between layers, and two groups for AdamW.

    The first has what decays (`split_decay`), matrices and filters, without embeddings, learned positions and
    the last Linear layer. Those are in the second group, which decays too; in the third are biases, the
    weights of normalizations, and other vectors, which do not. A group may be empty.

    Raises:
        TypeError: if `module` is not a module: where a parameter is says which group it belongs to.
    """
    if not isinstance(module, Module):
        raise TypeError(f"split_muon takes a module, got a {type(module).__name__}: pass the model itself")
    layers = list(module.modules())
    outside = [
        layer.weight for layer in layers if isinstance(layer, Embedding | EmbeddingBag | LearnedPositions)
    ]
    outside += [layer.weight for layer in layers if isinstance(layer, Linear)][-1:]
    left_out = {id(weight) for weight in outside}
    decayed, undecayed = split_decay(module, weight_decay)
    hidden = [p for p in decayed["params"] if id(p) not in left_out]
    of_muon = {id(p) for p in hidden}
    rest = [p for p in decayed["params"] if id(p) not in of_muon]
    return [
        {"params": hidden, "weight_decay": weight_decay, "use_muon": True},
        {"params": rest, "weight_decay": weight_decay, "use_muon": False},
        {**undecayed, "use_muon": False},
    ]
