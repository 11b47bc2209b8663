"""LRScheduler: sets the learning rate of every parameter group, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..optimizer import Optimizer


class LRScheduler:
    """Base of every schedule: subclass and define `get_lr`.

    Making one sets the learning rates of step 0; each `step()`, called after the optimizer's, those of
    the next. `last_epoch` counts the steps, which may be epochs or batches. To resume, make optimizer
    and schedule as before and load the state of both.

    Raises:
        TypeError: for an optimizer that is none.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.begin()

    def get_lr(self) -> list[float]:
        """Return the learning rate of every group at step `last_epoch`, given those of the step before."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def begin(self) -> None:
        """Set the learning rates of step 0, starting from those that the groups have now."""
        self.last_epoch = 0
        self._apply()

    def restart(self) -> None:
        """Set the learning rates of step 0, whatever the groups have now."""
        self._set(self.base_lrs)
        self.begin()

    def _set(self, lrs: list[float]) -> None:
        for group, lr in zip(self._groups(), lrs, strict=True):
            group["lr"] = lr

    def _groups(self) -> list[dict[str, Any]]:
        groups, made_for = self.optimizer.param_groups, len(self.base_lrs)
        if len(groups) != made_for:
            raise RuntimeError(
                f"this schedule was made for {made_for} parameter groups, the optimizer has {len(groups)} "
                "now: make a new schedule after add_param_group"
            )
        return groups

    def step(self) -> None:
        """Set the learning rates of the next step.

        Raises:
            RuntimeError: where groups were added after this schedule was made.
        """
        self._groups()
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        self._last_lr = self.get_lr()
        self._set(self._last_lr)

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of every group as last set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, in plain numbers, lists and dicts."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; load the optimizer's state too, which has the rates.

        Raises:
            ValueError: for the state of another kind of schedule, or of an optimizer with other groups.
        """
        own = self.state_dict()
        if state_dict.keys() != own.keys():
            raise ValueError(
                f"the state has {', '.join(state_dict)}, {type(self).__name__} keeps {', '.join(own)}: "
                "was it saved from another kind of schedule?"
            )
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"the state is of {len(state_dict['base_lrs'])} parameter groups, "
                f"the optimizer has {len(self.base_lrs)}"
            )
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> None:
    """Refuse anything but an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule needs an Optimizer, got {type(optimizer).__name__}")


def check_steps(name: str, value: int) -> None:
    """Refuse a number of steps below 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1 step, got {value}")
