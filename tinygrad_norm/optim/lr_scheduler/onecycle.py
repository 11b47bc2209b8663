"""One cycle: warm up to a large learning rate, then go down to almost 0.

With n = total_steps, the phases end at these steps, and lr moves between these values (momentum, if it
is cycled, goes the other way):

    pct_start·n - 1         max_lr/div_factor → max_lr
    n - 1                   max_lr → min_lr                        min_lr = initial/final_div_factor

and with three phases

    pct_start·n - 1         initial → max_lr                       initial = max_lr/div_factor
    2·pct_start·n - 2       max_lr → initial
    n - 1                   initial → min_lr                       momentum stays high

Smith, Topin 2018, arXiv:1708.07120.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ops.arguments import as_number, check_flags, check_numbers
from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, check_steps, is_new

_UP = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
_DOWN = ("max_lr", "min_lr", "base_momentum", "max_momentum")
_BACK = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
_OUT = ("initial_lr", "min_lr", "max_momentum", "max_momentum")


class OneCycleLR(LRScheduler):
    """Set learning rate and momentum for one cycle of `total_steps` batches.

    Args:
        optimizer: if the momentum is cycled, one with "momentum" or "betas", whose first is the momentum.
        max_lr: the rate at the top, or one for each group.
        total_steps: the length of the cycle; or give `epochs` and `steps_per_epoch`.
        epochs: the number of epochs; the length is epochs·steps_per_epoch.
        steps_per_epoch: the batches of an epoch.
        pct_start: the fraction of the cycle in which the rate goes up.
        anneal_strategy: "cos" or "linear", the curve between two values.
        cycle_momentum: move the momentum in the opposite direction of the learning rate.
        base_momentum: the momentum at the top, or one for each group.
        max_momentum: the momentum at both ends, or one for each group.
        div_factor: max_lr divided by the initial rate.
        final_div_factor: the initial rate divided by the last.
        three_phase: go back to the initial rate, as fast as up, before going to the last.
        last_epoch: as in LRScheduler; from 0 on, rates and momenta are those that a cycle left in the groups.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if the length is not given, anneal_strategy is unknown, pct_start is outside of [0, 1],
            a list does not have one entry per group, or the optimizer has no momentum to cycle; from
            `step`, after the end of the cycle.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        check_flags(cycle_momentum=cycle_momentum, three_phase=three_phase)
        check_numbers(div_factor=div_factor, final_div_factor=final_div_factor)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("give the length of the cycle: total_steps, or epochs and steps_per_epoch")
            check_steps("epochs", epochs)
            check_steps("steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        check_steps("total_steps", total_steps)
        if not 0 <= as_number(pct_start, "pct_start") <= 1:
            raise ValueError(f"pct_start must be between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}')
        self.total_steps, self.pct_start = total_steps, pct_start
        self.anneal_strategy, self.three_phase = anneal_strategy, three_phase
        self.cycle_momentum = cycle_momentum
        settings = {"max_lr": max_lr}
        if cycle_momentum:
            settings |= {"base_momentum": base_momentum, "max_momentum": max_momentum}
            if not {"momentum", "betas"} & optimizer.defaults.keys():
                raise ValueError(
                    f"{type(optimizer).__name__} has no momentum to cycle: pass cycle_momentum=False"
                )
        each = {name: per_group(name, value, optimizer) for name, value in settings.items()}
        if is_new(optimizer, last_epoch, "initial_lr", "min_lr", *settings):
            for i, group in enumerate(optimizer.param_groups):
                group.update({name: values[i] for name, values in each.items()})
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        fraction, (start, end, start_momentum, end_momentum) = self._phase()
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._between(group[start], group[end], fraction))
            if self.cycle_momentum:
                momentum = self._between(group[start_momentum], group[end_momentum], fraction)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return lrs

    def _phase(self) -> tuple[float, tuple[str, str, str, str]]:
        """Return how far step `last_epoch` is in its phase, and the names of the start and end values."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"step {self.last_epoch} of a cycle of {self.total_steps} steps: it is over")
        up = self.pct_start * self.total_steps
        last = self.total_steps - 1.0
        if self.three_phase:
            phases = [(up - 1, _UP), (2 * up - 2, _BACK), (last, _OUT)]
        else:
            phases = [(up - 1, _UP), (last, _DOWN)]
        start = 0.0
        for end, values in phases[:-1]:
            if self.last_epoch <= end:
                return _fraction(self.last_epoch, start, end), values
            start = end
        end, values = phases[-1]
        return _fraction(self.last_epoch, start, end), values

    def _between(self, start: float, end: float, fraction: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * fraction
        return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def _fraction(t: float, start: float, end: float) -> float:
    return (t - start) / (end - start) if end != start else 1.0


def per_group(name: str, value: float | Sequence[float], optimizer: Optimizer) -> list[Any]:
    """Return one number for each group, from a number or a list with one for each."""
    groups = optimizer.param_groups
    if not isinstance(value, list | tuple):
        return [as_number(value, name)] * len(groups)
    if len(value) != len(groups):
        raise ValueError(f"{name} has {len(value)} values for {len(groups)} parameter groups")
    return [as_number(entry, name) for entry in value]
