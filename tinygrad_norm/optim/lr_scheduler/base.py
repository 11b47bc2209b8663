"""LRScheduler: sets the learning rate of every parameter group, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ops.arguments import as_number, as_size
from ..optimizer import Optimizer


class LRScheduler:
    """Base of every schedule: subclass and define `get_lr`.

    Making one sets the learning rates of step 0; each `step()`, called after the optimizer's, those of
    the next. `last_epoch` counts the steps, which may be epochs or batches. To resume, make optimizer
    and schedule as before and load the state of both: what follows is the same bit for bit.

    Args:
        optimizer: whose learning rates are set.
        last_epoch: -1 to begin; otherwise the schedule begins at step last_epoch + 1, with the initial
            rates ("initial_lr") that another schedule left in the optimizer's groups. As in PyTorch,
            StepLR takes their "lr" for that of step last_epoch; LinearLR and CosineAnnealingLR for
            that of the step they begin at; the others set it from the initial one.

    Raises:
        TypeError: for an optimizer that is none, or a last_epoch that is no int.
        ValueError: for a last_epoch below -1, and for one of 0 or more where groups have no "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if is_new(optimizer, last_epoch, "initial_lr"):
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.begin(last_epoch + 1)

    def get_lr(self) -> list[float]:
        """Return the learning rate of every group at step `last_epoch`, given those of the step before."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def first_lr(self) -> list[float]:
        """Return the same at the step that the schedule begins at, given what the groups have now."""
        return self.get_lr()

    def begin(self, step: int = 0) -> None:
        """Set the learning rates of step `step`, starting from those that the groups have now."""
        self.last_epoch = step
        self._apply(self.first_lr())

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
        self._apply(self.get_lr())

    def _apply(self, lrs: list[float]) -> None:
        self._last_lr = lrs
        self._set(lrs)

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of every group as last set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, in plain numbers, lists and dicts."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; load the optimizer's state too, which has the rates.

        Raises:
            TypeError: for anything but a dict.
            ValueError: for the state of another kind of schedule, or of an optimizer with other groups.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                "the state of a schedule is the dict that its state_dict() returned, got "
                f"{type(state_dict).__name__}"
            )
        own = self.state_dict()
        if state_dict.keys() != own.keys():
            raise ValueError(
                f"the state has {', '.join(state_dict) or 'nothing'}, {type(self).__name__} keeps "
                f"{', '.join(own)}: was it saved from another kind of schedule?"
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


def is_new(optimizer: Optimizer, last_epoch: int, *kept: str) -> bool:
    """Say whether `last_epoch` is -1; where it is not, the groups must have what a schedule has `kept` there.

    Raises:
        TypeError: for a last_epoch that is no int.
        ValueError: for one below -1, and for a group that lacks something.
    """
    if as_size(last_epoch, "last_epoch", -1) == -1:
        return True
    for i, group in enumerate(optimizer.param_groups):
        missing = [name for name in kept if name not in group]
        if missing:
            raise ValueError(
                f"last_epoch={last_epoch} goes on with a schedule, but group {i} has no "
                f"{', '.join(missing)}: load the optimizer's state first, or begin with last_epoch=-1"
            )
    return False


def check_steps(name: str, value: int) -> None:
    """Refuse a number of steps below 1."""
    if as_number(value, name) < 1:
        raise ValueError(f"{name} must be at least 1 step, got {value}")
